#include "provisioner/ca/pki_files.hpp"

#include <cerrno>
#include <sys/stat.h>

#include "core/base/file.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxPemFile = 256 * 1024;
constexpr mode_t kOthersRights = 0077;

}  // namespace

fs::path certificate_path(const fs::path& folder, std::string_view name) {
  return folder / fmt::format("{}.crt", name);
}
fs::path key_path(const fs::path& folder, std::string_view name) {
  return folder / fmt::format("{}.key", name);
}
fs::path new_key_path(const fs::path& folder, std::string_view name) {
  return folder / fmt::format("{}.key.new", name);
}

Result<std::vector<crypto::Certificate>> read_chain(const fs::path& folder, std::string_view name) {
  const fs::path path = certificate_path(folder, name);
  TRY_ASSIGN(const Bytes pem, read_file(path, kMaxPemFile));
  auto chain = crypto::Certificate::chain_from_pem(pem);
  if (!chain) return fail(with_context(std::move(chain).error(), path.string()));
  return chain;
}

Result<crypto::PrivateKey> read_key(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return fail(errno_error(errno, path.string()));
  if ((status.st_mode & kOthersRights) != 0) {
    return fail(ErrorCode::kPermissionDenied, "{}: a private key that others may read or change: `chmod 600` it",
                path.string());
  }
  TRY_ASSIGN(Bytes pem, read_file(path, kMaxPemFile));
  const Secret secret(std::move(pem));
  auto key = crypto::PrivateKey::from_pem(secret.reveal());
  if (!key) return fail(with_context(std::move(key).error(), path.string()));
  return key;
}

Result<crypto::PrivateKey> read_key_of(const crypto::Certificate& certificate, const fs::path& folder,
                                       std::string_view name) {
  auto key = read_key(key_path(folder, name));
  if (key && key->check_fits(certificate.public_key())) return key;
  auto new_key = read_key(new_key_path(folder, name));
  if (new_key && new_key->check_fits(certificate.public_key())) return new_key;
  if (!key) return key;
  return fail(ErrorCode::kCorrupt, "{}: is not the key of {}: restore the two files together from a backup",
              key_path(folder, name).string(), certificate_path(folder, name).string());
}

Result<void> check_time(const fs::path& path, const std::vector<crypto::Certificate>& chain, WallTime now,
                        std::string_view advice) {
  for (const crypto::Certificate& certificate : chain) {
    if (now < certificate.not_before()) {
      return fail(ErrorCode::kExpired, "{}: certificate '{}' is not valid before {}: check this machine's clock",
                  path.string(), certificate.subject_cn(), format_time(certificate.not_before()));
    }
    if (now > certificate.not_after()) {
      return fail(ErrorCode::kExpired, "{}: certificate '{}' expired on {}: {}", path.string(),
                  certificate.subject_cn(), format_time(certificate.not_after()), advice);
    }
  }
  return {};
}

}  // namespace fleet::provisioner
