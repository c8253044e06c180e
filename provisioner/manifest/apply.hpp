// Applying manifests: the operator's wish becomes accounts, profiles and provision requests, all of it or nothing.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "provisioner/manifest/manifest.hpp"
#include "provisioner/manifest/preparation.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

struct ApplyOptions {
  bool allow_weak = false;     // accept passwords and activation keys under kMinPassword characters
  // Writes nothing, so that a transaction that only reads will do: finds the problems that an apply would have, and what it
  // would do. Requests of one username that would get another password together are a problem, though. What profiles would
  // do to requests that there are is only judged if there is no request among the manifests.
  bool only_check = false;
  bool overwrite = false;      // as overwriteIfDuplicate: true in each request that does not say it
  std::string by;              // who, for the timeline
  std::string provisioner_id;  // reserved client id
  Bytes verifier_key;
  // Whether the file of a package is there, by its SHA-256; empty: not looked at.
  std::function<bool(const std::string&)> has_file{};
};

inline constexpr std::size_t kMinPassword = 16;

// What became of one document.
struct Applied {
  std::size_t document = 0;
  std::string kind, name;
  std::string change;  // "created", "configured", "unchanged"
};

// Secrets that the service made up. This is the only time that they are told.
struct GeneratedSecret {
  std::string name, client_id, username;
  std::optional<Secret> password, activation_key;
};

struct ApplyProblem {
  std::size_t document = 0;
  std::string path;  // "spec.profile"
  std::string why;
  // kAlreadyExists: the request is there and may not be replaced; kConflict: it is not as it was read
  ErrorCode code = ErrorCode::kInvalidArgument;
};

struct ApplyReport {
  std::vector<Applied> applied;
  std::vector<GeneratedSecret> secrets;
  std::vector<ApplyProblem> problems;  // not empty: nothing may be kept
  Outcome outcome;                     // for after the commit: connections that must end
  std::vector<std::string> dropped_files;  // of packages, by SHA-256: what was changed named them, and does not any more
};

// Applies accounts, then profiles, then requests, whatever their order, and reports. Of a request that exists the dates,
// the status and retryMaxAttempts are edited (edc §6); what else differs needs leave to overwrite, and client id and
// username never change. If report.problems is not empty (all of them, not just the first) the error is theirs where they
// have one code, else kInvalidArgument; else the store's errors. On any error the caller lets the transaction roll back,
// as it does for a dry run.
Result<void> apply(Transaction& tx, const Executor& executor, const std::vector<NumberedManifest>& manifests,
                   const ApplyOptions& options, WallTime now, ApplyReport& report, const Preparation& prepared = {});

}  // namespace fleet::provisioner
