#include "provisioner/manifest/differences.hpp"

#include <fmt/ranges.h>

namespace fleet::provisioner {

std::vector<Difference> differences_of(const ProvisionRequest& old, const ProvisionRequest& request) {
  using Sort = Difference::Sort;
  std::vector<Difference> found;
  const auto note = [&](bool differs, const Difference& difference) {
    if (differs) found.push_back(difference);
  };
  note(old.profile != request.profile, {"profile", "spec.profile", Sort::kContent});
  note(old.labels != request.labels, {"labels", "metadata.labels", Sort::kContent});
  note(old.params != request.params, {"params", "spec.params", Sort::kContent});
  note(old.configuration != request.configuration, {"configuration", "spec.configuration", Sort::kContent});
  note(old.packages != request.packages, {"packages", "spec.packages", Sort::kContent});
  note(old.secure_url != request.secure_url, {"provisionSecureURL", "spec.provisionSecureURL", Sort::kContent});
  note(old.tight != request.tight, {"deviceCredentialsTight", "spec.deviceCredentialsTight", Sort::kContent});
  note(old.activates_on != request.activates_on, {"activatesOn", "spec.activatesOn", Sort::kPermission});
  note(old.expires_on != request.expires_on, {"expiresOn", "spec.expiresOn", Sort::kPermission});
  note(old.retry_max_attempts != request.retry_max_attempts,
       {"retryMaxAttempts", "spec.retryMaxAttempts", Sort::kPermission});
  note(old.connect_verifier != request.connect_verifier, {"password", "spec.provisionUserPassword", Sort::kSecret});
  note(old.activation_key_verifier != request.activation_key_verifier,
       {"activation key", "spec.activationKey", Sort::kSecret});
  return found;
}

std::string in_words(const std::vector<Difference>& differences) {
  std::vector<std::string_view> names;
  for (const Difference& difference : differences) names.push_back(difference.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace fleet::provisioner
