// Certificates that are read by our own hand. Private to core/crypto.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/base/time.hpp"

namespace fleet::crypto {

struct UsualCertificate {
  std::string subject_cn;
  WallTime not_before, not_after;
  std::string_view spki;  // in the text that was read
};

// A certificate (RFC 5280 §4.1) as nearly all are made today: version 3, DER throughout, serial number of at most 20 bytes,
// signed by one of the algorithms of edc §4.3, names of UTF8String and PrintableString, times of whole seconds in UTC, an
// uncompressed key of P-256 or P-384. Whatever is read so OpenSSL reads too, with the same result; nullopt for anything
// else, malformed or not: OpenSSL judges that. Extensions are read as far as OpenSSL does when it takes a certificate: what
// is in them is not looked at, nor is the signature.
std::optional<UsualCertificate> read_usual_certificate(std::string_view der);

}  // namespace fleet::crypto
