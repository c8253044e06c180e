// What operators change bites live connections within a second, who guesses is kept out, and the audit tells of it all.
#include <chrono>

#include <doctest/doctest.h>

#include "tests/system/raw_device.hpp"
#include "tests/system/rig.hpp"

using namespace fleet;
using namespace fleet::test;

namespace {

// A second, and another for a loaded machine.
constexpr Millis kPatience{2000};

void cut_off_within_a_second(RawDevice& device, const std::function<void()>& change) {
  change();
  const auto begin = std::chrono::steady_clock::now();
  CHECK(device.client().until([&] { return !device.client().connected(); }, kPatience));
  const auto took = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - begin);
  MESSAGE("cut off after " << took.count() << " ms");
  CHECK_FALSE(device.client().connect().has_value());
}

std::string audit(const Rig& rig, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(), "audit");
  return expect_ok(rig.cli(arguments), "audit").output;
}

bool audit_says(const Rig& rig, const std::string& client_id, const std::string& text) {
  return eventually([&] { return holds(audit(rig, {"--client-id", client_id}), text); });
}

}  // namespace

TEST_CASE("disabling and deleting a request end its device's connection") {
  Rig& rig = installation();
  RawDevice disabled(rig, rig.request("cut-disabled", "02FC41000001"));
  RawDevice deleted(rig, rig.request("cut-deleted", "02FC41000002"));
  disabled.join();
  deleted.join();
  cut_off_within_a_second(disabled, [&] { expect_ok(rig.cli({"disable", "request", "cut-disabled"}), "disable"); });
  cut_off_within_a_second(deleted, [&] { expect_ok(rig.cli({"delete", "request", "cut-deleted"}), "delete"); });
  CHECK(audit_says(rig, "02FC41000001", "request cut-disabled"));
  CHECK(audit_says(rig, "02FC41000002", "request cut-deleted"));
  CHECK(holds(audit(rig, {"--kind", "delete"}), "uid "));
}

TEST_CASE("the end of a request's time ends its device's connection") {
  Rig& rig = installation();
  // sweeps, and with them this, begin five seconds after the start
  const WallTime expires = wall_now() + Seconds(8);
  RawDevice device(rig, rig.request("cut-expired", "02FC41000003", "  expiresOn: " + format_time(expires) + "\n"));
  device.join();
  cut_off_within_a_second(device, [&] {
    // whole seconds are written: it is no later than `expires`
    device.client().until([&] { return !device.client().connected() || wall_now() >= expires; }, Millis(20'000));
  });
  CHECK(audit_says(rig, "02FC41000003", "expiresOn has passed"));
}

TEST_CASE("wrong activation keys in a row lock their device out for a while; then the right one is taken") {
  Rig& rig = installation();
  RawDevice device(rig, rig.request("key-guess", "02FC41000004", "  generateActivationKey: true\n"));
  const auto guess = [&] {
    if (!device.client().connected()) device.join();
    protocol::Prov hello = device.hello();
    hello.activation_key = Secret("NOTTHEKEYNOTTHEKEYNOTTHEKEY23456");
    return device.answer(device.say(hello), Millis(2000));
  };
  // the lockout ends the connection, and may do so before the answer is read
  std::optional<protocol::Reply> refused;
  int wrong = 0;
  for (int i = 0; i < 20 && !(refused && refused->code == 429); ++i) {
    refused = guess();
    if (refused && refused->code == 401) ++wrong;
  }
  REQUIRE(refused.has_value());
  CHECK(refused->code == 429);
  CHECK(wrong >= 4);
  REQUIRE(refused->retry_after_s.has_value());
  CHECK(*refused->retry_after_s >= 1);
  CHECK(*refused->retry_after_s <= 300);
  CHECK(eventually([&] { return holds(rig.describe("key-guess"), "wrong secrets in a row"); }));
  CHECK(audit_says(rig, "02FC41000004", "locked"));
  CHECK(rig.sql("SELECT count(*) FROM attempt a JOIN request r ON r.id = a.request_id WHERE r.name = 'key-guess'") == "0");
  if (!device.client().connected()) device.join();
  CHECK(eventually([&] {
    if (!device.client().connected()) device.join();
    return device.say_and_hear(device.hello()) == 202;
  }, 30s));
  CHECK(device.obey());
  CHECK(rig.status("key-guess") == "COMPLETED");
}

TEST_CASE("brute force against a device is in its timeline, the log and the audit, and the device gets in meanwhile") {
  Rig& rig = installation();
  const Credentials gateway = rig.request("brute", "02FC41000005");
  RawDevice device(rig, gateway);
  const auto guess = [&](const std::string& client_id, const std::string& address) {
    return run({"mosquitto_pub", "-h", "localhost", "-p", std::to_string(rig.provision_port()), "--cafile",
                rig.root_certificate().string(), "-i", client_id, "-u", gateway.username, "-P", "wrong", "-A", address,
                "-t", "x", "-m", "x", "-q", "1"})
        .exit_code;
  };
  for (int host = 2; host < 7; ++host) {
    for (int i = 0; i < 6; ++i) CHECK(guess("02FC41000005", "127.0.0." + std::to_string(host)) == 5);
    if (host == 4) device.join();
  }
  for (int i = 0; i < 12; ++i) guess("stranger-" + std::to_string(i), "127.0.0.1");
  CHECK(device.obey());
  CHECK(rig.status("brute") == "COMPLETED");
  CHECK(eventually([&] { return holds(rig.describe("brute"), "locked out by the broker: 5 wrong tries in a row"); }));
  CHECK(audit_says(rig, "02FC41000005", "5 wrong tries in a row, not listened to for 1s"));
  CHECK(holds(rig.provisioner_log(), "locked out"));
  CHECK(eventually([&] { return holds(audit(rig, {"--kind", "refused"}), "stranger-"); }));
  const std::string lines = audit(rig, {"--since", "1h", "--client-id", "02FC41000005", "--kind", "locked", "-o", "json"});
  CHECK(holds(lines, "\"kind\":\"locked\""));
  CHECK_FALSE(holds(lines, "refused"));
  CHECK(holds(audit(rig, {"--kind", "apply"}), "created: ProvisionRequest brute"));
  CHECK(holds(audit(rig, {"--kind", "start"}), "signing certificate"));
}
