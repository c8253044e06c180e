// A renewal writes NAME.key.new, then NAME.crt – from here on it counts – and then renames the key. Whoever reads in
// between, or after a crash in between, takes the key that belongs to the certificate.
#include <cerrno>
#include <cstdio>

#include "core/base/file.hpp"
#include "provisioner/ca/pki.hpp"
#include "provisioner/ca/pki_files.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;

namespace {

using crypto::Certificate;
using crypto::CertificateProfile;
using crypto::CertificateRequest;
using crypto::Issuer;
using crypto::PrivateKey;

constexpr std::string_view kLockFile = ".renewal.lock";
constexpr Millis kBackdating = std::chrono::hours(1);

Result<void> promote_new_key(const fs::path& folder, std::string_view name) {
  const fs::path to = key_path(folder, name);
  if (std::rename(new_key_path(folder, name).c_str(), to.c_str()) != 0) return fail(errno_error(errno, to.string()));
  return sync_folder(folder);
}

// After a crash: the new key is promoted if its certificate made it, else dropped.
Result<void> settle_interrupted_renewal(const fs::path& folder, std::string_view name, const Certificate& certificate) {
  const fs::path waiting = new_key_path(folder, name);
  std::error_code error;
  if (!fs::exists(waiting, error)) return {};
  const auto key = read_key(waiting);
  if (key && key->check_fits(certificate.public_key())) return promote_new_key(folder, name);
  return fleet::remove_all(waiting);
}

Result<Issuer> load_ca(const fs::path& folder, std::string_view name, WallTime now) {
  TRY_ASSIGN(const auto chain, read_chain(folder, name));
  TRY(check_time(certificate_path(folder, name), chain, now, "make a new PKI: its CA cannot be renewed"));
  TRY_ASSIGN(const PrivateKey key, read_key_of(chain.front(), folder, name));
  return Issuer{chain.front(), key};
}

Result<void> renew(const fs::path& folder, std::string_view name, std::string_view ca_name,
                   CertificateRequest request) {
  TRY_ASSIGN(const FileLock lock, FileLock::acquire(folder / kLockFile));
  TRY_ASSIGN(const auto old_chain, read_chain(folder, name));
  TRY(settle_interrupted_renewal(folder, name, old_chain.front()));
  TRY_ASSIGN(const Issuer ca, load_ca(folder, ca_name, request.not_before + kBackdating));
  request.common_name = old_chain.front().subject_cn();
  TRY_ASSIGN(const PrivateKey key, PrivateKey::generate());
  TRY_ASSIGN(const Certificate certificate, crypto::issue(request, key.public_key(), ca));
  TRY(write_file(new_key_path(folder, name), key.to_pem().reveal(), kPrivateFile));
  TRY(write_file(certificate_path(folder, name), crypto::to_pem({certificate, ca.certificate}), kCertificateFile));
  return promote_new_key(folder, name);
}

}  // namespace

Result<void> renew_broker_certificate(const fs::path& folder, const std::vector<std::string>& broker_hosts,
                                      WallTime now, Millis validity) {
  return renew(folder, kBroker, kBrokerCa,
               {.profile = CertificateProfile::kServer,
                .common_name = {},
                .san_names = broker_hosts,
                .not_before = now - kBackdating,
                .not_after = now + validity});
}

Result<void> renew_signing_certificate(const fs::path& folder, WallTime now, Millis validity) {
  return renew(folder, kSigning, kPlatformCa,
               {.profile = CertificateProfile::kCommandSigning,
                .common_name = {},
                .san_names = {},
                .not_before = now - kBackdating,
                .not_after = now + validity});
}

}  // namespace fleet::provisioner
