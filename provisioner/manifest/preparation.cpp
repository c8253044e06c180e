#include "provisioner/manifest/preparation.hpp"

#include <optional>
#include <string_view>

#include "core/crypto/digest.hpp"

namespace fleet::provisioner {

ProvisionRequest probe_of(const RequestManifest& manifest) {
  ProvisionRequest probe;
  probe.name = manifest.name;
  probe.client_id = manifest.client_id;
  probe.labels = manifest.labels;
  probe.params = manifest.params;
  probe.configuration = manifest.configuration;
  probe.packages = manifest.packages;
  probe.secure_url = manifest.secure_url;
  return probe;
}

Result<Preparation> prepare(Transaction& tx, const Executor& executor, const std::vector<NumberedManifest>& manifests,
                            const Bytes& verifier_key) {
  Preparation prepared;
  for (const NumberedManifest& numbered : manifests) {
    const auto* const manifest = std::get_if<RequestManifest>(&numbered.manifest);
    if (manifest == nullptr) continue;
    if (manifest->password) {
      const std::string_view password = manifest->password->reveal();
      prepared.verifiers[numbered.document] = {
          crypto::secret_verifier(verifier_key, kConnectPurpose, manifest->client_id, password),
          crypto::secret_verifier(verifier_key, kUsernamePurpose, manifest->username, password)};
    }
    auto target = prepared.targets.find(manifest->profile);
    if (target == prepared.targets.end()) {
      TRY_ASSIGN(std::optional<Profile> profile, tx.find_profile(manifest->profile));
      if (!profile) continue;
      TRY_ASSIGN(std::optional<Account> account, tx.find_account(profile->account));
      if (!account) continue;
      target = prepared.targets.try_emplace(manifest->profile, std::move(*profile), std::move(*account)).first;
    }
    const auto& [profile, account] = target->second;
    if (executor.check_renders(probe_of(*manifest), profile, account)) prepared.rendered.insert(numbered.document);
  }
  return prepared;
}

}  // namespace fleet::provisioner
