#include "provisioner/packages/folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kTemporary = ".upload-";
// The disk is not left to take it all in one gulp at the end: everything else of the service would wait for that.
constexpr std::int64_t kSyncEvery = 8 * 1024 * 1024;

}  // namespace

bool is_sha256_text(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<void> PackageFolder::prepare() const {
  TRY(make_folder(folder_));
  std::error_code error;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().filename().string().starts_with(kTemporary)) TRY(fleet::remove_all(entry->path()));
  }
  if (error) return fail(errno_error(error.value(), folder_.string()));
  return {};
}

bool PackageFolder::has(std::string_view sha256) const {
  std::error_code error;
  return is_sha256_text(sha256) && fs::is_regular_file(file(sha256), error);
}

Result<Bytes> PackageFolder::read(std::string_view sha256, std::size_t limit) const {
  TRY_ASSIGN(const Fd fd, open(sha256));
  TRY_ASSIGN(Bytes content, read_file(file(sha256), limit));
  if (to_hex(crypto::sha256(content)) != sha256) {
    return fail(ErrorCode::kCorrupt, "{}: damaged; remove it and apply the manifest again", file(sha256).string());
  }
  return content;
}

Result<Fd> PackageFolder::open(std::string_view sha256) const {
  if (!is_sha256_text(sha256)) return fail(ErrorCode::kNotFound, "no such package file");
  Fd fd(::open(file(sha256).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd && errno == ENOENT) {
    return fail(ErrorCode::kNotFound, "{}: not there; apply the manifest again to upload it", file(sha256).string());
  }
  if (!fd) return fail(errno_error(errno, file(sha256).string()));
  return fd;
}

Result<void> PackageFolder::remove(std::string_view sha256) const {
  if (!is_sha256_text(sha256)) return {};
  return fleet::remove_all(file(sha256));
}

Result<std::set<std::string>> PackageFolder::list() const {
  std::error_code error;
  std::set<std::string> names;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (is_sha256_text(name)) names.insert(std::move(name));
  }
  if (error) return fail(errno_error(error.value(), folder_.string()));
  return names;
}

Result<std::size_t> PackageFolder::keep_only(const std::set<std::string>& kept) const {
  TRY_ASSIGN(const std::set<std::string> present, list());
  std::size_t removed = 0;
  for (const std::string& name : present) {
    if (kept.contains(name)) continue;
    TRY(fleet::remove_all(file(name)));
    ++removed;
  }
  return removed;
}

Result<PackageUpload> PackageUpload::begin(const PackageFolder& folder, std::string sha256) {
  if (!is_sha256_text(sha256)) {
    return fail(ErrorCode::kMalformed, "a package's file is named by its SHA-256, 64 lower-case hexadecimal digits");
  }
  const fs::path temporary = folder.path() / fmt::format("{}{}", kTemporary, random_id());
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kPrivateFile));
  if (!fd) return fail(errno_error(errno, temporary.string()));
  return PackageUpload(folder.path(), std::move(sha256), temporary, std::move(fd));
}

PackageUpload::PackageUpload(fs::path folder, std::string sha256, fs::path temporary, Fd fd)
    : folder_(std::move(folder)), sha256_(std::move(sha256)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

PackageUpload::PackageUpload(PackageUpload&& other) noexcept
    : folder_(std::move(other.folder_)),
      sha256_(std::move(other.sha256_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)),
      digest_(std::move(other.digest_)),
      size_(other.size_),
      synced_(other.synced_) {}

PackageUpload::~PackageUpload() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<void> PackageUpload::add(std::string_view bytes) {
  size_ += static_cast<std::int64_t>(bytes.size());
  if (size_ > kMaxPackageFile) {
    return fail(ErrorCode::kLimitExceeded, "a package's file has at most {} bytes", kMaxPackageFile);
  }
  digest_.add(bytes);
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(errno_error(errno, temporary_.string()));
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  if (size_ - synced_ < kSyncEvery) return {};
  synced_ = size_;
  if (::fdatasync(fd_.get()) != 0) return fail(errno_error(errno, temporary_.string()));
  return {};
}

Result<void> PackageUpload::finish() {
  const std::string found = to_hex(digest_.finish());
  if (found != sha256_) {
    return fail(ErrorCode::kInvalidArgument, "the file that arrived has another SHA-256 ({}): it was changed meanwhile; "
                "apply again", found);
  }
  if (::fsync(fd_.get()) != 0) return fail(errno_error(errno, temporary_.string()));
  const fs::path name = folder_ / sha256_;
  if (::rename(temporary_.c_str(), name.c_str()) != 0) return fail(errno_error(errno, name.string()));
  temporary_.clear();
  return sync_folder(folder_);
}

}  // namespace fleet::provisioner
