// What must be given and what need not (edc §7).
#include <algorithm>

#include <doctest/doctest.h>

#include "agent/settings/settings.hpp"
#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

struct Fixture {
  test::TempFolder folder;

  Fixture() {
    REQUIRE(write_file(folder / "root.pem", "-----BEGIN CERTIFICATE-----\n", 0644));
    REQUIRE(write_file(folder / "key", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567\n", 0600));
  }
  Result<LoadedSettings> load(std::string_view yaml) {
    REQUIRE(write_file(folder / "agent.yaml", yaml, 0600));
    return load_settings(folder / "agent.yaml", {});
  }
  std::string error(std::string_view yaml) {
    const auto loaded = load(yaml);
    REQUIRE_FALSE(loaded);
    return loaded.error().message;
  }
};

TEST_CASE("the broker's URL must be given, and so must the password, here or in a file") {
  Fixture fixture;
  CHECK(contains(fixture.error("password: the-password-1\nplatform-root-file: root.pem\n"), "broker-url: must be given"));
  const std::string no_password = fixture.error("broker-url: mqtts://x\nplatform-root-file: root.pem\n");
  CHECK(contains(no_password, "password-file: must be given"));
  CHECK_FALSE(contains(no_password, "broker-url"));
  CHECK(fixture.load("broker-url: mqtts://x\npassword: the-password-1\nplatform-root-file: root.pem\n"));
}

TEST_CASE("a root for the platform must be given unless ca-authentication is off, which is warned of") {
  Fixture fixture;
  const std::string rest = "broker-url: mqtts://x\npassword: the-password-1\n";
  CHECK(contains(fixture.error(rest), "platform-root-file: must be given"));
  CHECK(fixture.load(rest + "broker-ca-file: root.pem\n"));
  const auto off = fixture.load(rest + "ca-authentication: false\n");
  REQUIRE(off);
  CHECK(std::any_of(off->warnings.begin(), off->warnings.end(),
                    [](const std::string& line) { return contains(line, "ca-authentication: false"); }));
}

TEST_CASE("the activation key is given here or in a file, not in both") {
  Fixture fixture;
  const std::string rest = "broker-url: mqtts://x\npassword: the-password-1\nplatform-root-file: root.pem\n";
  const auto here = fixture.load(rest + "activation-key: THEKEY\n");
  REQUIRE(here);
  CHECK(here->settings.activation_key->reveal() == "THEKEY");
  const auto in_file = fixture.load(rest + "activation-key-file: key\n");
  REQUIRE(in_file);
  CHECK(in_file->settings.activation_key->reveal() == "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
  CHECK(contains(fixture.error(rest + "activation-key: THEKEY\nactivation-key-file: key\n"), "not both"));
}

TEST_CASE("account and client id have the forms that topics want") {
  Fixture fixture;
  const std::string rest = "broker-url: mqtts://x\npassword: the-password-1\nplatform-root-file: root.pem\n";
  for (const char* bad : {"a/b", "a.b", "a:b", "'a+b'", "'a#b'", "a b"}) {
    CAPTURE(bad);
    CHECK(contains(fixture.error(rest + "account-name: " + bad + "\n"), "account-name"));
  }
  for (const char* bad : {"a/b", "a.b", "'a+b'", "'a#b'", "a b"}) {
    CAPTURE(bad);
    CHECK(contains(fixture.error(rest + "client-id: " + bad + "\n"), "client-id"));
  }
  CHECK(fixture.load(rest + "client-id: 'a:b@c=d-e_F9'\n"));
  CHECK(fixture.load(rest + "client-id: " + std::string(64, 'x') + "\n"));
  CHECK(contains(fixture.error(rest + "client-id: " + std::string(65, 'x') + "\n"), "client-id"));
}

TEST_CASE("retry-max-attempts is -1 or at least one") {
  Fixture fixture;
  const std::string rest = "broker-url: mqtts://x\npassword: the-password-1\nplatform-root-file: root.pem\n";
  CHECK(fixture.load(rest + "retry-max-attempts: -1\n")->settings.retry_max_attempts == -1);
  CHECK(fixture.load(rest + "retry-max-attempts: 1\n")->settings.retry_max_attempts == 1);
  for (const char* bad : {"0", "-2", "many"}) {
    CHECK(contains(fixture.error(rest + "retry-max-attempts: " + bad + "\n"), "retry-max-attempts"));
  }
}

}  // namespace
}  // namespace fleet::agent
