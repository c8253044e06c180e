// The packages' files, DATA/packages/{sha256}: each named by its content, so that it is there once, whole, or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/fd.hpp"
#include "core/base/result.hpp"
#include "core/crypto/sha256_stream.hpp"

namespace fleet::provisioner {

inline constexpr std::int64_t kMaxPackageFile = 4LL * 1024 * 1024 * 1024;

// 64 lower-case hex digits: nothing else gets near a path.
bool is_sha256_text(std::string_view text);

class PackageFolder {
 public:
  explicit PackageFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Makes the folder, 0700, and removes what an upload that was cut off has left.
  Result<void> prepare() const;
  bool has(std::string_view sha256) const;
  // The whole content; kNotFound says what to do, kLimitExceeded above `limit` bytes, kCorrupt if it is not that one.
  Result<Bytes> read(std::string_view sha256, std::size_t limit) const;
  // For reading; kNotFound.
  Result<Fd> open(std::string_view sha256) const;
  // Not being there is fine.
  Result<void> remove(std::string_view sha256) const;
  // The SHA-256 of every file.
  Result<std::set<std::string>> list() const;
  // Removes all files that are not in `kept`; how many there were.
  Result<std::size_t> keep_only(const std::set<std::string>& kept) const;

  const std::filesystem::path& path() const { return folder_; }

 private:
  std::filesystem::path file(std::string_view sha256) const { return folder_ / std::string(sha256); }
  std::filesystem::path folder_;
};

// A file on its way in: written beside, 0600, and given its name when its content turned out to be what it should be.
// Goes without a trace if it is not finished.
class PackageUpload {
 public:
  // kMalformed if `sha256` is none.
  static Result<PackageUpload> begin(const PackageFolder& folder, std::string sha256);
  ~PackageUpload();
  PackageUpload(PackageUpload&& other) noexcept;
  PackageUpload& operator=(PackageUpload&&) = delete;

  // kLimitExceeded beyond kMaxPackageFile, kNoSpace, kIo.
  Result<void> add(std::string_view bytes);
  // Durable when it returns. kInvalidArgument if the content has another SHA-256.
  Result<void> finish();

 private:
  PackageUpload(std::filesystem::path folder, std::string sha256, std::filesystem::path temporary, Fd fd);

  std::filesystem::path folder_;
  std::string sha256_;
  std::filesystem::path temporary_;  // empty: nothing to remove
  Fd fd_;
  crypto::Sha256Stream digest_;
  std::int64_t size_ = 0;
  std::int64_t synced_ = 0;
};

}  // namespace fleet::provisioner
