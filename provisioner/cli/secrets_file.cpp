#include "provisioner/cli/secrets_file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "core/base/file.hpp"

namespace fleet::provisioner {
namespace {

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string field = "\"";
  for (const char c : text) field += c == '"' ? std::string("\"\"") : std::string(1, c);
  return field + "\"";
}

}  // namespace

Secret secrets_rows(const std::vector<SecretRow>& rows) {
  std::string text;
  for (const SecretRow& row : rows) {
    text += fmt::format("{},{},{},{},{}\n", csv_field(row.name), csv_field(row.client_id), csv_field(row.username),
                        csv_field(row.password.reveal()), csv_field(row.activation_key.reveal()));
  }
  return Secret(std::move(text));
}

Secret secrets_csv(const std::vector<SecretRow>& rows) {
  return Secret(std::string(kSecretsHeader) + std::string(secrets_rows(rows).reveal()));
}

Result<SecretsFile> SecretsFile::create(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kPrivateFile));
  if (!fd) return fail(errno_error(errno, path.string()));
  SecretsFile file(std::move(fd), path);
  if (::fchmod(file.fd_.get(), kPrivateFile) != 0) return fail(errno_error(errno, path.string()));
  return file;
}

SecretsFile::SecretsFile(SecretsFile&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}

SecretsFile::~SecretsFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

Result<void> SecretsFile::keep(std::string_view content) {
  const std::filesystem::path path = std::exchange(path_, {});
  while (!content.empty()) {
    const ssize_t written = ::write(fd_.get(), content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(errno_error(errno, path.string()));
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(fd_.get()) != 0) return fail(errno_error(errno, path.string()));
  return sync_folder(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace fleet::provisioner
