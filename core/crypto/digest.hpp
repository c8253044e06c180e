// SHA-256 and HMAC-SHA256.
#pragma once

#include <string_view>

#include "core/base/bytes.hpp"

struct evp_md_ctx_st;

namespace fleet::crypto {

// 32 bytes (FIPS 180-4).
Bytes sha256(std::string_view bytes);

// The same in pieces, for what does not fit in memory.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::string_view bytes);
  Bytes finish();  // 32 bytes; once, and nothing after it

 private:
  evp_md_ctx_st* context_;
};

// 32 bytes (RFC 2104). Any key length.
Bytes hmac_sha256(std::string_view key, std::string_view bytes);

// The verifier of a secret: HMAC-SHA256 under the verifier key over purpose, owner and secret, each length-prefixed
// (u32 big-endian), so that one verifier fits one purpose and one client id only. Microseconds: for high-entropy
// secrets.
Bytes secret_verifier(std::string_view verifier_key, std::string_view purpose, std::string_view owner,
                      std::string_view secret);

}  // namespace fleet::crypto
