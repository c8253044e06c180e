// What a certificate says, for whom that is enough.
#pragma once

#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"

namespace fleet::crypto {

// A certificate that is looked at and passed on. Most cost a tenth of a Certificate to read, which OpenSSL takes longer for
// than for five signatures; a device meets its own for the first and often the only time.
struct CertificateBrief {
  std::string pem;         // as Certificate::to_pem()
  std::string subject_cn;  // as Certificate::subject_cn()
  WallTime not_before, not_after;
  Bytes spki;  // as Certificate::public_key().spki_der()

  // As Certificate::from_pem: exactly one, refused with the same errors.
  static Result<CertificateBrief> from_pem(std::string_view pem);
};

}  // namespace fleet::crypto
