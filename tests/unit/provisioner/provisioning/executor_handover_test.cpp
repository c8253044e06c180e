// Password accounts: owner credentials made per attempt, which the owner's broker knows before the device does.
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "core/protocol/esf_xml.hpp"
#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

// A world whose account has passwords.
struct Passwords {
  Passwords() {
    world.change_account([](Account& account) {
      account.credentials = OwnerCredentials::kPassword;
      account.connector.database = "/owner.db";
    });
  }
  Attempt attempt() { return world.attempts("gw1").back(); }
  World world;
};

// A property of the owner connection in a CONF-V1.
protocol::Property property(const Heard& configuration, const std::string& name) {
  const auto components = protocol::parse_xml(*configuration.payload.body);
  REQUIRE(components.has_value());
  for (const auto& component : *components) {
    if (component.pid != protocol::kMqttTransportPid) continue;
    for (const auto& one : component.properties) {
      if (one.name == name) return one;
    }
  }
  FAIL("no property ", name);
  return {};
}

}  // namespace

TEST_CASE("A device of a password account gets no certificate, and its configuration only when its broker knows it") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  const auto messages = t.world.hello(device, kNonce1);
  REQUIRE(line_of(messages) == "202 CERT-V1 KEYS-V1");
  CHECK(t.world.issued == 0);
  const Attempt attempt = t.attempt();
  CHECK(attempt.handover == Handover::kPending);
  CHECK(attempt.owner_username == "GW1");
  CHECK(attempt.owner_password.reveal().size() == 32);
  t.world.reply(device, find(messages, "CERT-V1"));
  CHECK(t.world.to_hand_over.empty());
  t.world.reply(device, find(messages, "KEYS-V1"));
  CHECK(t.world.to_hand_over == std::vector<std::int64_t>{attempt.id});
  CHECK(t.world.request("gw1").status == JobStatus::kRunning);

  const auto released = t.world.hand_over("gw1");
  REQUIRE(line_of(released) == "CONF-V1");
  CHECK(property(released[0], "username").values == std::vector<std::string>{"GW1"});
  CHECK(property(released[0], "password").type == protocol::PropertyType::kPassword);
  CHECK(property(released[0], "password").values == std::vector<std::string>{std::string(attempt.owner_password.reveal())});
  CHECK(t.world.request("gw1").status == JobStatus::kConfUpdating);
  CHECK(t.world.hand_over("gw1").empty());  // twice is once
  CHECK(line_of(t.world.reply(device, released[0])) == "200");
  CHECK(t.attempt().owner_password.empty());
  CHECK(t.attempt().owner_username == "GW1");
  for (const Step& step : t.world.steps(attempt.id)) CHECK(step.payload.empty());
  for (const std::string& line : t.world.timeline("gw1")) {
    CHECK(line.find(attempt.owner_password.reveal()) == std::string::npos);
  }
}

TEST_CASE("Nothing sends a configuration whose credentials the owner's broker does not know") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  const auto messages = t.world.hello(device, kNonce1);
  t.world.accept_all(device, messages);
  for (int i = 0; i < 4; ++i) {
    t.world.now += Seconds(20);
    CHECK(t.world.sweep().empty());
    CHECK(line_of(t.world.hello(device, kNonce1)) == "202");
    t.world.reopen();
  }
  std::vector<Attempt> pending;
  t.world.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(pending, tx.attempts_to_hand_over());
    return {};
  });
  REQUIRE(pending.size() == 1);  // what a restart takes up
  CHECK(pending[0].owner_password == t.attempt().owner_password);
  CHECK(line_of(t.world.hand_over("gw1")) == "CONF-V1");
}

TEST_CASE("The owner's broker is told last: when required packages are installed, whatever optional ones do") {
  Passwords t;
  t.world.set_packages({package("app"), package("extra", PackageSource::kUrl, false)});
  const Device device = t.world.add_device("GW1");
  const auto messages = t.world.hello(device, kNonce1);
  const auto packages = all_of(messages, "DEPLOY-V2");
  REQUIRE(packages.size() == 2);
  t.world.reply(device, find(messages, "CERT-V1"));
  t.world.reply(device, find(messages, "KEYS-V1"));
  t.world.reply(device, packages[0]);
  CHECK(t.world.to_hand_over.empty());
  CHECK(t.world.install(device, packages[0]).empty());
  CHECK(t.world.request("gw1").status == JobStatus::kAppsInstalled);
  CHECK(t.world.to_hand_over == std::vector<std::int64_t>{t.attempt().id});
  CHECK(line_of(t.world.hand_over("gw1")) == "CONF-V1");
}

TEST_CASE("An attempt that fails on its way to the configuration has asked nothing of the owner's broker") {
  for (const std::string refused : {"CERT-V1", "KEYS-V1", "DEPLOY-V2", "installation"}) {
    CAPTURE(refused);
    Passwords t;
    t.world.set_packages({package("app")});
    const Device device = t.world.add_device("GW1");
    for (const Heard& message : t.world.hello(device, kNonce1)) {
      if (message.app == "PROV-V1") continue;
      t.world.reply(device, message, message.app == refused ? 400 : 200);
      if (message.app == "DEPLOY-V2" && refused == "installation") {
        t.world.notify(device, message, JobNotice::Phase::kInstall, JobNotice::State::kFailed, 0, "no room");
      }
    }
    CHECK(t.attempt().state == AttemptState::kFailed);
    CHECK(t.world.to_hand_over.empty());
    CHECK(t.attempt().owner_password.empty());
  }
}

TEST_CASE("A device that is silent is what an attempt fails by, although its credentials are not handed over either") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  const auto messages = t.world.hello(device, kNonce1);
  t.world.reply(device, find(messages, "CERT-V1"));
  t.world.now += Seconds(300);
  t.world.sweep();
  CHECK(t.attempt().error == "nothing moved for 5m: the device owes its reply to trusted-certificate");
}

TEST_CASE("An optional package that is not done does not make a broker's silence the device's") {
  Passwords t;
  t.world.set_packages({package("extra", PackageSource::kUrl, false)});
  const Device device = t.world.add_device("GW1");
  const auto messages = t.world.hello(device, kNonce1);
  t.world.now += Seconds(200);
  t.world.accept_all(device, messages);
  // all of the time is the broker's, from now on
  t.world.now += Seconds(299);
  t.world.sweep();
  CHECK(t.attempt().state == AttemptState::kOpen);
  t.world.now += Seconds(1);
  t.world.sweep();
  CHECK(t.attempt().error == "the owner's broker has not taken the device's credentials for 5m");
}

TEST_CASE("A broker that does not take the credentials is shown on the request, and in the end is the failure's cause") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  t.world.accept_all(device, t.world.hello(device, kNonce1));
  const auto lines = t.world.timeline("gw1").size();
  for (int i = 0; i < 5; ++i) {
    t.world.now += Seconds(50);
    CHECK(t.world.fail_to_hand_over("gw1", "/usr/bin/hand-over ended with exit code 1: no such realm").empty());
    t.world.sweep();
  }
  CHECK(t.world.timeline("gw1").size() == lines + 1);
  CHECK(t.world.request("gw1").last_error ==
        "the owner's broker does not take the device's credentials, which is tried again: /usr/bin/hand-over ended with "
        "exit code 1: no such realm");
  CHECK(t.world.request("gw1").status == JobStatus::kRunning);
  t.world.now += Seconds(50);
  t.world.sweep();
  CHECK(t.world.request("gw1").status == JobStatus::kFailed);
  CHECK(t.world.request("gw1").last_error.starts_with(
      "the owner's broker has not taken the device's credentials for 5m: /usr/bin/hand-over ended with exit code 1: no "
      "such realm"));
  CHECK(t.attempt().owner_password.empty());
  CHECK(t.world.hand_over("gw1").empty());  // too late
  CHECK(t.world.fail_to_hand_over("gw1", "late").empty());
}

TEST_CASE("A broker that takes them at last clears what was shown") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  t.world.accept_all(device, t.world.hello(device, kNonce1));
  t.world.fail_to_hand_over("gw1", "try again");
  CHECK(!t.world.request("gw1").last_error.empty());
  CHECK(line_of(t.world.hand_over("gw1")) == "CONF-V1");
  CHECK(t.world.request("gw1").last_error.empty());
}

TEST_CASE("Each attempt has credentials of its own") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  t.world.hello(device, kNonce1);
  const Secret first = t.attempt().owner_password;
  t.world.hello(device, kNonce1);
  CHECK(t.attempt().owner_password == first);
  t.world.hello(device, kNonce2);
  CHECK(t.world.attempts("gw1")[0].owner_password.empty());
  CHECK(!(t.attempt().owner_password == first));
  t.world.set_enabled("gw1", false);
  CHECK(t.attempt().owner_password.empty());
  CHECK(t.attempt().handover == Handover::kNone);
}

TEST_CASE("The operator's own username in the owner connection is the one that is handed over") {
  Passwords t;
  t.world.change_profile([](Profile& profile) {
    profile.configuration.push_back({std::string(protocol::kMqttTransportPid),
                                     {{"username", protocol::PropertyType::kString, false, false, {"plant-${clientId}"}}}});
  });
  const Device device = t.world.add_device("GW1");
  t.world.accept_all(device, t.world.hello(device, kNonce1));
  CHECK(t.attempt().owner_username == "plant-GW1");
  const auto released = t.world.hand_over("gw1");
  CHECK(property(released.at(0), "username").values == std::vector<std::string>{"plant-GW1"});
}

TEST_CASE("A profile that asks for a certificate gets one in a password account too, also without a signing request") {
  Passwords t;
  t.world.change_profile([](Profile& profile) { profile.wants_certificate = true; });
  const Device device = t.world.add_device("GW1");
  CHECK(line_of(t.world.hello(device, kNonce1)) == "202 CERT-V1 KEYS-V2 KEYS-V1");
  CHECK(t.world.issued == 1);
  Hello hello = device.hello(kNonce2, "h");
  hello.csr_der.reset();
  const auto messages = t.world.hello(device, hello);
  REQUIRE(line_of(messages) == "202 CERT-V1 KEYS-V1");
  const Secret password = t.attempt().owner_password;
  t.world.reply(device, find(messages, "CERT-V1"));
  const auto rest = t.world.bring_request(device, find(messages, "KEYS-V1"), device.request_pem());
  REQUIRE(line_of(rest) == "KEYS-V2 KEYS-V1");
  CHECK(t.world.to_hand_over.empty());  // there was no configuration yet that could wait, and now it waits for more
  t.world.accept_all(device, rest);
  CHECK(t.world.to_hand_over == std::vector<std::int64_t>{t.attempt().id});
  const auto released = t.world.hand_over("gw1");
  REQUIRE(line_of(released) == "CONF-V1");
  CHECK(property(released[0], "password").values.at(0) == password.reveal());
}

TEST_CASE("Without a certificate nobody asks for a signing request") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  Hello hello = device.hello(kNonce1, "h");
  hello.csr_der.reset();
  const auto messages = t.world.hello(device, hello);
  CHECK(line_of(messages) == "202 CERT-V1 KEYS-V1");
  t.world.accept_all(device, messages);
  CHECK(line_of(t.world.hand_over("gw1")) == "CONF-V1");
}

TEST_CASE("An account that changes its credentials changes nothing for an attempt that has begun") {
  World world;
  const Device device = world.add_device("GW1");
  Hello hello = device.hello(kNonce1, "h");
  hello.csr_der.reset();
  const auto messages = world.hello(device, hello);
  world.change_account([](Account& account) { account.credentials = OwnerCredentials::kPassword; });
  const auto rest = world.bring_request(device, find(messages, "KEYS-V1"), device.request_pem());
  CHECK(line_of(rest) == "KEYS-V2 KEYS-V1 CONF-V1");
  CHECK(world.issued == 1);
}

TEST_CASE("A login stays the one that its attempt began with, whatever the profile says by then") {
  Passwords t;
  t.world.change_profile([](Profile& profile) { profile.wants_certificate = true; });
  const Device device = t.world.add_device("GW1");
  Hello hello = device.hello(kNonce1, "h");
  hello.csr_der.reset();
  const auto messages = t.world.hello(device, hello);
  t.world.change_profile([](Profile& profile) {
    protocol::Property username;
    username.name = "username";
    username.values = {"later"};
    profile.configuration.push_back({std::string(protocol::kMqttTransportPid), {username}});
  });
  const auto rest = t.world.bring_request(device, find(messages, "KEYS-V1"), device.request_pem());
  t.world.reply(device, find(messages, "CERT-V1"));
  t.world.accept_all(device, rest);
  CHECK(property(find(t.world.hand_over("gw1"), "CONF-V1"), "username").values == std::vector<std::string>{"GW1"});
}

TEST_CASE("An attempt whose account has no passwords any more fails rather than give its login to another") {
  Passwords t;
  t.world.change_profile([](Profile& profile) { profile.wants_certificate = true; });
  const Device device = t.world.add_device("GW1");
  Hello hello = device.hello(kNonce1, "h");
  hello.csr_der.reset();
  const auto messages = t.world.hello(device, hello);
  CHECK(t.attempt().owner_account == "plant");
  t.world.change_account([](Account& account) { account.credentials = OwnerCredentials::kX509; });
  CHECK(t.world.bring_request(device, find(messages, "KEYS-V1"), device.request_pem()).empty());
  CHECK(t.attempt().state == AttemptState::kFailed);
  CHECK(t.attempt().error == "account plant has no passwords any more since the attempt began");
}

TEST_CASE("A handing over that is void fails its attempt, once") {
  Passwords t;
  const Device device = t.world.add_device("GW1");
  t.world.hello(device, kNonce1);
  const std::int64_t id = t.attempt().id;
  for (int i = 0; i < 2; ++i) {
    t.world.run([&](Transaction& tx) -> Result<void> {
      TRY(t.world.executor->on_handover_void(tx, id, "the account has changed", t.world.now));
      return {};
    });
  }
  CHECK(t.attempt().state == AttemptState::kFailed);
  CHECK(t.attempt().owner_password.empty());
  CHECK(t.world.request("gw1").failures == 1);
}

TEST_CASE("What the owner's broker was told of a device is given up with its request, and nothing else is") {
  Passwords t;
  t.world.add_device("GW1");
  t.world.add_device("GW2");
  t.world.run([&](Transaction& tx) -> Result<void> {
    TRY(tx.keep_login("plant", "GW1", "GW1"));
    TRY(tx.keep_login("plant", "GW1", "earlier"));
    TRY(tx.keep_login("plant", "GW2", "GW2"));
    return {};
  });
  t.world.set_enabled("gw2", false);
  CHECK(t.world.to_take_back.empty());
  t.world.remove("gw1");
  REQUIRE(t.world.to_take_back.size() == 2);
  t.world.reopen();
  std::vector<std::int64_t> left;
  t.world.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(left, tx.logins_given_up());
    return {};
  });
  CHECK(left == t.world.to_take_back);
  t.world.remove("gw2");
  CHECK(t.world.to_take_back.size() == 3);
}

TEST_CASE("An account with certificates hands nothing over") {
  World world;
  const Device device = world.add_device("GW1");
  CHECK(line_of(world.hello(device, kNonce1)) == "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
  CHECK(world.to_hand_over.empty());
  CHECK(world.attempts("gw1")[0].handover == Handover::kNone);
  CHECK(world.hand_over("gw1").empty());
}
