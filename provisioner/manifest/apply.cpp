#include "provisioner/manifest/apply.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "core/crypto/digest.hpp"
#include "provisioner/manifest/differences.hpp"
#include "provisioner/provisioning/plan.hpp"

namespace fleet::provisioner {
namespace {

bool same(const Account& a, const Account& b) {
  return a.name == b.name && a.broker_url == b.broker_url && a.ca_pem == b.ca_pem && a.credentials == b.credentials &&
         a.tight == b.tight && a.connector == b.connector;
}

bool same(const Profile& a, const Profile& b) {
  return a.name == b.name && a.account == b.account && a.configuration == b.configuration &&
         a.certificate_validity == b.certificate_validity && a.retry_max_attempts == b.retry_max_attempts &&
         a.attempt_timeout == b.attempt_timeout && a.packages == b.packages &&
         a.wants_certificate == b.wants_certificate;
}

std::vector<Package> packages_of(const std::optional<std::vector<Package>>& packages) {
  return packages.value_or(std::vector<Package>{});
}

// Of all problems, if they have one.
ErrorCode code_of(const std::vector<ApplyProblem>& problems) {
  const ErrorCode code = problems.front().code;
  const auto same_code = [&](const ApplyProblem& problem) { return problem.code == code; };
  return std::all_of(problems.begin(), problems.end(), same_code) ? code : ErrorCode::kInvalidArgument;
}

// One call of apply(): what it works on, and its report.
class Application {
 public:
  Application(Transaction& tx, const Executor& executor, const ApplyOptions& options, WallTime now, ApplyReport& report,
              const Preparation& prepared)
      : tx_(tx), executor_(executor), options_(options), now_(now), report_(report), prepared_(prepared) {}

  Result<void> apply(std::size_t document, const Account& account) {
    if (!once(document, "Account", account.name)) return {};
    TRY_ASSIGN(const std::optional<Account> old, tx_.find_account(account.name));
    if (options_.only_check) {
      accounts_to_come_.emplace(account.name, account);
    } else if (!old || !same(*old, account)) {
      TRY(tx_.put_account(account));
    }
    if (old && (old->broker_url != account.broker_url || old->credentials != account.credentials ||
                old->is_strict() != account.is_strict())) {
      TRY_ASSIGN(const std::vector<Profile> profiles, tx_.list_profiles());
      for (const Profile& profile : profiles) {
        if (profile.account == account.name) rendered_anew_.emplace(profile.name, document);
      }
    }
    done(document, "Account", account.name, !old ? "created" : same(*old, account) ? "unchanged" : "configured");
    return {};
  }

  Result<void> apply(std::size_t document, const Profile& profile) {
    if (!once(document, "Profile", profile.name)) return {};
    TRY_ASSIGN(const std::optional<Account> account, find_account(profile.account));
    if (!account) {
      problem(document, "spec.account",
              fmt::format("no account '{}': apply it first, or in the same files", profile.account));
      return {};
    }
    if (!check_files(document, profile.packages)) return {};
    TRY_ASSIGN(const std::optional<Profile> old, tx_.find_profile(profile.name));
    if (options_.only_check) {
      targets_.emplace(profile.name, Target{profile, *account});
    } else if (!old || !same(*old, profile)) {
      TRY(tx_.put_profile(profile));
    }
    if (old) drop_files(old->packages, profile.packages);
    if (old && (old->configuration != profile.configuration || old->account != profile.account ||
                old->packages != profile.packages)) {
      rendered_anew_.insert_or_assign(profile.name, document);
    }
    done(document, "Profile", profile.name, !old ? "created" : same(*old, profile) ? "unchanged" : "configured");
    return {};
  }

  Result<void> apply(std::size_t document, const RequestManifest& manifest) {
    if (!once(document, "ProvisionRequest", manifest.name)) return {};
    const std::size_t problems_before = report_.problems.size();
    TRY(check_profile(document, manifest));
    check_files(document, packages_of(manifest.packages));
    if (manifest.client_id == options_.provisioner_id) {
      problem(document, "spec.clientId", fmt::format("'{}' is the provisioner's own client id", manifest.client_id));
    }
    if (manifest.password && manifest.password->reveal().size() < kMinPassword && !options_.allow_weak) {
      problem(document, "spec.provisionUserPassword",
              fmt::format("shorter than {} characters: leave it out to have one generated, or apply with --allow-weak",
                          kMinPassword));
    }
    if (manifest.activation_key && manifest.activation_key->reveal().size() < kMinPassword && !options_.allow_weak) {
      problem(document, "spec.activationKey",
              fmt::format("shorter than {} characters: have one generated with generateActivationKey: true, or apply with "
                          "--allow-weak",
                          kMinPassword));
    }
    TRY_ASSIGN(const std::optional<ProvisionRequest> old, tx_.find_request_by_name(manifest.name));
    TRY_ASSIGN(const std::optional<ProvisionRequest> rival, tx_.find_request_by_client_id(manifest.client_id));
    if (rival && rival->name != manifest.name) {
      problem(document, "spec.clientId",
              fmt::format("request '{}' already has client id {}", rival->name, manifest.client_id));
    }
    if (report_.problems.size() != problems_before) return {};
    return old ? change(document, manifest, *old) : create(document, manifest);
  }

  // What a profile says now must fit the requests that there are, or their devices would be turned away. Judged when all
  // documents are in: the same apply may give requests what they lack.
  Result<void> check_existing_requests() {
    for (const auto& [profile, document] : rendered_anew_) TRY(check_requests_of(profile, document));
    return {};
  }

  // edc §1: one username, one password. Judged when all documents are in, since they may change a shared password
  // together.
  Result<void> check_usernames() {
    for (const auto& [username, document] : doubtful_usernames_) {
      TRY_ASSIGN(const std::vector<ProvisionRequest> requests, tx_.requests_with_username(username));
      for (const ProvisionRequest& request : requests) {
        if (request.username_verifier == requests.front().username_verifier) continue;
        refuse_username(document, requests.front().name, request.name);
        break;
      }
    }
    return {};
  }

 private:
  void problem(std::size_t document, std::string path, std::string why, ErrorCode code = ErrorCode::kInvalidArgument) {
    report_.problems.push_back({document, std::move(path), std::move(why), code});
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

  // False, and problems, if files of packages are not there.
  bool check_files(std::size_t document, const std::vector<Package>& packages) {
    bool all = true;
    for (std::size_t i = 0; options_.has_file && i < packages.size(); ++i) {
      if (packages[i].source == PackageSource::kUrl || options_.has_file(packages[i].sha256)) continue;
      problem(document, fmt::format("spec.packages[{}].file", i), "its content was not uploaded: apply it once more");
      all = false;
    }
    return all;
  }

  void drop_files(const std::vector<Package>& old, const std::vector<Package>& packages) {
    for (const Package& package : old) {
      const auto same_file = [&](const Package& one) { return one.sha256 == package.sha256; };
      if (package.source == PackageSource::kUrl || std::any_of(packages.begin(), packages.end(), same_file)) continue;
      report_.dropped_files.push_back(package.sha256);
    }
  }

  // A profile and its account, as a request needs them; looked up once for a whole fleet.
  struct Target {
    Profile profile;
    Account account;
  };

  Result<std::optional<Account>> find_account(const std::string& name) {
    if (const auto to_come = accounts_to_come_.find(name); to_come != accounts_to_come_.end()) return to_come->second;
    return tx_.find_account(name);
  }

  Result<const Target*> find_target(const std::string& profile_name) {
    if (const auto known = targets_.find(profile_name); known != targets_.end()) return &known->second;
    TRY_ASSIGN(std::optional<Profile> profile, tx_.find_profile(profile_name));
    if (!profile) return nullptr;
    TRY_ASSIGN(std::optional<Account> account, find_account(profile->account));
    if (!account)
      return fail(ErrorCode::kCorrupt, "profile {}: its account {} is gone", profile->name, profile->account);
    return &targets_.emplace(profile_name, Target{std::move(*profile), std::move(*account)}).first->second;
  }

  // A page at a time; of those that do not fit a few are named. What is completed is not rendered any more, and the
  // requests of this apply have been judged one by one.
  Result<void> check_requests_of(const std::string& profile, std::size_t document) {
    static constexpr std::size_t kNamed = 5;
    TRY_ASSIGN(const Target* const target, find_target(profile));
    if (target == nullptr) return {};
    RequestFilter page;
    page.profile = profile;
    std::vector<std::string> named;
    std::string why;
    std::size_t unfit = 0;
    while (true) {
      TRY_ASSIGN(const std::vector<ProvisionRequest> requests, tx_.list_requests(page));
      for (const ProvisionRequest& request : requests) {
        if (request.status == JobStatus::kCompleted || seen_.contains("ProvisionRequest/" + request.name)) continue;
        const auto rendered = executor_.check_renders(request, target->profile, target->account);
        if (rendered) continue;
        if (unfit++ == 0) why = rendered.error().message;
        if (named.size() < kNamed) named.push_back(request.name);
      }
      if (requests.size() < page.limit) break;
      page.after = requests.back().name;
    }
    if (unfit == 0) return {};
    problem(document, "spec",
            fmt::format("profile '{}' would no longer fit {} request{}: {}{} ({}): apply what they lack with it", profile,
                        unfit, unfit == 1 ? "" : "s", fmt::join(named, ", "), unfit > named.size() ? ", …" : "", why));
    return {};
  }

  Result<void> check_profile(std::size_t document, const RequestManifest& manifest) {
    TRY_ASSIGN(const Target* const target, find_target(manifest.profile));
    if (target == nullptr) {
      problem(document, "spec.profile",
              fmt::format("no profile '{}': apply it first, or in the same files", manifest.profile));
      return {};
    }
    ProvisionRequest probe = probe_of(manifest);
    if (auto rendered = check_renders(document, probe, *target); !rendered) {
      probe.secure_url = !probe.secure_url;
      const bool is_url = executor_.check_renders(probe, target->profile, target->account).has_value();
      problem(document, is_url ? "spec.provisionSecureURL" : "spec.profile",
              fmt::format("profile '{}' does not fit: {}", manifest.profile, rendered.error().message));
    }
    probe.tight = manifest.tight;
    if (auto fits = check_tight(probe, target->account); !fits) {
      problem(document, "spec.deviceCredentialsTight", std::move(fits).error().message);
    }
    return {};
  }

  Result<void> check_renders(std::size_t document, const ProvisionRequest& probe, const Target& target) {
    if (is_prepared(document, target)) return {};
    return executor_.check_renders(probe, target.profile, target.account);
  }

  // Whether it was found to render with what is still so.
  bool is_prepared(std::size_t document, const Target& target) {
    if (!prepared_.rendered.contains(document)) return false;
    const auto [known, is_new] = still_so_.try_emplace(target.profile.name, false);
    if (is_new) {
      const auto then = prepared_.targets.find(target.profile.name);
      known->second = then != prepared_.targets.end() && same(then->second.first, target.profile) &&
                      same(then->second.second, target.account);
    }
    return known->second;
  }

  Bytes verifier(std::string_view purpose, std::string_view owner, const Secret& secret) const {
    return crypto::secret_verifier(options_.verifier_key, purpose, owner, secret.reveal());
  }

  static void copy_wishes(const RequestManifest& manifest, ProvisionRequest& request) {
    request.profile = manifest.profile;
    request.labels = manifest.labels;
    request.params = manifest.params;
    request.activates_on = manifest.activates_on;
    request.expires_on = manifest.expires_on;
    request.retry_max_attempts = manifest.retry_max_attempts;
    request.configuration = manifest.configuration;
    request.packages = manifest.packages;
    request.secure_url = manifest.secure_url;
    request.tight = manifest.tight;
  }

  void set_password(ProvisionRequest& request, const Secret& password, std::size_t document) const {
    if (const auto known = prepared_.verifiers.find(document); known != prepared_.verifiers.end()) {
      request.connect_verifier = known->second.connect;
      request.username_verifier = known->second.username;
      return;
    }
    request.connect_verifier = verifier(kConnectPurpose, request.client_id, password);
    request.username_verifier = verifier(kUsernamePurpose, request.username, password);
  }

  // What the manifest wants becomes the request's key: another key is armed, the one that it has already stays as it is,
  // used or not. Returns the key if it was made up.
  std::optional<Secret> settle_activation_key(const RequestManifest& manifest, ProvisionRequest& request) const {
    std::optional<Secret> generated;
    std::optional<Bytes> wanted;
    if (manifest.activation_key) {
      wanted = verifier(kActivationKeyPurpose, request.client_id, *manifest.activation_key);
    } else if (manifest.generate_activation_key && request.activation_key_verifier) {
      wanted = request.activation_key_verifier;
    } else if (manifest.generate_activation_key) {
      generated = random_password();
      wanted = verifier(kActivationKeyPurpose, request.client_id, *generated);
    }
    if (wanted == request.activation_key_verifier) return generated;
    request.activation_key_verifier = std::move(wanted);
    request.activation_key_used = false;
    return generated;
  }

  Result<void> create(std::size_t document, const RequestManifest& manifest) {
    ProvisionRequest request;
    request.name = manifest.name;
    request.client_id = manifest.client_id;
    request.username = manifest.username;
    request.enabled = manifest.enabled.value_or(true);
    request.created_at = request.updated_at = now_;
    copy_wishes(manifest, request);

    GeneratedSecret secret{manifest.name, manifest.client_id, manifest.username, {}, {}};
    if (!manifest.password) secret.password = options_.only_check ? Secret() : random_password();
    TRY_ASSIGN(const std::optional<ProvisionRequest> namesake, tx_.find_request_by_username(request.username));
    // its verifiers are what a check spends most of its time on
    if (!options_.only_check || namesake) {
      set_password(request, manifest.password ? *manifest.password : *secret.password, document);
    }
    secret.activation_key = settle_activation_key(manifest, request);
    if (namesake && namesake->username_verifier != request.username_verifier) doubt_username(document, request, *namesake);

    if (!options_.only_check) {
      TRY(tx_.insert_request(request));
      TRY(add_line(request, "created"));
    }
    if (secret.password || secret.activation_key) report_.secrets.push_back(std::move(secret));
    done(document, "ProvisionRequest", request.name, "created");
    return {};
  }

  void check_unchangeable(std::size_t document, const RequestManifest& manifest, const ProvisionRequest& old) {
    if (manifest.overwrite_if_duplicate == false) {
      problem(document, "metadata.name",
              fmt::format("request '{}' exists already, and overwriteIfDuplicate is false: leave it out to edit the "
                          "request, set it to true to replace it",
                          old.name),
              ErrorCode::kAlreadyExists);
    }
    if (manifest.optlock && *manifest.optlock != old.optlock) {
      problem(document, "spec.optlock",
              fmt::format("request '{}' has been changed by someone else since you read it (optlock {}, now {}): get it "
                          "again, and make your change to that",
                          old.name, *manifest.optlock, old.optlock),
              ErrorCode::kConflict);
    }
    if (manifest.client_id != old.client_id) {
      problem(document, "spec.clientId",
              fmt::format("cannot change from {}: delete the request and apply it again", old.client_id));
    }
    if (manifest.username != old.username) {
      problem(document, "spec.provisionUserUsername",
              fmt::format("cannot change from {}: delete the request and apply it again", old.username));
    }
  }

  // edc §6: dates, status and retryMaxAttempts of an existing request are edited, the rest only with leave to overwrite,
  // and then not under a device that is on its way.
  Result<void> check_differences(std::size_t document, const RequestManifest& manifest, const ProvisionRequest& old,
                                 const std::vector<Difference>& differences) {
    std::vector<std::string_view> names;
    std::string_view path;
    bool content = false;
    for (const Difference& difference : differences) {
      if (difference.sort == Difference::Sort::kPermission) continue;
      if (names.empty()) path = difference.path;
      names.push_back(difference.name);
      content = content || difference.sort == Difference::Sort::kContent;
    }
    if (names.empty()) return {};
    if (!manifest.overwrite_if_duplicate.value_or(options_.overwrite)) {
      problem(document, std::string(path),
              fmt::format("request '{}' exists already and differs in {}; only activatesOn, expiresOn, status and "
                          "retryMaxAttempts of it are edited: apply with --overwrite, or with overwriteIfDuplicate: "
                          "true in this document, to replace it",
                          old.name, fmt::join(names, ", ")),
              ErrorCode::kAlreadyExists);
      return {};
    }
    if (!content) return {};
    TRY_ASSIGN(const std::optional<Attempt> attempt, tx_.latest_attempt(old.id));
    if (attempt && attempt->state == AttemptState::kOpen) {
      problem(document, "spec",
              "an attempt is in progress: permission and secrets can change meanwhile, the rest when it has ended");
    }
    return {};
  }

  Result<void> change(std::size_t document, const RequestManifest& manifest, const ProvisionRequest& old) {
    const std::size_t problems_before = report_.problems.size();
    check_unchangeable(document, manifest, old);
    if (report_.problems.size() != problems_before) return {};

    ProvisionRequest request = old;
    copy_wishes(manifest, request);
    if (manifest.password) set_password(request, *manifest.password, document);
    GeneratedSecret secret{manifest.name, manifest.client_id, manifest.username, {}, {}};
    secret.activation_key = settle_activation_key(manifest, request);
    const std::vector<Difference> differences = differences_of(old, request);
    TRY(check_differences(document, manifest, old, differences));
    if (report_.problems.size() != problems_before) return {};
    if (request.username_verifier != old.username_verifier) TRY(doubt_username(document, request));
    if (!differences.empty()) {
      request.updated_at = now_;
      if (!options_.only_check) {
        TRY(tx_.update_request(request));
        TRY(add_line(request, in_words(differences) + " changed"));
      }
      drop_files(packages_of(old.packages), packages_of(request.packages));
      if (secret.activation_key) report_.secrets.push_back(std::move(secret));
      // a live connection that would not be let in any more
      const bool closed =
          (request.expires_on && *request.expires_on <= now_) || (request.activates_on && *request.activates_on > now_);
      if (request.connect_verifier != old.connect_verifier || request.username_verifier != old.username_verifier ||
          request.activation_key_verifier != old.activation_key_verifier) {
        report_.outcome.forgiven.push_back(request.client_id);
      }
      if (closed || request.connect_verifier != old.connect_verifier) report_.outcome.kick.push_back(request.client_id);
    }
    TRY_ASSIGN(const bool switched, switch_status(manifest, old));
    done(document, "ProvisionRequest", request.name, differences.empty() && !switched ? "unchanged" : "configured");
    return {};
  }

  // Disabling does more than to set a flag: it ends what is in progress. A status that is not given stays as it is, so
  // that an apply does not let in again what an operator has shut out by hand.
  Result<bool> switch_status(const RequestManifest& manifest, const ProvisionRequest& old) {
    if (!manifest.enabled || *manifest.enabled == old.enabled) return false;
    if (options_.only_check) return true;
    TRY_ASSIGN(Outcome outcome, executor_.set_enabled(tx_, old.name, *manifest.enabled, options_.by, now_));
    std::move(outcome.send.begin(), outcome.send.end(), std::back_inserter(report_.outcome.send));
    std::move(outcome.kick.begin(), outcome.kick.end(), std::back_inserter(report_.outcome.kick));
    return true;
  }

  // Its password is not that of another one of its username: judged at the end, or, where nothing is written that could
  // be looked at then, now.
  void doubt_username(std::size_t document, const ProvisionRequest& request, const ProvisionRequest& namesake) {
    if (!options_.only_check) {
      doubtful_usernames_.emplace(request.username, document);
    } else {
      refuse_username(document, namesake.name, request.name);
    }
  }

  Result<void> doubt_username(std::size_t document, const ProvisionRequest& request) {
    TRY_ASSIGN(const std::vector<ProvisionRequest> namesakes, tx_.requests_with_username(request.username));
    for (const ProvisionRequest& other : namesakes) {
      if (other.id == request.id || other.username_verifier == request.username_verifier) continue;
      doubt_username(document, request, other);
      break;
    }
    return {};
  }

  void refuse_username(std::size_t document, const std::string& one, const std::string& other) {
    problem(document, "spec.provisionUserUsername",
            fmt::format("requests '{}' and '{}' would use this username with different passwords: give both the same "
                        "provisionUserPassword, or another username",
                        one, other));
  }

  Result<void> add_line(const ProvisionRequest& request, const std::string& what) {
    return tx_.add_timeline({request.id, std::nullopt, now_, "operator", fmt::format("{} by {}", what, options_.by)});
  }

  Transaction& tx_;
  const Executor& executor_;
  const ApplyOptions& options_;
  WallTime now_;
  ApplyReport& report_;
  const Preparation& prepared_;
  std::map<std::string, bool> still_so_;  // profiles, and whether they are as in prepared_
  std::map<std::string, std::size_t> seen_;
  std::map<std::string, Target> targets_;
  std::map<std::string, Account> accounts_to_come_;  // only_check: what is in no store yet
  std::map<std::string, std::size_t> rendered_anew_;  // profiles, and the document that changes what they give
  std::map<std::string, std::size_t> doubtful_usernames_;  // and the document that makes them so
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
                   const ApplyOptions& options, WallTime now, ApplyReport& report, const Preparation& prepared) {
  report = {};
  Application application(tx, executor, options, now, report, prepared);
  TRY(apply_kind<Account>(application, manifests));
  TRY(apply_kind<Profile>(application, manifests));
  TRY(apply_kind<RequestManifest>(application, manifests));
  const auto is_request = [](const NumberedManifest& one) { return std::holds_alternative<RequestManifest>(one.manifest); };
  if (!options.only_check || std::none_of(manifests.begin(), manifests.end(), is_request)) {
    TRY(application.check_existing_requests());
  }
  TRY(application.check_usernames());
  if (!report.problems.empty()) {
    report.applied.clear();
    report.secrets.clear();
    report.outcome = {};
    report.dropped_files.clear();
    return fail(code_of(report.problems), "{} problems; nothing was applied", report.problems.size());
  }
  return {};
}

}  // namespace fleet::provisioner
