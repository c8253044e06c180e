#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

#include "agent/settings/settings.hpp"
#include "core/base/fd.hpp"

namespace fleet::agent {
namespace {

constexpr std::size_t kMaxSecret = 1024;

Result<Bytes> read_at_most(int fd, std::size_t limit, const std::string& name) {
  Bytes bytes(limit + 1, '\0');
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = ::read(fd, bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(errno, name));
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  if (filled > limit) {
    wipe(bytes);
    return fail(ErrorCode::kInvalidArgument, "{}: longer than {} bytes: not a password", name, limit);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace

Result<Secret> read_secret_file(const std::filesystem::path& file) {
  const std::string name = file.string();
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail(errno_error(errno, name));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return fail(errno_error(errno, name));
  if (!S_ISREG(status.st_mode)) return fail(ErrorCode::kInvalidArgument, "{}: not a regular file", name);
  if ((status.st_mode & 077) != 0) {
    return fail(ErrorCode::kInvalidArgument, "{}: open to other users (mode {:04o}); run `chmod 600 {}`", name,
                status.st_mode & 07777, name);
  }
  TRY_ASSIGN(Bytes text, read_at_most(fd.get(), kMaxSecret, name));
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  const bool control =
      std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  const bool good = !text.empty() && !control && is_utf8(text);
  Secret secret(text);
  wipe(text);
  if (secret.empty()) return fail(ErrorCode::kInvalidArgument, "{}: empty", name);
  if (!good) {
    return fail(ErrorCode::kInvalidArgument, "{}: must be one line of UTF-8 text without control characters", name);
  }
  return secret;
}

}  // namespace fleet::agent
