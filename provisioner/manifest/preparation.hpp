// What of an apply can be done before it.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "provisioner/manifest/manifest.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// A manifest and the number of the document it came from, by which errors are reported.
struct NumberedManifest {
  std::size_t document = 0;
  Manifest manifest;
};

// What of an apply takes its time and no transaction that writes: made where no device waits for it. What it rests on is
// looked at again when it is used.
struct Preparation {
  struct Verifiers {
    Bytes connect, username;
  };
  std::map<std::size_t, Verifiers> verifiers;  // of the passwords that are given, by document
  // Documents that render with the profile and the account as they were then.
  std::set<std::size_t> rendered;
  std::map<std::string, std::pair<Profile, Account>> targets;  // by the profile's name
};

// `tx` may be one that only reads. What does not go well is left to apply().
Result<Preparation> prepare(Transaction& tx, const Executor& executor, const std::vector<NumberedManifest>& manifests,
                            const Bytes& verifier_key);

// As much of a request as rendering looks at.
ProvisionRequest probe_of(const RequestManifest& manifest);

}  // namespace fleet::provisioner
