// The certificate that the other end of a TLS connection showed.
#pragma once

#include <optional>
#include <string>

namespace fleet::crypto {

// The common name of an OpenSSL `X509*`, which is freed; may be null. Nothing unless its subject has exactly one common
// name, and that is not empty and holds no NUL.
std::optional<std::string> take_peer_common_name(void* x509);

}  // namespace fleet::crypto
