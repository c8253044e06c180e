// Links to package files, each good for one attempt of one device:
//   {base url}/p/{sha256}/{file name}?a={request}.{attempt}&e={expiry}&s={signature}
// The signature is an HMAC-SHA256 in hex under a key of the links' own, over all but the file name, which only tells the
// device what kind of file it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"

namespace fleet::provisioner {

// A link dies with its attempt; this is for one that would never end.
inline constexpr Millis kLinkValidity{7LL * 86'400'000};

struct PackageLink {
  std::string sha256;
  std::int64_t request_id = 0;
  int attempt_number = 0;
  friend bool operator==(const PackageLink&, const PackageLink&) = default;
};

// Immutable, thread-safe.
class PackageLinks {
 public:
  // `base_url` without a slash at its end: "https://host:8884"; empty: see reachable(). `key`: 32 bytes.
  PackageLinks(std::string base_url, Bytes key) : base_url_(std::move(base_url)), key_(std::move(key)) {}

  // False: without a base url no link leads anywhere.
  bool reachable() const { return !base_url_.empty(); }
  std::string make(const PackageLink& link, std::string_view file_name, WallTime now) const;
  // Of a request's target (path and query). kNotFound for what is no such link, kUnauthenticated for a wrong signature,
  // kExpired; whether the attempt still goes on is the caller's to find out.
  Result<PackageLink> read(std::string_view target, WallTime now) const;

 private:
  std::string sign(std::string_view sha256, std::string_view attempt, std::string_view expiry) const;

  std::string base_url_;
  Bytes key_;
};

}  // namespace fleet::provisioner
