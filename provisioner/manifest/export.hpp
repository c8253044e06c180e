// The way back: what the service holds, as the manifests that make it so. Applied as they are they change nothing.
#pragma once

#include "core/config/node.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

// Whether what may be somebody's secret is written: values of Password properties and of params. Hidden ones are null,
// which apply refuses, so that a file without them cannot wipe what is there. Passwords and activation keys of requests
// are kept as verifiers only and never written; apply leaves those of an existing request as they are.
enum class Secrets { kHidden, kShown };

config::Node to_manifest(const Account& account);
config::Node to_manifest(const Profile& profile, Secrets secrets);
config::Node to_manifest(const ProvisionRequest& request, Secrets secrets);

}  // namespace fleet::provisioner
