// Password accounts, whole: credentials made, handed over to a real broker or a program, told to the device, forgotten.
#include <algorithm>
#include <sstream>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/protocol/esf_xml.hpp"
#include "tests/system/password_broker.hpp"
#include "tests/system/raw_device.hpp"

using namespace fleet;
using namespace fleet::test;

namespace {

constexpr const char* kId = "02FC00000001";

void keep(Result<void> result) {
  if (!result) throw std::runtime_error(result.error().message);
}

struct Told {
  std::string username, password;
};

Told told_by(const Asked& configuration) {
  const auto components = must(protocol::parse_xml(*must(protocol::decode(configuration.payload)).body));
  for (const auto& component : components) {
    if (component.pid == protocol::kMqttTransportPid) {
      return {std::string(component.value("username")), std::string(component.value("password"))};
    }
  }
  throw std::runtime_error("no owner connection");
}

// The reply to all that comes before the configuration.
std::string begin(RawDevice& device) {
  const std::string request_id = device.say(device.hello());
  device.reply(device.await(protocol::kAppCert));
  device.reply(device.await(protocol::kAppKeysV1));
  return request_id;
}

std::size_t count(const RawDevice& device, std::string_view app) {
  std::size_t found = 0;
  for (const Asked& one : device.asked()) found += one.app == app ? 1 : 0;
  return found;
}

// Nowhere in the provisioner's data, whatever file it is.
bool is_anywhere(const std::filesystem::path& folder, const std::string& secret) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file() && read_file(entry.path(), 256 * 1024 * 1024).value_or("").find(secret) != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace

TEST_CASE("what a device is told opens the owner's broker at once, for that device only, and is forgotten") {
  Rig rig;
  rig.start_provisioner();
  const PasswordBroker broker(rig, "strict");
  rig.apply(password_account(rig, "  credentials: password\n  connector: {plugin: " + broker.database().string() + "}\n"));
  const Credentials gateway = rig.request("gw", kId);
  RawDevice device(rig, gateway);
  device.join();
  const std::string request_id = begin(device);
  const Asked configuration = device.await(protocol::kAppConf);
  CHECK(count(device, protocol::kAppKeysV2) == 0);
  const Told told = told_by(configuration);
  CHECK(told.username == kId);
  CHECK(told.password.size() == 32);
  INFO(broker.log());
  CHECK(broker.connect(kId, told.username, told.password) == 0);
  CHECK(broker.connect(kId, told.username, "wrong") != 0);
  CHECK(broker.connect("02FC00000002", told.username, told.password) != 0);
  device.reply(configuration);
  REQUIRE(device.recorded(request_id));
  CHECK(rig.status("gw") == "COMPLETED");
  CHECK(broker.connect(kId, told.username, told.password) == 0);
  CHECK(rig.sql("SELECT count(*) FROM attempt WHERE owner_password <> ''") == "0");
  rig.provisioner().stop();
  CHECK_FALSE(is_anywhere(rig.data(), told.password));
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "0");
}

TEST_CASE("an agent is provisioned into a password account and arrives") {
  Rig rig;
  rig.start_provisioner();
  const PasswordBroker broker(rig, "loose");
  rig.apply(password_account(rig, "  credentials: password\n  deviceCredentialsTight: LOOSE\n  connector: {plugin: " +
                               broker.database().string() + "}\n"));
  const Credentials gateway = rig.request("gw", kId);
  const auto agent = rig.agent(gateway);
  agent->start();
  INFO(agent->log() << rig.provisioner_log() << broker.log());
  CHECK(eventually([&] { return agent->provisioned(); }, 40s));
  CHECK(eventually([&] { return rig.status("gw") == "COMPLETED"; }));
}

TEST_CASE("a program that does not take them yet holds the configuration back, and the operator sees why") {
  Rig rig;
  rig.start_provisioner();
  const auto script = rig.folder() / "hand-over";
  const auto seen = rig.folder() / "seen";
  keep(write_file(script, "#!/bin/sh\ncat >> " + seen.string() + "\ntest -e " + (rig.folder() / "open").string() +
                              " || { echo realm is locked >&2; exit 75; }\n", 0755));
  rig.apply(password_account(rig, "  credentials: password\n  connector: {command: [" + script.string() + "]}\n",
                      "  attemptTimeout: 60s\n"));
  const Credentials gateway = rig.request("gw", kId);
  RawDevice device(rig, gateway);
  device.join();
  std::string request_id = begin(device);
  CHECK(eventually([&] { return rig.request_field("gw", "lastError").find("realm is locked") != std::string::npos; }));
  CHECK(count(device, protocol::kAppConf) == 0);

  // a killed provisioner takes it up again, with the same credentials
  rig.kill_provisioner();
  rig.start_provisioner();
  CHECK(eventually([&] {
    const std::string text = read_file(seen).value_or("");
    return std::count(text.begin(), text.end(), '\n') >= 3;
  }));
  keep(write_file(rig.folder() / "open", ""));
  for (int i = 0; i < 20 && !device.client().connect(); ++i) device.client().listen(Millis(200));
  device.join();
  request_id = device.say(device.hello());
  const Asked configuration = device.await(protocol::kAppConf);
  const Told told = told_by(configuration);
  std::istringstream lines(read_file(seen).value());
  for (std::string line; std::getline(lines, line);) {
    CHECK(line.find("\"clientId\":\"" + std::string(kId) + "\"") != std::string::npos);
    CHECK(line.find("\"password\":\"" + told.password + "\"") != std::string::npos);
  }
  device.reply(configuration);
  CHECK(device.recorded(request_id));
  CHECK(rig.request_field("gw", "lastError").empty());
}

TEST_CASE("an attempt that fails on its way leaves the device its login at the owner's broker, and the next one replaces it") {
  Rig rig;
  rig.start_provisioner();
  const PasswordBroker broker(rig, "strict");
  rig.apply(password_account(rig, "  credentials: password\n  connector: {plugin: " + broker.database().string() + "}\n"));
  const Credentials gateway = rig.request("gw", kId);
  RawDevice device(rig, gateway);
  const auto provision = [&](std::int32_t code) {
    device.join();
    const std::string request_id = device.say(device.hello());
    device.reply(device.await(protocol::kAppCert));
    device.reply(device.await(protocol::kAppKeysV1), code);
    if (code != 200) return Told{};
    const Asked configuration = device.await(protocol::kAppConf);
    device.reply(configuration);
    REQUIRE(device.recorded(request_id));
    return told_by(configuration);
  };
  const Told first = provision(200);
  CHECK(broker.connect(kId, first.username, first.password) == 0);
  const auto come_anew = [&] {
    device.client().disconnect();
    device.client().forget();
    device.new_nonce();
  };
  expect_ok(rig.cli({"retry", "request", "gw"}), "retry");
  come_anew();
  provision(400);
  CHECK(eventually([&] { return rig.status("gw") == "FAILED"; }));
  CHECK(broker.connect(kId, first.username, first.password) == 0);
  come_anew();
  const Told second = provision(200);
  CHECK(broker.connect(kId, second.username, second.password) == 0);
  CHECK(broker.connect(kId, first.username, first.password) != 0);

  // it is the owner's device now: only that it may be provisioned is what disabling takes away
  expect_ok(rig.cli({"disable", "request", "gw"}), "disable");
  CHECK(broker.connect(kId, second.username, second.password) == 0);
  expect_ok(rig.cli({"delete", "request", "gw"}), "delete");
  CHECK(eventually([&] { return broker.connect(kId, second.username, second.password) != 0; }));
  CHECK(eventually([&] { return rig.sql("SELECT count(*) FROM given_login") == "0"; }));
  CHECK(holds(rig.cli({"audit", "--kind", "take-back"}).output, "login " + std::string(kId)));
}

TEST_CASE("a login is taken back in the end although its program does not at first and the provisioner is killed") {
  Rig rig;
  rig.start_provisioner();
  const auto script = rig.folder() / "connector";
  const auto seen = rig.folder() / "seen";
  keep(write_file(script, "#!/bin/sh\nread line; echo \"$line\" >> " + seen.string() +
                              "\ncase \"$line\" in *'\"action\":\"remove\"'*) test -e " + (rig.folder() / "open").string() +
                              " || { echo realm is locked >&2; exit 75; };; esac\n", 0755));
  rig.apply(password_account(rig, "  credentials: password\n  connector: {command: [" + script.string() + "]}\n"));
  RawDevice device(rig, rig.request("gw", kId));
  device.join();
  const std::string request_id = begin(device);
  device.reply(device.await(protocol::kAppConf));
  REQUIRE(device.recorded(request_id));
  expect_ok(rig.cli({"delete", "request", "gw"}), "delete");
  const auto removals = [&] {
    std::istringstream lines(read_file(seen).value_or(""));
    std::size_t count = 0;
    for (std::string line; std::getline(lines, line);) {
      if (!holds(line, "\"action\":\"remove\"")) continue;
      CHECK(holds(line, "\"clientId\":\"" + std::string(kId) + "\",\"username\":\"" + std::string(kId) + "\""));
      ++count;
    }
    return count;
  };
  CHECK(eventually([&] { return removals() >= 1; }));
  CHECK(eventually([&] { return holds(rig.cli({"audit", "--kind", "take-back"}).output, "realm is locked"); }));
  rig.kill_provisioner();
  const std::size_t before = removals();
  rig.start_provisioner();
  CHECK(eventually([&] { return removals() > before; }));
  CHECK(rig.sql("SELECT count(*) FROM given_login WHERE given_up = 1") == "1");
  keep(write_file(rig.folder() / "open", ""));
  CHECK(eventually([&] { return rig.sql("SELECT count(*) FROM given_login") == "0"; }, 30s));
  CHECK(holds(rig.cli({"audit", "--kind", "take-back"}).output, "taken back"));
}

TEST_CASE("a program that never takes them is the attempt's failure") {
  Rig rig;
  rig.start_provisioner();
  rig.apply(password_account(rig, "  credentials: password\n  connector: {command: [/bin/false]}\n", "  attemptTimeout: 6s\n"));
  const Credentials gateway = rig.request("gw", kId);
  RawDevice device(rig, gateway);
  device.join();
  begin(device);
  CHECK(eventually([&] { return rig.status("gw") == "FAILED"; }, 30s));
  CHECK(rig.request_field("gw", "lastError").find("/bin/false ended with exit code 1") != std::string::npos);
  CHECK(count(device, protocol::kAppConf) == 0);
  rig.provisioner().stop();
  CHECK(rig.sql("SELECT count(*) FROM attempt WHERE owner_password <> ''") == "0");
}
