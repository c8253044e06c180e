// Fetches one file over http or https (libcurl), resumes what was interrupted, and keeps it only if its SHA-256 is
// right. The agent has this done by its package helper (package_helper.hpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/size.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"

namespace fleet::agent {

struct DownloadLimits {
  std::uint64_t max_size = 256 * 1024 * 1024;  // bytes: package-max-size
  std::uint64_t disk_reserve = 1024 * 1024;    // bytes that stay free, so that the agent can still save its state
  Millis connect{15'000};
  Millis stall{30'000};  // a try that brings less than 64 bytes a second for so long is given up
  Millis total{3'600'000};
  int barren_tries = 3;       // so many tries in a row that bring nothing new are enough
  Millis first_pause{1'000};  // between tries; doubles
};

struct DownloadSource {
  std::string uri;
  std::string sha256;                      // 64 lower-case hex digits
  std::vector<crypto::Certificate> roots;  // trusted beside the system's
  WallTime verification_time;              // see crypto::add_trust
  bool allow_file = false;                 // file: URIs too
};

// Told of each piece: bytes so far, and of how many (0: unknown). False cancels. Called every second at least.
using DownloadProgress = std::function<bool(std::uint64_t got, std::uint64_t total)>;

// Brings the file to `file`, durable and with the right hash. What has arrived so far is kept beside it as `file`.part
// and asked for no more (Range), also by a later call; it is removed when it is wrong, too large or fills the disk.
// Credentials in the uri go to its own host only. Passing failures (network, 408, 429, 5xx, cut connections) are tried
// again within `limits`. Errors: kUnauthenticated (TLS), kNotFound and kPermissionDenied (404, 410; 401, 403),
// kMalformed (wrong hash), kLimitExceeded, kNoSpace, kInvalidArgument (scheme, uri, redirects), kTimedOut, kUnavailable
// (also when it was cancelled). Blocks; any thread.
Result<void> download(const DownloadSource& source, const std::filesystem::path& file, const DownloadLimits& limits,
                      const DownloadProgress& progress);

// Of a file that is larger than `limits.max_size`: kLimitExceeded, names the setting.
inline Error too_large(const DownloadLimits& limits) {
  return {ErrorCode::kLimitExceeded, fmt::format("has more than {} (package-max-size)", format_size(limits.max_size))};
}

// 64 lower-case hex digits.
Result<std::string> sha256_of_file(const std::filesystem::path& file);

}  // namespace fleet::agent
