#include "core/base/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "core/base/secret.hpp"

namespace fleet {
namespace fs = std::filesystem;
namespace {

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

Result<void> write_all(int fd, std::string_view bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return fail(errno_error(errno, path.string()));
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> write_synced(const fs::path& path, std::string_view bytes, mode_t mode) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) return fail(errno_error(errno, path.string()));
  if (::fchmod(fd.get(), mode) != 0) return fail(errno_error(errno, path.string()));
  TRY(write_all(fd.get(), bytes, path));
  if (::fsync(fd.get()) != 0) return fail(errno_error(errno, path.string()));
  return {};
}

fs::path temporary_beside(const fs::path& path) {
  return folder_of(path) / fmt::format(".{}.{}.tmp", path.filename().string(), to_hex(random_bytes(6)));
}

}  // namespace

Result<Bytes> read_file(const fs::path& path, std::size_t limit) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail(errno_error(errno, path.string()));
  Bytes bytes;
  char buffer[65536];
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail(errno_error(errno, path.string()));
    }
    if (got == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(got) > limit) {
      return fail(ErrorCode::kLimitExceeded, "{}: larger than {} bytes", path.string(), limit);
    }
    bytes.append(buffer, static_cast<std::size_t>(got));
  }
}

Result<void> write_file(const fs::path& path, std::string_view bytes, mode_t mode) {
  const fs::path temporary = temporary_beside(path);
  auto written = write_synced(temporary, bytes, mode);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = fail(errno_error(errno, path.string()));
  }
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  return sync_folder(folder_of(path));
}

Result<void> create_file(const fs::path& path, std::string_view bytes, mode_t mode) {
  const fs::path temporary = temporary_beside(path);
  auto written = write_synced(temporary, bytes, mode);
  // link() instead of rename(): it refuses to replace
  if (written && ::link(temporary.c_str(), path.c_str()) != 0) {
    written = fail(errno_error(errno, path.string()));
  }
  ::unlink(temporary.c_str());
  TRY(written);
  return sync_folder(folder_of(path));
}

Result<void> make_folder(const fs::path& path, mode_t mode) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return fail(errno_error(error.value(), path.string()));
  if (::chmod(path.c_str(), mode) != 0) return fail(errno_error(errno, path.string()));
  return sync_folder(folder_of(path));
}

Result<void> sync_folder(const fs::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return fail(errno_error(errno, path.string()));
  return {};
}

Result<void> switch_link(const fs::path& link, const fs::path& target) {
  const fs::path temporary = temporary_beside(link);
  if (::symlink(target.c_str(), temporary.c_str()) != 0) return fail(errno_error(errno, temporary.string()));
  if (::rename(temporary.c_str(), link.c_str()) != 0) {
    const Error error = errno_error(errno, link.string());
    ::unlink(temporary.c_str());
    return fail(error);
  }
  return sync_folder(folder_of(link));
}

Result<void> remove_all(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return fail(errno_error(error.value(), path.string()));
  return {};
}

Result<FileLock> FileLock::acquire(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, kPrivateFile));
  if (!fd) return fail(errno_error(errno, path.string()));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail(errno_error(errno, path.string()));
    const auto holder = read_file(path, 64);
    return fail(ErrorCode::kConflict, "{}: in use by process {}", path.string(),
                holder && !holder->empty() ? *holder : "unknown");
  }
  // Only for the message that the next one gets: on a full disk the lock holds without it.
  if (::ftruncate(fd.get(), 0) == 0) static_cast<void>(write_all(fd.get(), std::to_string(::getpid()), path).has_value());
  return FileLock(std::move(fd));
}

}  // namespace fleet
