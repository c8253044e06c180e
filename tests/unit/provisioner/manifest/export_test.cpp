// Manifests that the service writes, through YAML and back.
#include "provisioner/manifest/export.hpp"

#include <doctest/doctest.h>

#include "tests/unit/provisioner/manifest/platform.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

template <typename T>
T only(const std::string& yaml) {
  auto manifests = decode(yaml);
  REQUIRE(manifests.size() == 1);
  REQUIRE(std::holds_alternative<T>(manifests.front().manifest));
  return std::get<T>(std::move(manifests.front().manifest));
}

// A profile with every type of property, in every form an operator may have written.
std::string profile_of_everything() {
  return R"(apiVersion: provisioner/v1
kind: Profile
metadata: {name: everything}
spec:
  account: acme
  retryMaxAttempts: -1
  attemptTimeout: 90s
  certificate: {validity: 36h}
  configuration:
    org.example.Empty: {}
    org.example.All:
      string: a word
      quoted-number: "30"
      quoted-bool: "true"
      empty: ""
      lines: "first\nsecond\n"
      template: "${labels.site}/${clientId}"
      odd: "a: b # c"
      bool: true
      integer: -7
      long: 3000000000
      double: 1.0
      exponent: 1e5
      list: [voltage, current]
      numbers: [1, 2]
      empty-list: []
      forced-string: {type: String, value: 12}
      float: {type: Float, value: 1.5}
      byte: {type: Byte, value: 12}
      short: {type: Short, value: 12}
      char: {type: Char, value: x}
      templated-integer: {type: Integer, value: "${params.port}"}
      password: {type: Password, value: hunter2}
      passwords: {type: Password, value: [one, two]}
)";
}

}  // namespace

TEST_CASE("an account comes back from its manifest as it is") {
  const Account account = only<Account>(account_yaml());
  const Account back = only<Account>(config::to_yaml(to_manifest(account)));
  CHECK(back.name == account.name);
  CHECK(back.broker_url == account.broker_url);
  CHECK(back.ca_pem == account.ca_pem);
  CHECK(back.tight == CredentialsTight::kInherited);
}

TEST_CASE("a profile comes back from its manifest as it is, with every type of property") {
  const Profile profile = only<Profile>(profile_of_everything());
  const std::string yaml = config::to_yaml(to_manifest(profile, Secrets::kShown));
  CAPTURE(yaml);
  const Profile back = only<Profile>(yaml);
  CHECK(back.name == profile.name);
  CHECK(back.account == profile.account);
  CHECK(back.configuration == profile.configuration);
  CHECK(back.certificate_validity == profile.certificate_validity);
  CHECK(back.retry_max_attempts == -1);
  CHECK(back.attempt_timeout == Millis(90'000));
  // for people: what an operator wrote without saying its type is written so again
  CHECK(yaml.find("      integer: -7\n") != std::string::npos);
  CHECK(yaml.find("      double: 1.0\n") != std::string::npos);
  CHECK(yaml.find("      string: a word\n") != std::string::npos);
}

TEST_CASE("manifests go through the JSON of the admin socket unharmed") {
  const Profile profile = only<Profile>(profile_of_everything());
  auto node = config::parse_json(config::to_json(to_manifest(profile, Secrets::kShown)));
  REQUIRE(node);
  CHECK(only<Profile>(config::to_yaml(*node)).configuration == profile.configuration);
}

TEST_CASE("hidden secrets are not written, and what lacks them is refused") {
  const Profile profile = only<Profile>(profile_of_everything());
  const std::string yaml = config::to_yaml(to_manifest(profile, Secrets::kHidden));
  CHECK(yaml.find("hunter2") == std::string::npos);
  CHECK(problems_of(yaml).size() == 2);

  ProvisionRequest request;
  request.name = request.client_id = request.username = request.profile = "gw";
  request.params = {{"wifi", "hunter2"}};
  const std::string hidden = config::to_yaml(to_manifest(request, Secrets::kHidden));
  CHECK(hidden.find("hunter2") == std::string::npos);
  CHECK(problems_of(hidden).size() == 1);
  CHECK(config::to_yaml(to_manifest(request, Secrets::kShown)).find("hunter2") != std::string::npos);
}

TEST_CASE("deviceCredentialsTight and provisionSecureURL come back as they were said") {
  Account account;
  account.name = "acme";
  account.broker_url = "mqtt://broker.example";
  account.credentials = OwnerCredentials::kPassword;
  account.connector.database = "/o.db";
  for (const CredentialsTight tight : {CredentialsTight::kInherited, CredentialsTight::kStrict, CredentialsTight::kLoose}) {
    account.tight = tight;
    const std::string yaml = config::to_yaml(to_manifest(account));
    CHECK(yaml.find(fmt::format("deviceCredentialsTight: {}\n", to_string(tight))) != std::string::npos);
    const Account back = only<Account>(yaml);
    CHECK(back.tight == tight);
    CHECK(back.broker_url == account.broker_url);
    CHECK(back.ca_pem.empty());
    for (const bool secure : {true, false}) {
      ProvisionRequest request;
      request.name = request.client_id = request.username = request.profile = "gw";
      request.tight = tight;
      request.secure_url = secure;
      const auto request_back = only<RequestManifest>(config::to_yaml(to_manifest(request, Secrets::kShown)));
      CHECK(request_back.tight == tight);
      CHECK(request_back.secure_url == secure);
    }
  }
}

TEST_CASE("applying what the service wrote changes nothing, also not a request's password and key") {
  Platform platform;
  platform.apply(account_yaml() + kNextDocument + profile_yaml() + kNextDocument +
                 request_yaml("gw", "C1",
                              "  generateActivationKey: true\n  params: {port: 0}\n  retryMaxAttempts: 3\n"
                              "  activatesOn: 2026-01-01T00:00:00.250Z\n  expiresOn: 2099-01-01\n  status: DISABLED\n"));
  std::string yaml;
  platform.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto account, tx.find_account("acme"));
    TRY_ASSIGN(const auto profile, tx.find_profile("gateway"));
    TRY_ASSIGN(const auto request, tx.find_request_by_name("gw"));
    yaml = config::to_yaml(to_manifest(*account)) + kNextDocument +
           config::to_yaml(to_manifest(*profile, Secrets::kShown)) + kNextDocument +
           config::to_yaml(to_manifest(*request, Secrets::kShown));
    return {};
  });
  CAPTURE(yaml);
  const ProvisionRequest before = platform.request("gw");
  CHECK(yaml.find(fmt::format("\n  optlock: {}\n", before.optlock)) != std::string::npos);
  const ApplyReport report = platform.apply(yaml);
  REQUIRE(report.applied.size() == 3);
  for (const Applied& applied : report.applied) CHECK_MESSAGE(applied.change == "unchanged", applied.kind);
  CHECK(report.secrets.empty());
  CHECK(platform.request("gw").optlock == before.optlock);
}
