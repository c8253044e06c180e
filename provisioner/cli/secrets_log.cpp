#include "provisioner/cli/secrets_log.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "core/base/file.hpp"

namespace fleet::provisioner {
namespace {

Result<void> write_at(int fd, std::string_view bytes, std::uint64_t at, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(errno_error(errno, path.string()));
    bytes.remove_prefix(static_cast<std::size_t>(written));
    at += static_cast<std::uint64_t>(written);
  }
  return {};
}

Result<std::size_t> read_at(int fd, char* buffer, std::size_t size, std::uint64_t at, const std::filesystem::path& path) {
  while (true) {
    const ssize_t got = ::pread(fd, buffer, size, static_cast<off_t>(at));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) return fail(errno_error(errno, path.string()));
  }
}

// One writer at a time.
Result<void> lock(int fd, const std::filesystem::path& path) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return {};
  if (errno == EWOULDBLOCK) return fail(ErrorCode::kConflict, "{}: another import writes it", path.string());
  return fail(errno_error(errno, path.string()));
}

}  // namespace

Result<SecretsLog> SecretsLog::open(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && errno != ENOENT) return fail(errno_error(errno, path.string()));
  SecretsLog log(path, std::move(fd));
  if (!log.fd_) return log;
  struct stat found {};
  if (::fstat(log.fd_.get(), &found) != 0) return fail(errno_error(errno, path.string()));
  if (!S_ISREG(found.st_mode) || found.st_uid != ::geteuid() || (found.st_mode & 077) != 0) {
    return fail(ErrorCode::kAlreadyExists, "{}: is there, and others than you may read it", path.string());
  }
  TRY(lock(log.fd_.get(), path));
  log.size_ = static_cast<std::uint64_t>(found.st_size);
  TRY(log.find_end());
  return log;
}

// Half a row is what a power cut leaves of an append; no row holds a line end.
Result<void> SecretsLog::find_end() {
  std::array<char, kSecretsHeader.size()> head{};
  TRY_ASSIGN(const std::size_t got, read_at(fd_.get(), head.data(), head.size(), 0, path_));
  if (!kSecretsHeader.starts_with(std::string_view(head.data(), got))) {
    return fail(ErrorCode::kAlreadyExists, "{}: is there, and does not hold the secrets of an import", path_.string());
  }
  const std::uint64_t end = size_;
  std::array<char, 64 * 1024> buffer{};
  size_ = 0;
  std::uint64_t lines = 0;
  for (std::uint64_t at = 0; at < end;) {
    TRY_ASSIGN(const std::size_t size, read_at(fd_.get(), buffer.data(), buffer.size(), at, path_));
    if (size == 0) break;
    for (std::size_t i = 0; i < size; ++i) {
      if (buffer[i] != '\n') continue;
      ++lines;
      size_ = at + i + 1;
    }
    at += size;
  }
  rows_ = lines > 0 ? lines - 1 : 0;
  torn_ = size_ != end;
  return {};
}

Result<const SecretRow*> SecretsLog::peek() {
  if (next_) return &*next_;
  if (!fd_ || size_ == 0) return nullptr;
  if (!reader_) {
    read_ = kSecretsHeader.size();
    reader_.emplace([this](char* buffer, std::size_t size) -> Result<std::size_t> {
      TRY_ASSIGN(const std::size_t got, read_at(fd_.get(), buffer, std::min<std::uint64_t>(size, size_ - read_), read_, path_));
      read_ += got;
      return got;
    });
  }
  auto row = reader_->next();
  if (!row) return fail(with_context(std::move(row).error(), path_.string()));
  if (!*row) return nullptr;
  std::vector<config::CsvCell>& cells = (*row)->cells;
  if (cells.size() != 5) {
    return fail(ErrorCode::kMalformed, "{}: line {} is not a row of secrets", path_.string(), (*row)->mark.line + 1);
  }
  next_ = SecretRow{std::move(cells[0].text), std::move(cells[1].text), std::move(cells[2].text),
                    Secret(std::move(cells[3].text)), Secret(std::move(cells[4].text))};
  return &*next_;
}

void SecretsLog::rewind() {
  reader_.reset();
  next_.reset();
}

Result<void> SecretsLog::create() {
  fd_ = Fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kPrivateFile));
  if (!fd_) return fail(errno_error(errno, path_.string()));
  if (::fchmod(fd_.get(), kPrivateFile) != 0) return fail(errno_error(errno, path_.string()));
  TRY(lock(fd_.get(), path_));
  return sync_folder(path_.has_parent_path() ? path_.parent_path() : std::filesystem::path("."));
}

Result<void> SecretsLog::append(const std::vector<SecretRow>& rows) {
  if (rows.empty()) return {};
  if (!fd_) TRY(create());
  if (std::exchange(torn_, false) && ::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) {
    return fail(errno_error(errno, path_.string()));
  }
  if (size_ == 0) {
    TRY(write_at(fd_.get(), kSecretsHeader, 0, path_));
    size_ = kSecretsHeader.size();
  }
  const Secret text = secrets_rows(rows);
  TRY(write_at(fd_.get(), text.reveal(), size_, path_));
  if (::fdatasync(fd_.get()) != 0) return fail(errno_error(errno, path_.string()));
  size_ += text.reveal().size();
  rows_ += rows.size();
  return {};
}

}  // namespace fleet::provisioner
