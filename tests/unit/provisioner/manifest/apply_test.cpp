#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "provisioner/manifest/export.hpp"
#include "tests/unit/provisioner/manifest/platform.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

// One document after the other.
template <typename... Documents>
std::string all(const Documents&... documents) {
  std::string yaml;
  ((yaml += kNextDocument + documents), ...);
  return yaml;
}

std::vector<std::string> changes(const ApplyReport& report) {
  std::vector<std::string> texts;
  for (const Applied& applied : report.applied)
    texts.push_back(applied.kind + " " + applied.name + " " + applied.change);
  return texts;
}

std::string only_problem(const ApplyReport& report) {
  REQUIRE(report.problems.size() == 1);
  return fmt::format("{} {}: {}", report.problems[0].document, report.problems[0].path, report.problems[0].why);
}

struct Fleet : Platform {
  Fleet() { REQUIRE(apply(all(account_yaml(), profile_yaml())).problems.empty()); }
};

const std::string kPassword = "  provisionUserPassword: correct-horse-battery\n";
// Leave to replace, from the document itself.
const std::string kOverwrite = "  overwriteIfDuplicate: true\n";

}  // namespace

TEST_CASE("documents may come in any order") {
  Platform platform;
  const ApplyReport report = platform.apply(all(request_yaml("gw", "C1"), profile_yaml(), account_yaml()));
  CHECK(changes(report) ==
        std::vector<std::string>{"Account acme created", "Profile gateway created", "ProvisionRequest gw created"});
  CHECK(report.applied[2].document == 0);
  const ProvisionRequest request = platform.request("gw");
  CHECK(request.client_id == "C1");
  CHECK(request.enabled);
  CHECK(request.status == JobStatus::kCreated);
  CHECK(request.created_at == platform.now);
}

TEST_CASE("a generated password is told once, and opens the request") {
  Fleet fleet;
  const ApplyReport report = fleet.apply(request_yaml("gw", "C1"));
  REQUIRE(report.secrets.size() == 1);
  CHECK(report.secrets[0].name == "gw");
  CHECK(report.secrets[0].client_id == "C1");
  CHECK(report.secrets[0].username == "C1-SN1");
  REQUIRE(report.secrets[0].password.has_value());
  const std::string_view password = report.secrets[0].password->reveal();
  CHECK(password.size() == 32);
  const ProvisionRequest request = fleet.request("gw");
  CHECK(request.connect_verifier == crypto::secret_verifier(Platform::kVerifierKey, kConnectPurpose, "C1", password));
  CHECK(request.username_verifier ==
        crypto::secret_verifier(Platform::kVerifierKey, kUsernamePurpose, "C1-SN1", password));
  CHECK_FALSE(request.activation_key_verifier.has_value());
}

TEST_CASE("a password that is given is not told back") {
  Fleet fleet;
  CHECK(fleet.apply(request_yaml("gw", "C1", kPassword)).secrets.empty());
  CHECK(fleet.request("gw").connect_verifier ==
        crypto::secret_verifier(Platform::kVerifierKey, kConnectPurpose, "C1", "correct-horse-battery"));
}

TEST_CASE("applying the same again changes nothing and generates nothing") {
  Platform platform;
  const std::string yaml =
      all(account_yaml(), profile_yaml(), request_yaml("gw", "C1", "  generateActivationKey: true\n"));
  CHECK(platform.apply(yaml).secrets.size() == 1);
  const ProvisionRequest before = platform.request("gw");
  const ApplyReport report = platform.apply(yaml);
  CHECK(changes(report) == std::vector<std::string>{"Account acme unchanged", "Profile gateway unchanged",
                                                    "ProvisionRequest gw unchanged"});
  CHECK(report.secrets.empty());
  CHECK(platform.request("gw").optlock == before.optlock);
  CHECK(platform.request("gw").connect_verifier == before.connect_verifier);
  CHECK(platform.request("gw").activation_key_verifier == before.activation_key_verifier);
  CHECK(platform.timeline("gw").size() == 1);
}

TEST_CASE("an activation key is generated, bound to the client id, and taken away again") {
  Fleet fleet;
  const ApplyReport created = fleet.apply(request_yaml("gw", "C1", kPassword + "  generateActivationKey: true\n"));
  REQUIRE(created.secrets.size() == 1);
  CHECK_FALSE(created.secrets[0].password.has_value());
  REQUIRE(created.secrets[0].activation_key.has_value());
  CHECK(created.secrets[0].activation_key->reveal().size() == 32);
  CHECK(fleet.request("gw").activation_key_verifier ==
        crypto::secret_verifier(Platform::kVerifierKey, kActivationKeyPurpose, "C1",
                                created.secrets[0].activation_key->reveal()));
  CHECK(changes(fleet.apply(request_yaml("gw", "C1", kPassword + kOverwrite))) ==
        std::vector<std::string>{"ProvisionRequest gw configured"});
  CHECK_FALSE(fleet.request("gw").activation_key_verifier.has_value());
}

TEST_CASE("an activation key that is given is kept as its verifier only, and never told") {
  Fleet fleet;
  const std::string key = "a-key-off-the-label-4711";
  CHECK(fleet.apply(request_yaml("gw", "C1", kPassword + "  activationKey: " + key + "\n")).secrets.empty());
  const ProvisionRequest request = fleet.request("gw");
  CHECK(request.activation_key_verifier ==
        crypto::secret_verifier(Platform::kVerifierKey, kActivationKeyPurpose, "C1", key));
  CHECK(config::to_json(to_manifest(request, Secrets::kShown)).find(key) == std::string::npos);
  for (const auto& line : fleet.timeline("gw")) CHECK(line.text.find(key) == std::string::npos);
  fleet.store.reset();
  for (const char* const file : {"provisioner.db", "admission.db"}) {
    CHECK(read_file(fleet.folder / file, 64 * 1024 * 1024)->find(key) == std::string::npos);
  }
}

TEST_CASE("a given activation key that has been used stays used until another is given") {
  Fleet fleet;
  const auto with = [](const std::string& key) {
    return request_yaml("gw", "C1", kPassword + "  activationKey: " + key + "\n");
  };
  fleet.apply(with("the-first-of-the-keys"));
  ProvisionRequest used = fleet.request("gw");
  used.activation_key_used = true;
  fleet.run([&](Transaction& tx) { return tx.update_request(used); });

  const ApplyReport again = fleet.apply(with("the-first-of-the-keys"));
  CHECK(changes(again) == std::vector<std::string>{"ProvisionRequest gw unchanged"});
  CHECK(fleet.request("gw").activation_key_used);
  CHECK(fleet.request("gw").optlock == used.optlock);
  // what comes out of the service goes in again as it is
  CHECK(changes(fleet.apply(request_yaml("gw", "C1", kPassword + "  generateActivationKey: true\n"))) ==
        std::vector<std::string>{"ProvisionRequest gw unchanged"});
  CHECK(fleet.request("gw").activation_key_used);

  const ApplyReport other = fleet.apply(with("the-second-of-the-keys") + kOverwrite);
  CHECK(changes(other) == std::vector<std::string>{"ProvisionRequest gw configured"});
  CHECK(other.outcome.forgiven == std::vector<std::string>{"C1"});
  CHECK_FALSE(fleet.request("gw").activation_key_used);
  CHECK(fleet.timeline("gw").back().text == "activation key changed by uid 1000 (olga)");
}

TEST_CASE("a weak activation key needs to be allowed") {
  Fleet fleet;
  const std::string yaml = request_yaml("gw", "C1", "  activationKey: fifteen-letters\n");
  CHECK(only_problem(fleet.apply(yaml)).starts_with("0 spec.activationKey: shorter than 16 characters"));
  ApplyOptions options = Platform::kOperator;
  options.allow_weak = true;
  CHECK(fleet.apply(yaml, options).problems.empty());
  CHECK(fleet.apply(request_yaml("gw2", "C2", "  activationKey: sixteen-letters!\n")).problems.empty());
}

TEST_CASE("who created and who changed a request is in its timeline") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1", kPassword));
  fleet.apply(request_yaml("gw", "C1", kPassword + "  expiresOn: 2099-01-01\n  retryMaxAttempts: 9\n"));
  const auto lines = fleet.timeline("gw");
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].kind == "operator");
  CHECK(lines[0].text == "created by uid 1000 (olga)");
  CHECK(lines[1].text == "expiresOn, retryMaxAttempts changed by uid 1000 (olga)");
  CHECK(fleet.request("gw").retry_max_attempts == 9);
}

TEST_CASE("an unknown account or profile is a problem of the document that names it") {
  Platform platform;
  CHECK(only_problem(platform.apply(profile_yaml())) ==
        "0 spec.account: no account 'acme': apply it first, or in the same files");
  CHECK(only_problem(platform.apply(all(account_yaml(), request_yaml("gw", "C1")))) ==
        "1 spec.profile: no profile 'gateway': apply it first, or in the same files");
}

TEST_CASE("one problem keeps everything from being applied, and all problems are told") {
  Platform platform;
  const ApplyReport report =
      platform.apply(all(account_yaml(), profile_yaml(), request_yaml("good", "C1"), request_yaml("own", "provisioner"),
                         request_yaml("weak", "C2", "  provisionUserPassword: short\n")));
  REQUIRE(report.problems.size() == 2);
  CHECK(report.problems[0].document == 3);
  CHECK(report.problems[0].why == "'provisioner' is the provisioner's own client id");
  CHECK(report.problems[1].document == 4);
  CHECK(report.problems[1].path == "spec.provisionUserPassword");
  CHECK(report.applied.empty());
  CHECK(report.secrets.empty());
  CHECK_FALSE(platform.has_request("good"));
}

TEST_CASE("a weak password needs to be allowed") {
  Fleet fleet;
  const std::string yaml = request_yaml("gw", "C1", "  provisionUserPassword: fifteen-letters\n");
  CHECK(only_problem(fleet.apply(yaml)).starts_with("0 spec.provisionUserPassword: shorter than 16 characters"));
  ApplyOptions options = Platform::kOperator;
  options.allow_weak = true;
  CHECK(fleet.apply(yaml, options).problems.empty());
  CHECK(fleet.apply(request_yaml("gw2", "C2", "  provisionUserPassword: sixteen-letters!\n")).problems.empty());
}

TEST_CASE("two requests cannot have one client id") {
  Fleet fleet;
  fleet.apply(request_yaml("first", "C1"));
  CHECK(only_problem(fleet.apply(request_yaml("second", "C1"))) ==
        "0 spec.clientId: request 'first' already has client id C1");
  CHECK(only_problem(fleet.apply(all(request_yaml("third", "C3"), request_yaml("fourth", "C3")))) ==
        "1 spec.clientId: request 'third' already has client id C3");
}

TEST_CASE("one name is given once in an apply") {
  Fleet fleet;
  CHECK(only_problem(fleet.apply(all(request_yaml("gw", "C1"), request_yaml("gw", "C2")))) ==
        "1 metadata.name: a second ProvisionRequest 'gw' among the applied documents");
}

TEST_CASE("client id and username of a request stay") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1"));
  const ApplyReport report = fleet.apply(request_yaml("gw", "C2"));
  REQUIRE(report.problems.size() == 2);
  CHECK(report.problems[0].path == "spec.clientId");
  CHECK(report.problems[0].why == "cannot change from C1: delete the request and apply it again");
  CHECK(report.problems[1].path == "spec.provisionUserUsername");
}

TEST_CASE("an existing request is an error if overwriteIfDuplicate is false, also for who may overwrite") {
  Fleet fleet;
  const std::string yaml = request_yaml("gw", "C1", "  overwriteIfDuplicate: false\n");
  CHECK(fleet.apply(yaml).problems.empty());
  ApplyOptions options = Platform::kOperator;
  for (const bool overwrite : {false, true}) {
    options.overwrite = overwrite;
    const ApplyReport report = fleet.apply(yaml, options);
    CHECK(only_problem(report).starts_with("0 metadata.name: request 'gw' exists already"));
    CHECK(report.problems[0].code == ErrorCode::kAlreadyExists);
  }
}

TEST_CASE("of an existing request dates, status and retryMaxAttempts are edited, and nothing else") {
  Fleet fleet;
  const std::string made = "  params: {a: b}\n  generateActivationKey: true\n";
  fleet.apply(request_yaml("gw", "C1", kPassword + made));
  const ProvisionRequest before = fleet.request("gw");
  CHECK(changes(fleet.apply(request_yaml("gw", "C1", made + "  activatesOn: 2020-01-01\n  expiresOn: 2099-01-01\n"
                                                              "  retryMaxAttempts: 9\n  status: DISABLED\n"))) ==
        std::vector<std::string>{"ProvisionRequest gw configured"});
  ProvisionRequest edited = fleet.request("gw");
  CHECK(edited.activates_on.has_value());
  CHECK(edited.expires_on.has_value());
  CHECK(edited.retry_max_attempts == 9);
  CHECK_FALSE(edited.enabled);
  CHECK(edited.connect_verifier == before.connect_verifier);

  const auto refused = [&](const std::string& yaml, const std::string& where, const std::string& what) {
    const ApplyReport report = fleet.apply(yaml);
    CHECK(only_problem(report) ==
          "0 " + where + ": request 'gw' exists already and differs in " + what +
              "; only activatesOn, expiresOn, status and retryMaxAttempts of it are edited: apply with --overwrite, or "
              "with overwriteIfDuplicate: true in this document, to replace it");
    CHECK(report.problems[0].code == ErrorCode::kAlreadyExists);
    CHECK(fleet.request("gw").optlock == edited.optlock);
  };
  std::string relabelled = request_yaml("gw", "C1", made);
  relabelled.replace(relabelled.find("north"), 5, "south");
  refused(relabelled, "metadata.labels", "labels");
  refused(request_yaml("gw", "C1", "  generateActivationKey: true\n"), "spec.params", "params");
  refused(request_yaml("gw", "C1", made + "  configuration: {org.example.A: {b: c}}\n"), "spec.configuration", "configuration");
  refused(request_yaml("gw", "C1", made + "  packages: []\n"), "spec.packages", "packages");
  refused(request_yaml("gw", "C1", made + "  provisionUserPassword: another-long-password\n"),
          "spec.provisionUserPassword", "password");
  refused(request_yaml("gw", "C1", "  params: {a: b}\n"), "spec.activationKey", "activation key");
  REQUIRE(fleet.apply("apiVersion: provisioner/v1\nkind: Profile\nmetadata: {name: other}\nspec: {account: acme}\n")
              .problems.empty());
  std::string moved = relabelled;
  moved.replace(moved.find("profile: gateway"), 16, "profile: other");
  refused(moved, "spec.profile", "profile, labels");
}

TEST_CASE("an existing request is replaced with leave of its document or of the operator") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1", kPassword));
  CHECK(changes(fleet.apply(request_yaml("gw", "C1", kOverwrite + "  params: {a: b}\n"))) ==
        std::vector<std::string>{"ProvisionRequest gw configured"});
  CHECK(fleet.timeline("gw").back().text == "params changed by uid 1000 (olga)");
  ApplyOptions options = Platform::kOperator;
  options.overwrite = true;
  CHECK(changes(fleet.apply(request_yaml("gw", "C1", "  params: {a: c}\n"), options)) ==
        std::vector<std::string>{"ProvisionRequest gw configured"});
  CHECK(fleet.request("gw").params.at("a") == "c");
  // leave to replace is none to be somebody else
  CHECK(fleet.apply(request_yaml("gw", "C2"), options).problems.size() == 2);
}

TEST_CASE("a request that has changed since it was read is not written over") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1", "  optlock: 7\n"));  // a new one has nothing to lose
  CHECK(fleet.request("gw").optlock == 1);
  const auto with = [](int optlock, const std::string& spec) {
    return request_yaml("gw", "C1", fmt::format("  optlock: {}\n{}", optlock, spec));
  };
  CHECK(fleet.apply(with(1, "  retryMaxAttempts: 9\n")).problems.empty());
  const std::int64_t now = fleet.request("gw").optlock;
  REQUIRE(now == 2);
  for (const std::string& spec : {std::string("  retryMaxAttempts: 8\n"), std::string("  retryMaxAttempts: 9\n"), kOverwrite}) {
    const ApplyReport report = fleet.apply(with(1, spec));
    CHECK(only_problem(report) ==
          "0 spec.optlock: request 'gw' has been changed by someone else since you read it (optlock 1, now 2): get it "
          "again, and make your change to that");
    CHECK(report.problems[0].code == ErrorCode::kConflict);
  }
  CHECK(fleet.request("gw").retry_max_attempts == 9);
  CHECK(fleet.apply(with(2, "  retryMaxAttempts: 8\n")).problems.empty());
}

TEST_CASE("a request whose configuration does not render is refused with what it lacks") {
  Fleet fleet;
  std::string yaml = request_yaml("gw", "C1");
  yaml.replace(yaml.find("{site: north}"), 13, "{rack: n1}");
  const std::string problem = only_problem(fleet.apply(yaml));
  CHECK(problem.starts_with("0 spec.profile: profile 'gateway' does not fit: "));
  CHECK(problem.find("site") != std::string::npos);
}

TEST_CASE("a username is shared only with its password") {
  Fleet fleet;
  const auto shared = [](const std::string& name, const std::string& client_id, const std::string& password) {
    return "apiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: " + name +
           ", labels: {site: n}}\nspec: {profile: gateway, clientId: " + client_id + ", provisionUserUsername: shared" +
           (password.empty() ? "" : ", provisionUserPassword: " + password) + "}\n";
  };
  const std::string one = "first-password-of-all", two = "second-password-of-all";
  ApplyOptions overwrite = Platform::kOperator;
  overwrite.overwrite = true;
  CHECK(fleet.apply(all(shared("a", "A", one), shared("b", "B", one))).problems.empty());

  SUBCASE("a new request with another password is refused") {
    const std::string problem = only_problem(fleet.apply(shared("c", "C", two)));
    CHECK(problem.starts_with(
        "0 spec.provisionUserUsername: requests 'a' and 'c' would use this username with different passwords"));
  }
  SUBCASE("a new request with a generated password is refused") {
    CHECK(fleet.apply(shared("c", "C", "")).problems.size() == 1);
    CHECK_FALSE(fleet.has_request("c"));
  }
  SUBCASE("one of them alone cannot change it") {
    CHECK(only_problem(fleet.apply(shared("a", "A", two), overwrite)).starts_with("0 spec.provisionUserUsername: "));
    CHECK(only_problem(fleet.apply(shared("b", "B", two), overwrite)).starts_with("0 spec.provisionUserUsername: "));
  }
  SUBCASE("together they can, and a third may join them") {
    CHECK(fleet.apply(all(shared("c", "C", two), shared("a", "A", two), shared("b", "B", two)), overwrite).problems.empty());
    CHECK(fleet.request("a").username_verifier == fleet.request("c").username_verifier);
  }
}

TEST_CASE("a new password replaces the old one and ends a live connection") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1", kPassword));
  const ApplyReport report = fleet.apply(request_yaml("gw", "C1", "  provisionUserPassword: another-long-password\n" + kOverwrite));
  CHECK(changes(report) == std::vector<std::string>{"ProvisionRequest gw configured"});
  CHECK(report.outcome.kick == std::vector<std::string>{"C1"});
  CHECK(fleet.request("gw").connect_verifier ==
        crypto::secret_verifier(Platform::kVerifierKey, kConnectPurpose, "C1", "another-long-password"));
}

TEST_CASE("disabling by apply ends the attempt and the connection, as the command does") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1"));
  fleet.open_attempt("gw");
  const ApplyReport report = fleet.apply(request_yaml("gw", "C1", "  status: DISABLED\n"));
  CHECK(changes(report) == std::vector<std::string>{"ProvisionRequest gw configured"});
  CHECK(report.outcome.kick == std::vector<std::string>{"C1"});
  CHECK_FALSE(fleet.request("gw").enabled);
  CHECK(fleet.request("gw").status == JobStatus::kStopped);
  CHECK(fleet.timeline("gw").back().text == "disabled by uid 1000 (olga)");
}

TEST_CASE("an apply that does not speak of the status leaves a disabled request disabled") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1", "  status: DISABLED\n"));
  CHECK_FALSE(fleet.request("gw").enabled);
  CHECK(changes(fleet.apply(request_yaml("gw", "C1"))) == std::vector<std::string>{"ProvisionRequest gw unchanged"});
  CHECK_FALSE(fleet.request("gw").enabled);
  fleet.apply(request_yaml("gw", "C1", "  status: ENABLED\n"));
  CHECK(fleet.request("gw").enabled);
}

TEST_CASE("a window that has closed ends a live connection") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1"));
  CHECK(fleet.apply(request_yaml("gw", "C1", "  expiresOn: 2099-01-01\n")).outcome.kick.empty());
  CHECK(fleet.apply(request_yaml("gw", "C1", "  expiresOn: 2020-01-01\n")).outcome.kick ==
        std::vector<std::string>{"C1"});
}

TEST_CASE("while an attempt is in progress its permission may change but not its content") {
  Fleet fleet;
  fleet.apply(request_yaml("gw", "C1"));
  fleet.open_attempt("gw");
  CHECK(only_problem(fleet.apply(request_yaml("gw", "C1", "  params: {a: b}\n" + kOverwrite)))
            .starts_with("0 spec: an attempt is in progress"));
  CHECK(changes(fleet.apply(request_yaml("gw", "C1", "  retryMaxAttempts: 2\n"))) ==
        std::vector<std::string>{"ProvisionRequest gw configured"});
}

TEST_CASE("an account or profile that changes is configured") {
  Platform platform;
  platform.apply(all(account_yaml(), profile_yaml()));
  CHECK(changes(platform.apply(account_yaml("mqtts://elsewhere"))) ==
        std::vector<std::string>{"Account acme configured"});
  CHECK(changes(platform.apply(profile_yaml("  attemptTimeout: 60s\n"))) ==
        std::vector<std::string>{"Profile gateway configured"});
}

namespace {

// account_yaml() with passwords and that URL.
std::string password_account_yaml(const std::string& url, const std::string& tight = "INHERITED") {
  std::string yaml = account_yaml(url);
  const std::string x509 = "  credentials: x509\n";
  return yaml.replace(yaml.find(x509), x509.size(),
                      "  credentials: password\n  deviceCredentialsTight: " + tight + "\n  connector: {plugin: /o.db}\n");
}

}  // namespace

TEST_CASE("provisionSecureURL and deviceCredentialsTight fit the account, or are refused where they stand") {
  Platform platform;
  const std::string plain = "  provisionSecureURL: false\n", loose = "  deviceCredentialsTight: LOOSE\n";
  REQUIRE(platform.apply(all(account_yaml(), profile_yaml())).problems.empty());
  CHECK(only_problem(platform.apply(request_yaml("gw", "C1", plain)))
            .starts_with("0 spec.provisionSecureURL: profile 'gateway' does not fit: "));
  CHECK(only_problem(platform.apply(request_yaml("gw", "C1", loose)))
            .starts_with("0 spec.deviceCredentialsTight: deviceCredentialsTight is for accounts with"));

  REQUIRE(platform.apply(password_account_yaml("mqtt://broker.example")).problems.empty());
  CHECK(only_problem(platform.apply(request_yaml("gw", "C1")))
            .starts_with("0 spec.provisionSecureURL: profile 'gateway' does not fit: "));
  CHECK(only_problem(platform.apply(request_yaml("gw", "C1", plain + loose)))
            .starts_with("0 spec.deviceCredentialsTight: deviceCredentialsTight is LOOSE, but account acme is STRICT"));
  REQUIRE(platform.apply(request_yaml("gw", "C1", plain + "  deviceCredentialsTight: STRICT\n")).problems.empty());
  CHECK_FALSE(platform.request("gw").secure_url);
  CHECK(platform.request("gw").tight == CredentialsTight::kStrict);

  // an account does not change under requests that count on it
  CHECK(only_problem(platform.apply(password_account_yaml("mqtts://broker.example"))).find("no longer fit 1 request: gw") !=
        std::string::npos);
  CHECK(only_problem(platform.apply(password_account_yaml("mqtt://broker.example", "LOOSE"))).find("no longer fit") !=
        std::string::npos);
  CHECK(changes(platform.apply(password_account_yaml("mqtt://broker.example", "STRICT"))) ==
        std::vector<std::string>{"Account acme configured"});
  // content is not edited without leave
  CHECK(only_problem(platform.apply(request_yaml("gw", "C1", plain)))
            .starts_with("0 spec.deviceCredentialsTight: request 'gw' exists already and differs in deviceCredentialsTight;"));
  CHECK(only_problem(platform.apply(all(password_account_yaml("mqtts://broker.example"), request_yaml("gw", "C1"))))
            .starts_with("1 spec.provisionSecureURL: request 'gw' exists already and differs in provisionSecureURL, "));
  CHECK(platform.apply(all(password_account_yaml("mqtts://broker.example"), request_yaml("gw", "C1", kOverwrite))).problems.empty());
  CHECK(platform.request("gw").secure_url);
}

TEST_CASE("a fleet of two thousand is applied at once") {
  Fleet fleet;
  std::string yaml;
  for (int i = 0; i < 2000; ++i)
    yaml += kNextDocument + request_yaml("gw-" + std::to_string(i), "C" + std::to_string(i));
  const ApplyReport report = fleet.apply(yaml);
  CHECK(report.applied.size() == 2000);
  CHECK(report.secrets.size() == 2000);
  CHECK(fleet.has_request("gw-1999"));
}

TEST_CASE("a profile that would no longer fit requests that are waiting is refused, naming the first of them") {
  Fleet fleet;
  std::string requests;
  for (int i = 0; i < 8; ++i) requests += kNextDocument + request_yaml(fmt::format("gw-{}", i), fmt::format("C{}", i));
  REQUIRE(fleet.apply(requests).problems.empty());
  // no device needs it any more
  ProvisionRequest done = fleet.request("gw-0");
  done.status = JobStatus::kCompleted;
  fleet.run([&](Transaction& tx) { return tx.update_request(done); });
  const std::string wants_room = profile_yaml("    org.example.Room: {room: \"${params.room}\"}\n");
  const std::string problem = only_problem(fleet.apply(wants_room));
  CHECK(problem.starts_with("0 spec: profile 'gateway' would no longer fit 7 requests: gw-1, gw-2, gw-3, gw-4, gw-5, … "));
  CHECK(problem.find("parameter \"room\"") != std::string::npos);

  // one that is given what it lacks in the same apply is not among them
  const std::string room = kOverwrite + "  params: {room: a}\n";
  CHECK(only_problem(fleet.apply(all(wants_room, request_yaml("gw-1", "C1", room)))).find("fit 6 requests: gw-2") !=
        std::string::npos);
  std::string rooms = wants_room;
  for (int i = 1; i < 8; ++i) {
    rooms += kNextDocument + request_yaml(fmt::format("gw-{}", i), fmt::format("C{}", i), room);
  }
  CHECK(fleet.apply(rooms).problems.empty());
}

TEST_CASE("a profile that asks for less, or is only given more time, and a new address of the broker are taken as ever") {
  Fleet fleet;
  REQUIRE(fleet.apply(request_yaml("gw", "C1")).problems.empty());
  CHECK(changes(fleet.apply(profile_yaml("  attemptTimeout: 10m\n"))) ==
        std::vector<std::string>{"Profile gateway configured"});
  CHECK(fleet.apply(account_yaml("mqtts://elsewhere.example:8883")).problems.empty());
}

TEST_CASE("what was prepared saves no look at a profile that has changed meanwhile") {
  Platform platform;
  platform.apply(account_yaml() + kNextDocument + profile_yaml());
  const auto manifests = decode(request_yaml("gw", "C1", "  provisionUserPassword: correct-horse-battery\n"));
  Preparation prepared;
  platform.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(prepared, prepare(tx, platform.executor, manifests, Platform::kVerifierKey));
    return {};
  });
  CHECK(prepared.rendered.size() == 1);
  CHECK(prepared.verifiers.size() == 1);
  platform.apply(profile_yaml("    org.example.Rack: {rack: \"${params.rack}\"}\n"));
  ApplyReport report;
  CHECK_FALSE(platform.store->run([&](Transaction& tx) {
    return apply(tx, platform.executor, manifests, Platform::kOperator, wall_now(), report, prepared);
  }));
  REQUIRE(report.problems.size() == 1);
  CHECK(report.problems[0].path == "spec.profile");
}

TEST_CASE("a check finds what an apply would do and writes nothing") {
  Platform platform;
  platform.apply(account_yaml() + kNextDocument + profile_yaml() + kNextDocument + request_yaml("old", "C1"));
  ApplyOptions only_check = Platform::kOperator;
  only_check.only_check = true;
  ApplyReport report;
  CHECK(platform.store->run([&](Transaction& tx) {
    return apply(tx, platform.executor, decode(request_yaml("old", "C1") + kNextDocument + request_yaml("new", "C2")), only_check,
                 wall_now(), report);
  }));
  REQUIRE(report.applied.size() == 2);
  CHECK(report.applied[0].change == "unchanged");
  CHECK(report.applied[1].change == "created");
  CHECK(report.secrets.size() == 1);
  CHECK_FALSE(platform.has_request("new"));
  CHECK_FALSE(platform.store->run([&](Transaction& tx) {
    return apply(tx, platform.executor, decode(request_yaml("new", "C1")), only_check, wall_now(), report);
  }));
  CHECK(report.problems.at(0).path == "spec.clientId");
}
