// Files that are whole or not there at all, and folders that only their owner reads.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/fd.hpp"
#include "core/base/result.hpp"

namespace fleet {

inline constexpr mode_t kPrivateFile = 0600;
inline constexpr mode_t kPrivateFolder = 0700;

// The whole file; kLimitExceeded above `limit` bytes, kNotFound if there is none.
Result<Bytes> read_file(const std::filesystem::path& path, std::size_t limit = 16 * 1024 * 1024);

// Replaces `path` in one step: a reader, or a start after a crash, sees the old bytes or the new ones. Written beside it
// under a temporary name born with `mode` (O_EXCL|O_NOFOLLOW, the umask does not widen or narrow it), synced, renamed,
// folder synced. Nothing is left behind on failure.
Result<void> write_file(const std::filesystem::path& path, std::string_view bytes, mode_t mode = kPrivateFile);

// As write_file, but kAlreadyExists if `path` exists.
Result<void> create_file(const std::filesystem::path& path, std::string_view bytes, mode_t mode = kPrivateFile);

// Makes the folder (parents too, those with 0755) if it is not there, and gives it `mode`.
Result<void> make_folder(const std::filesystem::path& path, mode_t mode = kPrivateFolder);

// fsync of a folder, so that names made or removed in it survive a power cut.
Result<void> sync_folder(const std::filesystem::path& path);

// Points the symbolic link `link` at `target` in one step (link beside it, rename, sync).
Result<void> switch_link(const std::filesystem::path& link, const std::filesystem::path& target);

// Removes a file or a whole folder; not being there is fine.
Result<void> remove_all(const std::filesystem::path& path);

// An exclusive advisory lock (flock) on `path`, held while the object lives. kConflict, naming the holder's pid from the
// file, if another process has it.
class FileLock {
 public:
  static Result<FileLock> acquire(const std::filesystem::path& path);

 private:
  explicit FileLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace fleet
