#include "provisioner/manifest/apply.hpp"

#include <map>
#include <type_traits>

#include "core/crypto/digest.hpp"

namespace fleet::provisioner {
namespace {

bool same(const Account& a, const Account& b) {
  return a.name == b.name && a.broker_url == b.broker_url && a.ca_pem == b.ca_pem;
}

bool same(const Profile& a, const Profile& b) {
  return a.name == b.name && a.account == b.account && a.configuration == b.configuration &&
         a.certificate_validity == b.certificate_validity && a.retry_max_attempts == b.retry_max_attempts &&
         a.attempt_timeout == b.attempt_timeout;
}

// One call of apply(): what it works on, and its report.
class Application {
 public:
  Application(Transaction& tx, const Executor& executor, const ApplyOptions& options, WallTime now, ApplyReport& report)
      : tx_(tx), executor_(executor), options_(options), now_(now), report_(report) {}

  Result<void> apply(std::size_t document, const Account& account) {
    TRY_ASSIGN(const std::optional<Account> old, tx_.find_account(account.name));
    if (!once(document, "Account", account.name)) return {};
    if (!old || !same(*old, account)) TRY(tx_.put_account(account));
    done(document, "Account", account.name, !old ? "created" : same(*old, account) ? "unchanged" : "configured");
    return {};
  }

  Result<void> apply(std::size_t document, const Profile& profile) {
    if (!once(document, "Profile", profile.name)) return {};
    TRY_ASSIGN(const std::optional<Account> account, tx_.find_account(profile.account));
    if (!account) {
      problem(document, "spec.account", fmt::format("no account '{}': apply it first, or in the same files", profile.account));
      return {};
    }
    TRY_ASSIGN(const std::optional<Profile> old, tx_.find_profile(profile.name));
    if (!old || !same(*old, profile)) TRY(tx_.put_profile(profile));
    done(document, "Profile", profile.name, !old ? "created" : same(*old, profile) ? "unchanged" : "configured");
    return {};
  }

  Result<void> apply(std::size_t document, const RequestManifest& manifest) {
    if (!once(document, "ProvisionRequest", manifest.name)) return {};
    const std::size_t problems_before = report_.problems.size();
    TRY(check_profile(document, manifest));
    if (manifest.client_id == options_.provisioner_id) {
      problem(document, "spec.clientId", fmt::format("'{}' is the provisioner's own client id", manifest.client_id));
    }
    if (manifest.password && manifest.password->reveal().size() < kMinPassword && !options_.allow_weak) {
      problem(document, "spec.provisionUserPassword",
              fmt::format("shorter than {} characters: leave it out to have one generated, or apply with --allow-weak", kMinPassword));
    }
    TRY_ASSIGN(const std::optional<ProvisionRequest> old, tx_.find_request_by_name(manifest.name));
    TRY_ASSIGN(const std::optional<ProvisionRequest> rival, tx_.find_request_by_client_id(manifest.client_id));
    if (rival && rival->name != manifest.name) {
      problem(document, "spec.clientId", fmt::format("request '{}' already has client id {}", rival->name, manifest.client_id));
    }
    if (report_.problems.size() != problems_before) return {};
    return old ? change(document, manifest, *old) : create(document, manifest);
  }

 private:
  void problem(std::size_t document, std::string path, std::string why) {
    report_.problems.push_back({document, std::move(path), std::move(why)});
  }

  void done(std::size_t document, std::string kind, const std::string& name, std::string change) {
    report_.applied.push_back({document, std::move(kind), name, std::move(change)});
  }

  // False, and a problem, if the same kind and name was applied in this call before.
  bool once(std::size_t document, const std::string& kind, const std::string& name) {
    if (seen_.emplace(kind + "/" + name, document).second) return true;
    problem(document, "metadata.name", fmt::format("a second {} '{}' among the applied documents", kind, name));
    return false;
  }

  Result<void> check_profile(std::size_t document, const RequestManifest& manifest) {
    TRY_ASSIGN(const std::optional<Profile> profile, tx_.find_profile(manifest.profile));
    if (!profile) {
      problem(document, "spec.profile", fmt::format("no profile '{}': apply it first, or in the same files", manifest.profile));
      return {};
    }
    TRY_ASSIGN(const std::optional<Account> account, tx_.find_account(profile->account));
    if (!account) return fail(ErrorCode::kCorrupt, "profile {}: its account {} is gone", profile->name, profile->account);
    ProvisionRequest probe;
    probe.name = manifest.name;
    probe.client_id = manifest.client_id;
    probe.labels = manifest.labels;
    probe.params = manifest.params;
    if (auto rendered = executor_.check_renders(probe, *profile, *account); !rendered) {
      problem(document, "spec.profile", rendered.error().message);
    }
    return {};
  }

  Bytes verifier(std::string_view purpose, std::string_view owner, const Secret& secret) const {
    return crypto::secret_verifier(options_.verifier_key, purpose, owner, secret.reveal());
  }

  // edc §1: a username may be reused only with the same password.
  Result<bool> username_is_free(std::size_t document, const std::string& name, const std::string& username, const Bytes& wanted) {
    TRY_ASSIGN(const std::optional<ProvisionRequest> other, tx_.find_request_by_username(username));
    if (!other || other->name == name || constant_time_equal(other->username_verifier, wanted)) return true;
    problem(document, "spec.provisionUserUsername",
            fmt::format("request '{}' uses this username with another password", other->name));
    return false;
  }

  static void copy_wishes(const RequestManifest& manifest, ProvisionRequest& request) {
    request.profile = manifest.profile;
    request.labels = manifest.labels;
    request.params = manifest.params;
    request.enabled = manifest.enabled;
    request.activates_on = manifest.activates_on;
    request.expires_on = manifest.expires_on;
    request.retry_max_attempts = manifest.retry_max_attempts;
  }

  Result<void> create(std::size_t document, const RequestManifest& manifest) {
    ProvisionRequest request;
    request.name = manifest.name;
    request.client_id = manifest.client_id;
    request.username = manifest.username;
    request.created_at = request.updated_at = now_;
    copy_wishes(manifest, request);

    GeneratedSecret secret{manifest.name, manifest.client_id, manifest.username, {}, {}};
    if (!manifest.password) secret.password = random_password();
    const Secret& password = manifest.password ? *manifest.password : *secret.password;
    request.connect_verifier = verifier(kConnectPurpose, request.client_id, password);
    request.username_verifier = verifier("username", request.username, password);
    TRY_ASSIGN(const bool free, username_is_free(document, request.name, request.username, request.username_verifier));
    if (!free) return {};
    if (manifest.generate_activation_key) {
      secret.activation_key = random_password();
      request.activation_key_verifier = verifier("activation-key", request.client_id, *secret.activation_key);
    }
    TRY(tx_.insert_request(request));
    TRY(tx_.add_timeline({request.id, std::nullopt, now_, "operator", "created by " + options_.by}));
    if (secret.password || secret.activation_key) report_.secrets.push_back(std::move(secret));
    done(document, "ProvisionRequest", request.name, "created");
    return {};
  }

  Result<void> change(std::size_t document, const RequestManifest& manifest, const ProvisionRequest& old) {
    const std::size_t problems_before = report_.problems.size();
    if (!manifest.overwrite_if_duplicate) {
      problem(document, "metadata.name", "exists already, and overwriteIfDuplicate is false");
    }
    if (manifest.client_id != old.client_id) {
      problem(document, "spec.clientId", fmt::format("cannot change from {}: delete the request and apply it again", old.client_id));
    }
    if (manifest.username != old.username) {
      problem(document, "spec.provisionUserUsername", fmt::format("cannot change from {}: delete the request and apply it again", old.username));
    }
    if (report_.problems.size() != problems_before) return {};

    ProvisionRequest request = old;
    copy_wishes(manifest, request);
    if (manifest.password) {
      request.connect_verifier = verifier(kConnectPurpose, request.client_id, *manifest.password);
      request.username_verifier = verifier("username", request.username, *manifest.password);
      TRY_ASSIGN(const bool free, username_is_free(document, request.name, request.username, request.username_verifier));
      if (!free) return {};
    }
    GeneratedSecret secret{manifest.name, manifest.client_id, manifest.username, {}, {}};
    if (manifest.generate_activation_key && !old.activation_key_verifier) {
      secret.activation_key = random_password();
      request.activation_key_verifier = verifier("activation-key", request.client_id, *secret.activation_key);
      request.activation_key_used = false;
    } else if (!manifest.generate_activation_key) {
      request.activation_key_verifier.reset();
      request.activation_key_used = false;
    }
    const std::string what = changes(old, request);
    if (what.empty()) {
      done(document, "ProvisionRequest", request.name, "unchanged");
      return {};
    }
    TRY_ASSIGN(const std::optional<Attempt> attempt, tx_.latest_attempt(old.id));
    const bool in_progress = attempt && attempt->state == AttemptState::kOpen;
    if (in_progress && (old.profile != request.profile || old.labels != request.labels || old.params != request.params)) {
      problem(document, "spec", "an attempt is in progress: profile, labels and params can change when it has ended");
      return {};
    }
    request.updated_at = now_;
    TRY(tx_.update_request(request));
    TRY(tx_.add_timeline({request.id, std::nullopt, now_, "operator", fmt::format("{} changed by {}", what, options_.by)}));
    if (secret.activation_key) report_.secrets.push_back(std::move(secret));
    done(document, "ProvisionRequest", request.name, "configured");
    return {};
  }

  // The names of what differs, for the timeline; empty if nothing does.
  static std::string changes(const ProvisionRequest& old, const ProvisionRequest& request) {
    std::vector<std::string_view> names;
    if (old.profile != request.profile) names.push_back("profile");
    if (old.labels != request.labels) names.push_back("labels");
    if (old.params != request.params) names.push_back("params");
    if (old.enabled != request.enabled) names.push_back("status");
    if (old.activates_on != request.activates_on) names.push_back("activatesOn");
    if (old.expires_on != request.expires_on) names.push_back("expiresOn");
    if (old.retry_max_attempts != request.retry_max_attempts) names.push_back("retryMaxAttempts");
    if (old.connect_verifier != request.connect_verifier) names.push_back("password");
    if (old.activation_key_verifier != request.activation_key_verifier) names.push_back("activation key");
    return fmt::format("{}", fmt::join(names, ", "));
  }

  Transaction& tx_;
  const Executor& executor_;
  const ApplyOptions& options_;
  WallTime now_;
  ApplyReport& report_;
  std::map<std::string, std::size_t> seen_;
};

template <typename Kind>
Result<void> apply_kind(Application& application, const std::vector<NumberedManifest>& manifests) {
  for (const NumberedManifest& numbered : manifests) {
    if (const Kind* manifest = std::get_if<Kind>(&numbered.manifest)) {
      TRY(application.apply(numbered.document, *manifest));
    }
  }
  return {};
}

}  // namespace

Result<void> apply(Transaction& tx, const Executor& executor, const std::vector<NumberedManifest>& manifests,
                   const ApplyOptions& options, WallTime now, ApplyReport& report) {
  report = {};
  Application application(tx, executor, options, now, report);
  TRY(apply_kind<Account>(application, manifests));
  TRY(apply_kind<Profile>(application, manifests));
  TRY(apply_kind<RequestManifest>(application, manifests));
  if (!report.problems.empty()) {
    report.applied.clear();
    report.secrets.clear();
    return fail(ErrorCode::kInvalidArgument, "{} problems; nothing was applied", report.problems.size());
  }
  return {};
}

}  // namespace fleet::provisioner
