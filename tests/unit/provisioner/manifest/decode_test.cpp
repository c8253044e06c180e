#include <doctest/doctest.h>

#include "core/crypto/certificate.hpp"
#include "tests/unit/provisioner/manifest/platform.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

template <typename Kind>
Kind decode_one(const std::string& yaml) {
  return std::get<Kind>(decode(yaml).at(0).manifest);
}

// That the only problem begins so.
void check_problem(const std::string& yaml, const std::string& start) {
  const std::vector<std::string> problems = problems_of(yaml);
  CAPTURE(start);
  REQUIRE(problems.size() == 1);
  CHECK_MESSAGE(problems[0].starts_with(start), problems[0]);
}

std::string request_with(const std::string& spec) {
  return request_yaml("gw", "CID", spec);
}

std::string account_with_ca(const std::string& pem) {
  std::string yaml =
      "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: acme}\nspec:\n  broker:\n    url: mqtts://b\n    "
      "ca: \"";
  for (const char c : pem) yaml += c == '\n' ? std::string("\\n") : std::string(1, c);
  return yaml + "\"\n";
}

}  // namespace

TEST_CASE("an account has a name, a broker and its CAs") {
  const auto account = decode_one<Account>(account_yaml());
  CHECK(account.name == "acme");
  CHECK(account.broker_url == "mqtts://broker.example:8883");
  REQUIRE(account.ca_pem.size() == 1);
  CHECK(crypto::Certificate::from_pem(account.ca_pem[0])->subject_cn() == "Owner CA");
}

TEST_CASE("an account may have ten CAs, each kept by itself, but not eleven") {
  std::string pem;
  for (int i = 0; i < 10; ++i) pem += make_ca_pem("CA " + std::to_string(i));
  CHECK(decode_one<Account>(account_with_ca(pem)).ca_pem.size() == 10);
  check_problem(account_with_ca(pem + make_ca_pem("one too many")), "spec.broker.ca: ");
}

TEST_CASE("what is no CA certificate is refused as a CA") {
  check_problem(account_with_ca("hello"), "spec.broker.ca: ");
  check_problem(account_with_ca("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "spec.broker.ca: ");
  const auto ca_key = crypto::PrivateKey::generate().value();
  const WallTime now = wall_now();
  const auto root =
      crypto::issue_root({crypto::CertificateProfile::kRootCa, "root", {}, now, now + Seconds(600)}, ca_key).value();
  const auto leaf = crypto::issue({crypto::CertificateProfile::kServer, "leaf", {"localhost"}, now, now + Seconds(600)},
                                  ca_key.public_key(), {root, ca_key})
                        .value();
  check_problem(account_with_ca(leaf.to_pem()), "spec.broker.ca: 'leaf' is not a CA certificate");
}

TEST_CASE("a private key that slipped in beside a CA is refused") {
  const std::string key(crypto::PrivateKey::generate()->to_pem().reveal());
  check_problem(account_with_ca(make_ca_pem() + key), "spec.broker.ca: ");
}

TEST_CASE("an owner's broker is reached by mqtts only") {
  check_problem(account_yaml("mqtt://broker.example"), "spec.broker.url: must begin with mqtts://");
  check_problem(account_yaml("https://broker.example"), "spec.broker.url: ");
  check_problem(account_yaml("mqtts://user:secret@broker.example"), "spec.broker.url: ");
}

TEST_CASE("the name of an account is a level of topics") {
  std::string yaml = account_yaml();
  yaml.replace(yaml.find("{name: acme}"), 12, "{name: \"a/b\"}");
  check_problem(yaml, "metadata.name: must be 1 to 64 of");
}

TEST_CASE("a profile has defaults for what is not said") {
  const auto profile =
      decode_one<Profile>("apiVersion: provisioner/v1\nkind: Profile\nmetadata: {name: p}\nspec: {account: a}\n");
  CHECK(profile.account == "a");
  CHECK(profile.retry_max_attempts == 5);
  CHECK(profile.attempt_timeout == Seconds(300));
  CHECK(profile.certificate_validity == Seconds(365LL * 86'400));
  CHECK(profile.configuration.empty());
}

TEST_CASE("a profile says how long and how often") {
  const auto profile = decode_one<Profile>(
      profile_yaml("  certificate: {validity: 90d}\n  retryMaxAttempts: -1\n  attemptTimeout: 2m\n"));
  CHECK(profile.certificate_validity == Seconds(90LL * 86'400));
  CHECK(profile.retry_max_attempts == -1);
  CHECK(profile.attempt_timeout == Seconds(120));
}

TEST_CASE("durations and counts outside their range are refused") {
  check_problem(profile_yaml("  retryMaxAttempts: -2\n"), "spec.retryMaxAttempts: must be -1");
  check_problem(profile_yaml("  attemptTimeout: 0s\n"), "spec.attemptTimeout: must be between");
  check_problem(profile_yaml("  attemptTimeout: 25h\n"), "spec.attemptTimeout: must be between");
  check_problem(profile_yaml("  attemptTimeout: soon\n"), "spec.attemptTimeout: ");
  check_problem(profile_yaml("  certificate: {validity: 1s}\n"), "spec.certificate.validity: must be between");
  check_problem(profile_yaml("  certificate: {validity: 99999d}\n"), "spec.certificate.validity: must be between");
}

TEST_CASE("a request carries all of its wishes") {
  const auto request = decode_one<RequestManifest>(request_with(
      "  provisionUserPassword: correct-horse-battery\n  generateActivationKey: true\n  params: {rack: N1, port: 7}\n"
      "  status: DISABLED\n  activatesOn: 2026-01-01\n  expiresOn: 2026-06-01T12:00:00+02:00\n  retryMaxAttempts: 2\n"
      "  overwriteIfDuplicate: false\n  optlock: 7\n  provisionSecureURL: false\n  deviceCredentialsTight: LOOSE\n"));
  CHECK(request.name == "gw");
  CHECK(request.labels == std::map<std::string, std::string>{{"site", "north"}});
  CHECK(request.profile == "gateway");
  CHECK(request.client_id == "CID");
  CHECK(request.username == "CID-SN1");
  REQUIRE(request.password.has_value());
  CHECK(request.password->reveal() == "correct-horse-battery");
  CHECK(request.generate_activation_key);
  CHECK(request.params == std::map<std::string, std::string>{{"port", "7"}, {"rack", "N1"}});
  CHECK(request.enabled == false);
  CHECK(format_time(*request.activates_on) == "2026-01-01T00:00:00Z");
  CHECK(format_time(*request.expires_on) == "2026-06-01T10:00:00Z");
  CHECK(request.retry_max_attempts == 2);
  CHECK(request.overwrite_if_duplicate == false);
  CHECK(request.optlock == 7);
  CHECK_FALSE(request.secure_url);
  CHECK(request.tight == CredentialsTight::kLoose);
}

TEST_CASE("what a request does not say is left open") {
  const auto request = decode_one<RequestManifest>(request_with(""));
  CHECK_FALSE(request.password.has_value());
  CHECK_FALSE(request.enabled.has_value());
  CHECK_FALSE(request.activates_on.has_value());
  CHECK_FALSE(request.retry_max_attempts.has_value());
  CHECK_FALSE(request.overwrite_if_duplicate.has_value());
  CHECK_FALSE(request.optlock.has_value());
  CHECK(request.secure_url);
  CHECK(request.tight == CredentialsTight::kInherited);
}

TEST_CASE("values of a request outside their form are refused") {
  check_problem(request_with("  provisionSecureURL: maybe\n"), "spec.provisionSecureURL: ");
  check_problem(request_with("  deviceCredentialsTight: TIGHT\n"), "spec.deviceCredentialsTight: must be STRICT, LOOSE or INHERITED");
  check_problem(request_with("  optlock: 0\n"), "spec.optlock: must be 1 or more");
  check_problem(request_yaml("gw", "a b"), "spec.clientId: must be 1 to 64 of");
  check_problem(request_yaml("gw", std::string(65, 'x')), "spec.clientId: must be 1 to 64 of");
  check_problem(request_yaml("-gw", "CID"), "metadata.name: must be 1 to 128 of");
  check_problem(request_yaml(std::string(129, 'x'), "CID"), "metadata.name: must be 1 to 128 of");
  check_problem(request_with("  status: enabled\n"), "spec.status: must be ENABLED or DISABLED");
  check_problem(request_with("  provisionUserPassword: \"\"\n"), "spec.provisionUserPassword: must be 1 to 1024");
  for (const std::string key : {"\"\"", "\"schlüssel-des-geräts\"", "\"two\\nlines-of-a-long-key\""}) {
    check_problem(request_with("  activationKey: " + key + "\n"),
                  "spec.activationKey: must be 1 to 1024 characters of printable ASCII");
  }
  check_problem(request_with("  generateActivationKey: true\n  activationKey: a-key-off-the-label\n"),
                "spec.activationKey: give either generateActivationKey, or activationKey or activationKeyFile");
  check_problem(request_with("  generateActivationKey: \"true\"\n"),
                "spec.generateActivationKey: expected true or false");
  check_problem(request_with("  retryMaxAttempts: 1.5\n"), "spec.retryMaxAttempts: expected an integer");
  check_problem(request_with("  activatesOn: tomorrow\n"), "spec.activatesOn: ");
  check_problem(request_with("  params: [1]\n"), "spec.params: expected a mapping");
  check_problem(request_with("  params: {\"a b\": 1}\n"), "spec.params: 'a b' is not a name");
  check_problem(request_with("  activatesOn: 2026-02-01\n  expiresOn: 2026-02-01\n"),
                "spec.expiresOn: must be later than activatesOn");
}

TEST_CASE("a username of 255 bytes is fine, and one of 256 or with control characters is not") {
  const auto with_username = [](const std::string& username) {
    return "apiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: gw}\nspec: {profile: p, clientId: C, "
           "provisionUserUsername: \"" +
           username + "\"}\n";
  };
  CHECK(problems_of(with_username(std::string(255, 'u'))).empty());
  check_problem(with_username(std::string(256, 'u')), "spec.provisionUserUsername: must be 1 to 255 bytes");
  check_problem(with_username("a\\tb"), "spec.provisionUserUsername: must be 1 to 255 bytes");
  check_problem(with_username(""), "spec.provisionUserUsername: must be 1 to 255 bytes");
}

TEST_CASE("a password that is refused is not told") {
  const auto problems = problems_of(request_with("  provisionUserPassword: {hidden-word: 1}\n"));
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].find("hidden-word") == std::string::npos);
}

TEST_CASE("all problems of a document come at once, each at its place") {
  const std::vector<config::Node> nodes = parse(
      "apiVersion: provisioner/v2\n"
      "kind: ProvisionRequest\n"
      "metadata: {name: gw, lables: {a: b}}\n"
      "spec:\n"
      "  clientID: \"C1\"\n"
      "  provisionUserUsername: u\n"
      "  status: MAYBE\n");
  config::Problems problems("gw.yaml");
  CHECK_FALSE(decode_manifest(nodes.at(0), problems).has_value());
  std::vector<std::string> lines;
  for (const config::Problem& problem : problems.list()) lines.push_back(problem.str());
  const auto has = [&](const std::string& start) {
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) { return line.starts_with(start); });
  };
  CHECK(lines.size() == 6);
  CHECK(has("gw.yaml:1:13: apiVersion: must be provisioner/v1"));
  CHECK(has("gw.yaml:3:22: metadata.lables: unknown key; did you mean labels?"));
  CHECK(has("gw.yaml:5:3: spec.clientID: unknown key; did you mean clientId?"));
  CHECK(has("gw.yaml:5:3: spec.profile: is missing"));
  CHECK(has("gw.yaml:5:3: spec.clientId: is missing"));
  CHECK(has("gw.yaml:7:11: spec.status: must be ENABLED or DISABLED"));
}

TEST_CASE("an unknown kind is told with the nearest one") {
  check_problem("apiVersion: provisioner/v1\nkind: Acount\nmetadata: {name: a}\nspec: {}\n",
                "kind: unknown kind 'Acount'; did you mean Account?");
  check_problem("apiVersion: provisioner/v1\nkind: Secret\nmetadata: {name: a}\nspec: {}\n",
                "kind: must be Account, Profile or ProvisionRequest");
}

TEST_CASE("documents of another shape are refused without harm") {
  for (const std::string yaml :
       {"just text\n", "[1, 2]\n", "{}\n", "kind: [Account]\n", "spec: 1\nmetadata: 2\nkind: Account\napiVersion: 3\n",
        "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: a}\nspec: {broker: [1]}\n",
        "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: a}\nspec: {broker: {url: {}, ca: []}}\n",
        "apiVersion: provisioner/v1\nkind: Profile\nmetadata: [name]\nspec: {configuration: 5}\n"}) {
    CAPTURE(yaml);
    CHECK_FALSE(problems_of(yaml).empty());
  }
}

TEST_CASE("labels belong to requests only") {
  check_problem("apiVersion: provisioner/v1\nkind: Profile\nmetadata: {name: p, labels: {a: b}}\nspec: {account: a}\n",
                "metadata.labels: unknown key");
}

namespace {

// account_yaml() with other credentials; `more`: lines of its spec.
std::string account_with(const std::string& credentials, const std::string& more = "") {
  std::string yaml = account_yaml();
  const std::string x509 = "  credentials: x509\n";
  return yaml.replace(yaml.find(x509), x509.size(), "  credentials: " + credentials + "\n" + more);
}

}  // namespace

TEST_CASE("an account's credentials are certificates, or passwords that a connector hands over") {
  CHECK(decode_one<Account>(account_yaml()).credentials == OwnerCredentials::kX509);
  const auto by_plugin =
      decode_one<Account>(account_with("password", "  connector: {plugin: /srv/owner/owner.db}\n"));
  CHECK(by_plugin.credentials == OwnerCredentials::kPassword);
  CHECK(by_plugin.is_strict());
  CHECK(by_plugin.tight == CredentialsTight::kInherited);
  CHECK(by_plugin.connector.database == "/srv/owner/owner.db");
  const auto by_command = decode_one<Account>(account_with(
      "password", "  deviceCredentialsTight: LOOSE\n  connector: {command: [/usr/bin/hand-over, --realm, acme]}\n"));
  CHECK_FALSE(by_command.is_strict());
  for (const CredentialsTight tight : {CredentialsTight::kInherited, CredentialsTight::kStrict, CredentialsTight::kLoose}) {
    const auto account = decode_one<Account>(account_with(
        "password", fmt::format("  deviceCredentialsTight: {}\n  connector: {{plugin: /o.db}}\n", to_string(tight))));
    CHECK(account.tight == tight);
    CHECK(account.is_strict() == (tight != CredentialsTight::kLoose));
  }
  // that says nothing
  CHECK(decode_one<Account>(account_with("x509", "  deviceCredentialsTight: INHERITED\n")).tight ==
        CredentialsTight::kInherited);
  CHECK(by_command.connector.command == std::vector<std::string>{"/usr/bin/hand-over", "--realm", "acme"});
}

TEST_CASE("credentials that cannot work are refused where they stand") {
  check_problem(account_with("token"), "spec.credentials: 'token' is not supported: use x509 or password");
  check_problem(account_with("password"), "spec.connector: missing: how the owner's broker learns the passwords");
  check_problem(account_with("password", "  connector: {plugin: owner.db}\n"), "spec.connector.plugin: must be the whole path");
  check_problem(account_with("password", "  connector: {command: [hand-over]}\n"), "spec.connector.command: must begin with");
  check_problem(account_with("password", "  connector: {}\n"), "spec.connector.plugin: give either plugin");
  check_problem(account_with("password", "  deviceCredentialsTight: TIGHT\n  connector: {plugin: /o.db}\n"),
                "spec.deviceCredentialsTight: must be STRICT, LOOSE or INHERITED");
  check_problem(account_with("x509", "  connector: {plugin: /o.db}\n"), "spec.connector: is for credentials: password");
  check_problem(account_with("x509", "  deviceCredentialsTight: LOOSE\n"), "spec.deviceCredentialsTight: is for");
}

TEST_CASE("an account with passwords may have a broker without TLS, and then needs no CA") {
  const std::string plain = "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: acme}\nspec:\n"
                            "  broker: {url: \"mqtt://broker.example\"}\n";
  const std::string passwords = "  credentials: password\n  connector: {plugin: /o.db}\n";
  const auto account = decode_one<Account>(plain + passwords);
  CHECK(account.broker_url == "mqtt://broker.example");
  CHECK(account.ca_pem.empty());
  std::string secure = plain;
  secure.replace(secure.find("mqtt://"), 7, "mqtts://");
  check_problem(secure + passwords, "spec.broker.ca: is missing");
  std::string socket = account_with("password", "  connector: {plugin: /o.db}\n");
  const std::string url = "mqtts://broker.example:8883";
  socket.replace(socket.find(url), url.size(), "unix:/run/broker.sock");
  check_problem(socket, "spec.broker.url: must begin with mqtts:// (or mqtt://");
}

TEST_CASE("a profile says whether a certificate is wanted where a password would do") {
  CHECK_FALSE(decode_one<Profile>(profile_yaml("  certificate: {validity: 30d}\n")).wants_certificate);
  CHECK(decode_one<Profile>(profile_yaml("  certificate: {required: true}\n")).wants_certificate);
}
