#include "agent/settings/settings.hpp"

#include <algorithm>
#include <fstream>
#include <sys/stat.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// A folder with a settings file, a password file and a CA file that load_settings accepts.
struct Fixture {
  test::TempFolder folder;

  Fixture() {
    write("password", "s3cret-of-gateway-1\n", 0600);
    write("root.pem", "-----BEGIN CERTIFICATE-----\n", 0644);
  }
  void write(const std::string& name, std::string_view text, mode_t mode = 0600) {
    REQUIRE(write_file(folder / name, text, mode));
  }
  Result<LoadedSettings> load(std::string_view yaml, const Overrides& overrides = {}, Purpose purpose = Purpose::kRun) {
    write("agent.yaml", yaml);
    return load_settings(folder / "agent.yaml", overrides, purpose);
  }
  std::string error(std::string_view yaml, const Overrides& overrides = {}) {
    const auto loaded = load(yaml, overrides);
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().code == ErrorCode::kInvalidArgument);
    return loaded.error().message;
  }
};

constexpr std::string_view kMinimal =
    "broker-url: mqtts://provision.example.com\n"
    "password-file: password\n"
    "platform-root-file: root.pem\n";

TEST_CASE("the shortest useful settings file has the defaults of the protocol") {
  Fixture fixture;
  const auto loaded = fixture.load(kMinimal);
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  const Settings& settings = loaded->settings;
  CHECK(settings.enabled);
  CHECK_FALSE(settings.provisioned);
  CHECK(settings.ca_authentication);
  CHECK(settings.broker_urls.front().host == "provision.example.com");
  CHECK(settings.broker_urls.front().port == 8883);
  CHECK(settings.account_name == "provision");
  CHECK(settings.username.empty());
  CHECK(settings.client_id.empty());
  CHECK(settings.password.reveal() == "s3cret-of-gateway-1");
  CHECK_FALSE(settings.activation_key.has_value());
  CHECK(settings.timeout == Seconds(120));
  CHECK(settings.retry_interval == Seconds(60));
  CHECK(settings.retry_max_attempts == -1);
  CHECK(settings.state_dir == "/var/lib/provision-agent");
  CHECK(settings.platform_root_file == fixture.folder / "root.pem");
  CHECK(loaded->warnings.empty());
}

TEST_CASE("every setting is read under its protocol name") {
  Fixture fixture;
  fixture.write("key", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
  fixture.write("hook.sh", "#!/bin/sh\n", 0755);
  const auto loaded = fixture.load(fmt::format(
      "enabled: false\nprovisioned: true\nca-authentication: false\nbroker-url: mqtt://10.0.0.1:1884\n"
      "account-name: ec-provisioning\nusername: user-1\nclient-id: gw-1\npassword: written-here-1\n"
      "activation-key-file: key\ntimeout: 30\nretry-interval: 5m\nretry-max-attempts: 7\nbroker-ca-file: root.pem\n"
      "platform-root-file: root.pem\nstate-dir: state\ninterface: eth7\nserial: 0042\nhook: {}\nowner-timeout: 1h\npackage-allow-file: true\n"
      "package-max-size: 64MiB\npackage-max-unpacked: 2GiB\npackage-max-entries: 300\nlog-level: debug\n",
      (fixture.folder / "hook.sh").string()));
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  const Settings& settings = loaded->settings;
  CHECK_FALSE(settings.enabled);
  CHECK(settings.provisioned);
  CHECK_FALSE(settings.ca_authentication);
  CHECK(settings.broker_urls.front().scheme == mqtt::BrokerUrl::Scheme::kMqtt);
  CHECK(settings.broker_urls.front().port == 1884);
  CHECK(settings.account_name == "ec-provisioning");
  CHECK(settings.username == "user-1");
  CHECK(settings.client_id == "gw-1");
  CHECK(settings.password.reveal() == "written-here-1");
  REQUIRE(settings.activation_key.has_value());
  CHECK(settings.activation_key->reveal() == "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
  CHECK_MESSAGE(settings.timeout == Seconds(30), "a bare number is seconds");
  CHECK(settings.retry_interval == std::chrono::minutes(5));
  CHECK(settings.retry_max_attempts == 7);
  CHECK(settings.broker_ca_file == fixture.folder / "root.pem");
  CHECK(settings.state_dir == fixture.folder / "state");
  CHECK(settings.interface == "eth7");
  CHECK_MESSAGE(settings.serial == "0042", "leading zeros of a serial are part of it");
  CHECK(settings.hook == fixture.folder / "hook.sh");
  CHECK(settings.package_allow_file);
  CHECK(settings.package_max_size == 64 * 1024 * 1024);
  CHECK(settings.package_max_unpacked == std::uint64_t{2} << 30);
  CHECK(settings.package_max_entries == 300);
  CHECK(settings.owner_timeout == std::chrono::hours(1));
  CHECK(settings.log_level == log::Level::kDebug);
}

TEST_CASE("all problems are reported at once, each with its place") {
  Fixture fixture;
  const std::string message = fixture.error(
      "broker-url: http://x\n"
      "client-id: 'a/b'\n"
      "retry-max-attempts: 0\n"
      "timeout: soon\n"
      "retry-intervall: 60\n");
  CHECK(contains(message, "agent.yaml:1:13: broker-url:"));
  CHECK(contains(message, "agent.yaml:2:12: client-id:"));
  CHECK(contains(message, "agent.yaml:3:21: retry-max-attempts:"));
  CHECK(contains(message, "agent.yaml:4:10: timeout:"));
  CHECK(contains(message, "agent.yaml:5:"));
  CHECK_MESSAGE(contains(message, "retry-interval"), "the nearest key is named");
  CHECK(contains(message, "password-file"));
  CHECK(contains(message, "platform-root-file"));
}

TEST_CASE("several brokers are a list in the file, and a text with commas on the command line") {
  Fixture fixture;
  const std::string others = "password-file: password\nplatform-root-file: root.pem\n";
  auto loaded = fixture.load(others + "broker-url: [mqtts://a.example.com, 'mqtts://b.example.com:9883']\n");
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  REQUIRE(loaded->settings.broker_urls.size() == 2);
  CHECK(loaded->settings.broker_urls[0].str() == "mqtts://a.example.com:8883");
  CHECK(loaded->settings.broker_urls[1].str() == "mqtts://b.example.com:9883");
  loaded = fixture.load(kMinimal, {{"broker-url", "mqtts://c.example.com,mqtt://d.example.com"}});
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  REQUIRE(loaded->settings.broker_urls.size() == 2);
  CHECK(loaded->settings.broker_urls[0].host == "c.example.com");
  REQUIRE(loaded->warnings.size() == 1);
  CHECK(contains(loaded->warnings[0], "mqtt://"));
}

TEST_CASE("each wrong broker of a list is told with its place") {
  Fixture fixture;
  const std::string message = fixture.error(
      "broker-url:\n"
      "  - mqtts://a.example.com\n"
      "  - http://b.example.com\n"
      "  - mqtts://a.example.com:8883\n"
      "  - [nested]\n");
  CHECK(contains(message, "agent.yaml:5:5: broker-url[3]: "));
  const std::string values = fixture.error(
      "broker-url:\n"
      "  - mqtts://a.example.com\n"
      "  - http://b.example.com\n"
      "  - mqtts://a.example.com:8883\n");
  CHECK(contains(values, "agent.yaml:3:5: broker-url[1]: "));
  CHECK(contains(values, "agent.yaml:4:5: broker-url[2]: mqtts://a.example.com:8883 is given twice"));
  CHECK(contains(fixture.error("broker-url: []\n"), "agent.yaml:1:13: broker-url: must be one URL or a list"));
  CHECK(contains(fixture.error("broker-url: {a: b}\n"), "agent.yaml:1:13: broker-url: "));
  CHECK(contains(fixture.error(kMinimal.data(), {{"broker-url", "mqtts://a,mqtts://a"}}), "given twice"));
}

TEST_CASE("what differs between two versions of the settings is told by name") {
  Fixture fixture;
  const auto changed = [&](std::string_view yaml) {
    const auto before = fixture.load(kMinimal);
    const auto after = fixture.load(yaml);
    REQUIRE_MESSAGE(after, after.error().message);
    return changed_settings(before->settings, after->settings);
  };
  using Names = std::vector<std::string_view>;
  CHECK(changed(kMinimal).empty());
  CHECK(changed(std::string(kMinimal) + "timeout: 120\n").empty());
  fixture.write("hook.sh", "#!/bin/sh\n", 0755);
  // every setting that the table of options knows, and the two secrets that it does not
  const auto all = changed(fmt::format(
      "enabled: false\nprovisioned: true\nca-authentication: false\nbroker-url: [mqtts://10.0.0.1]\n"
      "account-name: other\nusername: user-1\nclient-id: gw-1\npassword: written-here-1\n"
      "activation-key: ABCDEFGHIJKLMNOP\ntimeout: 30\nretry-interval: 5m\nretry-max-attempts: 7\n"
      "broker-ca-file: root.pem\nplatform-root-file: ./other/../hook.sh\nstate-dir: state\ninterface: eth7\n"
      "serial: 0042\nhook: {}\nowner-timeout: 1h\npackage-allow-file: true\n"
      "package-max-size: 64MiB\npackage-max-unpacked: 2GiB\npackage-max-entries: 300\nlog-level: debug\n",
      (fixture.folder / "hook.sh").string()));
  Names wanted;
  for (const SettingOption& option : setting_options()) {
    if (!option.name.ends_with("-key-file") && option.name != "password-file") wanted.push_back(option.name);
  }
  wanted.insert(wanted.end(), {"password", "activation-key"});
  Names found = all;
  std::sort(wanted.begin(), wanted.end());
  std::sort(found.begin(), found.end());
  CHECK(found == wanted);
  // the content of a secret's file counts, not its name
  const auto before = fixture.load(kMinimal);
  fixture.write("password", "another-s3cret\n");
  CHECK(changed_settings(before->settings, fixture.load(kMinimal)->settings) == Names{"password"});
}

TEST_CASE("a wrongly typed value is an error, not skipped") {
  Fixture fixture;
  CHECK(contains(fixture.error(std::string(kMinimal) + "enabled: perhaps\n"), "enabled"));
  CHECK(contains(fixture.error(std::string(kMinimal) + "serial: [1, 2]\n"), "serial"));
  CHECK(contains(fixture.error("- a\n- b\n"), "agent.yaml:1:1"));
}

TEST_CASE("broken YAML names file, line and column") {
  Fixture fixture;
  CHECK(contains(fixture.error("broker-url: 'mqtts://x\n"), "agent.yaml:"));
}

TEST_CASE("a file that is not there is kNotFound") {
  Fixture fixture;
  const auto loaded = load_settings(fixture.folder / "missing.yaml", {});
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().code == ErrorCode::kNotFound);
}

TEST_CASE("the command line wins over the file") {
  Fixture fixture;
  fixture.write("other", "another-password-1");
  const auto loaded = fixture.load(std::string(kMinimal) + "retry-max-attempts: 3\n",
                                   {{"broker-url", "mqtts://other.example.com:9999"},
                                    {"retry-max-attempts", "-1"},
                                    {"password-file", (fixture.folder / "other").string()},
                                    {"enabled", "false"}});
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  CHECK(loaded->settings.broker_urls.front().port == 9999);
  CHECK(loaded->settings.retry_max_attempts == -1);
  CHECK(loaded->settings.password.reveal() == "another-password-1");
  CHECK_FALSE(loaded->settings.enabled);
}

TEST_CASE("a password file on the command line replaces a password in the settings file") {
  Fixture fixture;
  const auto loaded = fixture.load("broker-url: mqtts://x\npassword: in-the-file\nplatform-root-file: root.pem\n",
                                   {{"password-file", (fixture.folder / "password").string()}});
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  CHECK(loaded->settings.password.reveal() == "s3cret-of-gateway-1");
}

TEST_CASE("problems on the command line say so") {
  Fixture fixture;
  CHECK(contains(fixture.error(kMinimal, {{"timeout", "never"}}), "command line: timeout"));
}

TEST_CASE("every option of the command line is a setting of the file") {
  Fixture fixture;
  for (const SettingOption& option : setting_options()) {
    CAPTURE(option.name);
    const auto loaded = fixture.load(kMinimal, {{std::string(option.name), "x"}}, Purpose::kInspect);
    const std::string message = loaded ? "" : loaded.error().message;
    CHECK_FALSE(contains(message, "unknown"));
    CHECK_FALSE(option.help.empty());
  }
  const auto is_secret = [](const SettingOption& option) {
    return option.name == "password" || option.name == "activation-key";
  };
  CHECK_MESSAGE(std::none_of(setting_options().begin(), setting_options().end(), is_secret),
                "arguments are visible to every user");
}

TEST_CASE("password and password-file together are refused") {
  Fixture fixture;
  CHECK(contains(fixture.error(std::string(kMinimal) + "password: x\n"), "not both"));
}

TEST_CASE("a password file that others can read is refused with the cure") {
  Fixture fixture;
  for (const mode_t mode : {0640U, 0604U, 0644U, 0620U}) {
    fixture.write("password", "s3cret-of-gateway-1\n", mode);
    const std::string message = fixture.error(kMinimal);
    CHECK(contains(message, "chmod 600"));
    CHECK(contains(message, "password-file"));
    CHECK_FALSE(contains(message, "s3cret"));
  }
}

TEST_CASE("unusable password files are refused without quoting them") {
  Fixture fixture;
  const std::string cases[] = {
      "", "\n", "two\nlines\n", std::string("nul\0here", 8), "bad utf8 \xff\n", std::string(5000, 'x')};
  for (const std::string& content : cases) {
    fixture.write("password", content);
    const std::string message = fixture.error(kMinimal);
    CHECK(contains(message, "password-file"));
    CHECK_FALSE(contains(message, "two"));
    CHECK_FALSE(contains(message, "nul"));
    CHECK_FALSE(contains(message, "xxx"));
  }
}

TEST_CASE("exactly one line break behind a secret is stripped") {
  Fixture fixture;
  fixture.write("a", "secret \r\n");
  const auto secret = read_secret_file(fixture.folder / "a");
  REQUIRE(secret);
  CHECK(secret->reveal() == "secret ");
  fixture.write("b", "secret\n\n");
  CHECK_FALSE(read_secret_file(fixture.folder / "b"));
  CHECK_FALSE(read_secret_file(fixture.folder.path()));
  CHECK(read_secret_file(fixture.folder / "none").error().code == ErrorCode::kNotFound);
}

TEST_CASE("a hook must be an executable with an absolute path") {
  Fixture fixture;
  fixture.write("plain", "text", 0644);
  CHECK(contains(fixture.error(std::string(kMinimal) + "hook: hook.sh\n"), "absolute"));
  CHECK(contains(fixture.error(std::string(kMinimal) + "hook: /nonexistent/program\n"), "no such program"));
  CHECK(contains(fixture.error(std::string(kMinimal) + "hook: " + (fixture.folder / "plain").string() + "\n"),
                 "not executable"));
  CHECK(contains(fixture.error(std::string(kMinimal) + "hook: " + fixture.folder.path().string() + "\n"), "hook"));
}

TEST_CASE("files that settings name must be readable") {
  Fixture fixture;
  CHECK(contains(fixture.error(std::string(kMinimal) + "broker-ca-file: nowhere.pem\n"), "nowhere.pem"));
}

TEST_CASE("pauses have sane bounds") {
  Fixture fixture;
  CHECK(contains(fixture.error(std::string(kMinimal) + "retry-interval: 0\n"), "retry-interval"));
  CHECK(contains(fixture.error(std::string(kMinimal) + "timeout: 900d\n"), "timeout"));
}

TEST_CASE("packages have the limits that were always there, and others within reason") {
  Fixture fixture;
  const auto loaded = fixture.load(kMinimal);
  REQUIRE(loaded);
  CHECK(loaded->settings.package_max_size == 256 << 20);
  CHECK(loaded->settings.package_max_unpacked == 1 << 30);
  CHECK(loaded->settings.package_max_entries == 20'000);
  const std::string message = fixture.error(std::string(kMinimal) +
                                            "package-max-size: 12 MB\npackage-max-unpacked: 100\n"
                                            "package-max-entries: 0\n");
  CHECK(contains(message, "agent.yaml:4:19: package-max-size: '12 MB' is not a size: write it as 512KiB"));
  CHECK(contains(message, "agent.yaml:5:23: package-max-unpacked: must lie between 1KiB and 1TiB"));
  CHECK(contains(message, "agent.yaml:6:22: package-max-entries: must lie between 1 and 10000000"));
  CHECK(contains(fixture.error(kMinimal, {{"package-max-unpacked", "2TiB"}}), "command line: package-max-unpacked"));
}

TEST_CASE("inspection needs no password, no broker and no files") {
  const auto nothing = load_settings({}, {}, Purpose::kInspect);
  REQUIRE(nothing);
  CHECK(nothing->settings.state_dir == "/var/lib/provision-agent");
  Fixture fixture;
  const auto loaded = fixture.load("password-file: missing\nstate-dir: /elsewhere\n", {}, Purpose::kInspect);
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  CHECK(loaded->settings.state_dir == "/elsewhere");
}

TEST_CASE("a secret in a settings file that others can read is warned of") {
  Fixture fixture;
  fixture.write("open.yaml", "broker-url: mqtts://x\npassword: in-the-file\nbroker-ca-file: root.pem\n", 0644);
  const auto loaded = load_settings(fixture.folder / "open.yaml", {});
  REQUIRE_MESSAGE(loaded, loaded.error().message);
  REQUIRE(loaded->warnings.size() == 1);
  CHECK(contains(loaded->warnings[0], "chmod 600"));
  CHECK_FALSE(contains(loaded->warnings[0], "in-the-file"));
}

}  // namespace
}  // namespace fleet::agent
