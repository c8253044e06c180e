#include <cerrno>
#include <cstdio>
#include <system_error>

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

constexpr std::size_t kMaxName = 40;  // leaves room for " Platform Signing CA" in a common name
constexpr Millis kBackdating = std::chrono::hours(1);

Failure already_exists(const fs::path& folder) {
  return fail(ErrorCode::kAlreadyExists, "{}: there is something already: a PKI is never overwritten", folder.string());
}

Result<void> check_options(const PkiOptions& options) {
  if (options.name.empty() || options.name.size() > kMaxName) {
    return fail(ErrorCode::kInvalidArgument, "PKI name '{}': must have 1 to {} characters", options.name, kMaxName);
  }
  if (options.broker_hosts.empty()) {
    return fail(ErrorCode::kInvalidArgument, "PKI: the broker needs at least one host name or IP address");
  }
  return {};
}

// Writes the certificates and keys of one new PKI into a folder.
class Maker {
 public:
  Maker(const fs::path& folder, const PkiOptions& options, WallTime now)
      : folder_(folder), options_(options), now_(now) {}

  Result<void> make_all() {
    TRY_ASSIGN(const PrivateKey root_key, PrivateKey::generate());
    TRY_ASSIGN(const Certificate root_certificate,
               crypto::issue_root(request(CertificateProfile::kRootCa, "Root CA", options_.root_validity), root_key));
    const Issuer root{root_certificate, root_key};
    TRY(write(kRoot, root.certificate.to_pem(), root_key));

    TRY_ASSIGN(const Issuer platform_ca, make_ca(root, kPlatformCa, CertificateProfile::kPlatformCa, "Platform CA"));
    TRY(make_leaf(platform_ca, kSigning,
                  request(CertificateProfile::kCommandSigning, "Platform Signing", options_.signing_validity)));

    TRY(make_ca(root, kDeviceCa, CertificateProfile::kDeviceCa, "Device CA"));

    TRY_ASSIGN(const Issuer broker_ca, make_ca(root, kBrokerCa, CertificateProfile::kBrokerCa, "Broker CA"));
    CertificateRequest broker = request(CertificateProfile::kServer, "Broker", options_.broker_validity);
    broker.san_names = options_.broker_hosts;
    return make_leaf(broker_ca, kBroker, broker);
  }

 private:
  CertificateRequest request(CertificateProfile profile, std::string_view title, Millis validity) const {
    return {.profile = profile,
            .common_name = fmt::format("{} {}", options_.name, title),
            .san_names = {},
            .not_before = now_ - kBackdating,
            .not_after = now_ + validity};
  }

  Result<Issuer> make_ca(const Issuer& root, std::string_view name, CertificateProfile profile,
                         std::string_view title) const {
    TRY_ASSIGN(const PrivateKey key, PrivateKey::generate());
    TRY_ASSIGN(const Certificate certificate,
               crypto::issue(request(profile, title, options_.ca_validity), key.public_key(), root));
    TRY(write(name, certificate.to_pem(), key));
    return Issuer{certificate, key};
  }

  Result<void> make_leaf(const Issuer& ca, std::string_view name, const CertificateRequest& wanted) const {
    TRY_ASSIGN(const PrivateKey key, PrivateKey::generate());
    TRY_ASSIGN(const Certificate certificate, crypto::issue(wanted, key.public_key(), ca));
    return write(name, crypto::to_pem({certificate, ca.certificate}), key);
  }

  Result<void> write(std::string_view name, std::string_view certificates, const PrivateKey& key) const {
    TRY(create_file(key_path(folder_, name), key.to_pem().reveal(), kPrivateFile));
    return create_file(certificate_path(folder_, name), certificates, kCertificateFile);
  }

  const fs::path& folder_;
  const PkiOptions& options_;
  WallTime now_;
};

// `built` becomes `folder`, which is not there or empty.
Result<void> put_in_place(const fs::path& built, const fs::path& folder) {
  if (std::rename(built.c_str(), folder.c_str()) != 0) {
    if (errno == ENOTEMPTY || errno == EEXIST) return already_exists(folder);  // somebody was faster
    return fail(errno_error(errno, folder.string()));
  }
  return sync_folder(folder.parent_path());
}

Result<void> build(const fs::path& building, const fs::path& folder, const PkiOptions& options, WallTime now) {
  TRY(make_folder(building));
  TRY(Maker(building, options, now).make_all());
  return put_in_place(building, folder);
}

}  // namespace

Result<void> init_pki(const fs::path& folder, const PkiOptions& options, WallTime now) {
  TRY(check_options(options));
  std::error_code error;
  fs::path target = fs::absolute(folder, error).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // a trailing slash
  if (fs::exists(target, error) && !(fs::is_directory(target, error) && fs::is_empty(target, error))) {
    return already_exists(target);
  }
  const fs::path building = target.parent_path() / fmt::format(".{}.{}.tmp", target.filename().string(), random_id());
  auto built = build(building, target, options, now);
  // what could not be put in place holds keys that nobody needs; the reason of the failure matters more than this one's
  if (!built) static_cast<void>(fleet::remove_all(building));
  return built;
}

}  // namespace fleet::provisioner
