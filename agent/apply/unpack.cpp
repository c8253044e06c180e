#include "agent/apply/unpack.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <vector>

#include <archive.h>
#include <archive_entry.h>

#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "core/base/size.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBlock = 64 * 1024;
constexpr std::size_t kMaxName = 255;
constexpr std::size_t kMaxPath = 1024;
constexpr mode_t kFolderMode = 0755;
constexpr mode_t kFileModeMask = 0755;

struct ArchiveDeleter {
  void operator()(archive* a) const { archive_read_free(a); }
};
using ArchiveHandle = std::unique_ptr<archive, ArchiveDeleter>;

std::string reason(archive* a) {
  const char* text = archive_error_string(a);
  return text != nullptr ? text : "unreadable";
}

// Knows gzip and tar only: the parsers of the other formats are no part of what an attacker can reach. Opening reads
// the beginning already.
Result<ArchiveHandle> open_archive(const fs::path& file) {
  ArchiveHandle a(archive_read_new());
  if (!a || archive_read_support_filter_gzip(a.get()) != ARCHIVE_OK ||
      archive_read_support_format_tar(a.get()) != ARCHIVE_OK) {
    return fail(ErrorCode::kInternal, "libarchive cannot be used");
  }
  if (archive_read_open_filename(a.get(), file.c_str(), kReadBlock) != ARCHIVE_OK) {
    return fail(ErrorCode::kMalformed, "the archive is damaged: {}", reason(a.get()));
  }
  return a;
}

// The names of a path inside the archive; none for the archive's own root ("./").
Result<std::vector<std::string>> parse_path(std::string_view path, std::size_t max_depth) {
  const auto wrong = [&](std::string_view why) { return fail(ErrorCode::kMalformed, "the archive has {}", why); };
  if (path.empty() || path.size() > kMaxPath) return wrong("an empty or endless path");
  if (std::any_of(path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
    return wrong("a path with control characters");
  }
  if (path.front() == '/') return wrong(fmt::format("the absolute path '{}'", path));
  std::vector<std::string> names;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name.empty() || name == ".") continue;
    if (name == "..") return wrong("a path with '..'");
    if (name.size() > kMaxName) return wrong("an endless name");
    names.emplace_back(name);
  }
  if (names.size() > max_depth) return fail(ErrorCode::kLimitExceeded, "the archive is nested too deep");
  return names;
}

std::string_view kind_of(mode_t type) {
  switch (type) {
    case AE_IFLNK:
      return "a symbolic link";
    case AE_IFCHR:
    case AE_IFBLK:
      return "a device";
    case AE_IFIFO:
      return "a pipe";
    case AE_IFSOCK:
      return "a socket";
    default:
      return "something unknown";
  }
}

class Unpacking {
 public:
  Unpacking(archive* a, const fs::path& folder, std::uint64_t file_size, const UnpackLimits& limits,
            const UnpackProgress& progress)
      : archive_(a), folder_(folder), file_size_(file_size), limits_(limits), progress_(progress) {}

  Result<void> run() {
    for (;;) {
      archive_entry* entry = nullptr;
      const int status = archive_read_next_header(archive_, &entry);
      if (status == ARCHIVE_EOF) return {};
      // a warning is about what is not used here: owners, times, the locale
      if (status != ARCHIVE_OK && status != ARCHIVE_WARN) return damaged();
      TRY(take(entry));
    }
  }

 private:
  Failure damaged() const { return fail(ErrorCode::kMalformed, "the archive is damaged: {}", reason(archive_)); }

  Result<void> take(archive_entry* entry) {
    TRY(go_on());
    TRY(count_entry());  // each one costs time, also one that makes nothing
    const char* text = archive_entry_pathname(entry);
    if (text == nullptr) text = archive_entry_pathname_utf8(entry);  // no such characters in the locale
    if (text == nullptr) return fail(ErrorCode::kMalformed, "the archive has a path in an unknown encoding");
    const std::string path = text;
    TRY_ASSIGN(const std::vector<std::string> names, parse_path(path, limits_.max_depth));
    if (archive_entry_hardlink(entry) != nullptr) return fail(ErrorCode::kMalformed, "'{}' is a link", path);
    const mode_t type = archive_entry_filetype(entry);
    if (type != AE_IFREG && type != AE_IFDIR) return fail(ErrorCode::kMalformed, "'{}' is {}", path, kind_of(type));
    if (names.empty()) {
      if (type == AE_IFDIR) return {};
      return fail(ErrorCode::kMalformed, "the archive has a file without a name");
    }
    TRY_ASSIGN(const Fd parent, enter(names, type == AE_IFDIR, path));
    if (type == AE_IFDIR) return {};
    return write_file(entry, parent.get(), names.back(), path);
  }

  // Opens the folder of an entry, which it is itself or is in; makes those that are missing.
  Result<Fd> enter(const std::vector<std::string>& names, bool is_folder, const std::string& path) {
    const std::size_t count = is_folder ? names.size() : names.size() - 1;
    Fd at(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!at) return fail(errno_error(errno, folder_.string()));
    for (std::size_t i = 0; i < count; ++i) {
      if (::mkdirat(at.get(), names[i].c_str(), kFolderMode) == 0) {
        if (i + 1 < names.size()) TRY(count_entry());  // has no entry of its own, or a later one
        // whatever the umask is
        if (::fchmodat(at.get(), names[i].c_str(), kFolderMode, 0) != 0) return fail(errno_error(errno, path));
      } else if (errno != EEXIST) {
        return fail(errno_error(errno, path));
      }
      const int next = ::openat(at.get(), names[i].c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (next < 0) {
        if (errno != ENOTDIR && errno != ELOOP) return fail(errno_error(errno, path));
        return fail(ErrorCode::kMalformed, "'{}': '{}' is a file in this archive, not a folder", path, names[i]);
      }
      at = Fd(next);
    }
    return at;
  }

  Result<void> write_file(archive_entry* entry, int parent, const std::string& name, const std::string& path) {
    const la_int64_t declared = archive_entry_size_is_set(entry) != 0 ? archive_entry_size(entry) : 0;
    if (declared < 0 || static_cast<std::uint64_t>(declared) > limits_.max_size - written_) return too_large();
    const mode_t mode = (archive_entry_perm(entry) & kFileModeMask) | S_IRUSR | S_IWUSR;
    const Fd fd(::openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!fd) {
      if (errno == EEXIST) return fail(ErrorCode::kMalformed, "the archive has '{}' twice", path);
      return fail(errno_error(errno, path));
    }
    if (::fchmod(fd.get(), mode) != 0) return fail(errno_error(errno, path));
    std::uint64_t end = 0;
    TRY(write_blocks(fd.get(), path, end));
    // the hole at the end of a sparse file
    if (end < static_cast<std::uint64_t>(declared)) {
      end = static_cast<std::uint64_t>(declared);
      if (::ftruncate(fd.get(), declared) != 0) return fail(errno_error(errno, path));
    }
    written_ += end;
    return {};
  }

  Result<void> write_blocks(int fd, const std::string& path, std::uint64_t& end) {
    for (;;) {
      TRY(go_on());
      const void* data = nullptr;
      std::size_t size = 0;
      la_int64_t offset = 0;
      const int status = archive_read_data_block(archive_, &data, &size, &offset);
      if (status == ARCHIVE_EOF) return {};
      if (status != ARCHIVE_OK || offset < 0) return damaged();
      const std::uint64_t block_end = static_cast<std::uint64_t>(offset) + size;
      if (block_end > limits_.max_size - written_) return too_large();
      TRY(keep_reserve(fd, size));
      TRY(write_at(fd, {static_cast<const char*>(data), size}, offset, path));
      end = std::max(end, block_end);
    }
  }

  static Result<void> write_at(int fd, std::string_view bytes, off_t offset, const std::string& path) {
    while (!bytes.empty()) {
      const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), offset);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return fail(errno_error(errno, path));
      bytes.remove_prefix(static_cast<std::size_t>(written));
      offset += written;
    }
    return {};
  }

  Result<void> keep_reserve(int fd, std::size_t size) const {
    struct statvfs disk {};
    if (::fstatvfs(fd, &disk) != 0 || std::uint64_t{disk.f_bavail} * disk.f_frsize >= limits_.disk_reserve + size) {
      return {};
    }
    return fail(errno_error(ENOSPC, "unpacking"));
  }

  Result<void> count_entry() {
    if (++entries_ <= limits_.max_entries) return {};
    return fail(ErrorCode::kLimitExceeded, "the archive has more than {} files and folders (package-max-entries)", limits_.max_entries);
  }
  Failure too_large() const {
    return fail(ErrorCode::kLimitExceeded, "the archive holds more than {} (package-max-unpacked)", format_size(limits_.max_size));
  }
  Result<void> go_on() const {
    const la_int64_t read = archive_filter_bytes(archive_, -1);
    if (progress_(read > 0 ? static_cast<std::uint64_t>(read) : 0, file_size_)) return {};
    return fail(ErrorCode::kUnavailable, "cancelled");
  }

  archive* archive_;
  const fs::path& folder_;
  std::uint64_t file_size_;
  const UnpackLimits& limits_;
  const UnpackProgress& progress_;
  std::uint64_t written_ = 0;
  std::uint64_t entries_ = 0;
};

Result<bool> is_archive(const fs::path& file) {
  constexpr std::string_view kGzip = "\x1f\x8b";
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail(errno_error(errno, file.string()));
  char magic[2] = {};
  if (::read(fd.get(), magic, sizeof magic) != sizeof magic || std::string_view(magic, sizeof magic) != kGzip) {
    return false;
  }
  const auto a = open_archive(file);
  if (!a) return false;
  archive_entry* entry = nullptr;
  const int status = archive_read_next_header(a->get(), &entry);
  return status == ARCHIVE_OK || status == ARCHIVE_WARN || status == ARCHIVE_EOF;
}

}  // namespace

Result<bool> unpack(const fs::path& file, const fs::path& folder, const UnpackLimits& limits,
                    const UnpackProgress& progress) {
  TRY_ASSIGN(const bool archive, is_archive(file));
  if (!archive) return false;
  std::error_code error;
  const std::uint64_t size = fs::file_size(file, error);
  if (error) return fail(errno_error(error.value(), file.string()));
  TRY_ASSIGN(const ArchiveHandle a, open_archive(file));
  TRY(Unpacking(a.get(), folder, size, limits, progress).run());
  return true;
}

}  // namespace fleet::agent
