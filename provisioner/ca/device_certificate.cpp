#include "provisioner/ca/pki.hpp"

namespace fleet::provisioner {
namespace {

constexpr Millis kBackdating = std::chrono::minutes(5);  // for clocks that are behind

}  // namespace

Result<crypto::NewCertificate> issue_device_certificate(const crypto::Issuer& device_ca, std::string_view client_id,
                                                     const crypto::PublicKey& key, Millis validity, WallTime now) {
  TRY(key.check_device_policy());
  return crypto::issue_unread({.profile = crypto::CertificateProfile::kDevice,
                        .common_name = std::string(client_id),
                        .san_names = {},
                        .not_before = now - kBackdating,
                        .not_after = now + validity},
                       key, device_ca);
}

}  // namespace fleet::provisioner
