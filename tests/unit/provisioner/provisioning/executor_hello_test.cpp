// Hellos: what opens, repeats, supersedes and is refused (edc §4 "Duplicates", "Counting", §4.1, §4.4).
#include <string>

#include <doctest/doctest.h>

#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"
#include "core/protocol/message.hpp"
#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

constexpr Millis kDay{86'400'000};

void give_activation_key(World& world, const Device& device, const std::string& name, const std::string& key) {
  world.change_request(name, [&](ProvisionRequest& request) {
    request.activation_key_verifier =
        crypto::secret_verifier(world.verifier_key, kActivationKeyPurpose, device.client_id, key);
  });
}

crypto::Certificate leaf_of(const std::vector<Heard>& messages) {
  const auto content = protocol::parse_device_certificate(find(messages, "KEYS-V2").payload).value();
  return crypto::Certificate::from_pem(content.chain_pem.at(0)).value();
}

}  // namespace

TEST_CASE("A hello opens an attempt and all its steps follow, the certificates first and the configuration last") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1, "h-1");
  CHECK(line_of(messages) == "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
  for (const Heard& message : messages) {
    CHECK(message.client_id == "GW1");
    CHECK(message.nonce == kNonce1);
  }
  CHECK(messages[0].id == "h-1");
  CHECK(leaf_of(messages).subject_cn() == "GW1");
  CHECK(leaf_of(messages).public_key() == device.key.public_key());
  const auto configurations = protocol::parse_xml(*find(messages, "CONF-V1").payload.body).value();
  REQUIRE(configurations.size() == 2);
  CHECK(configurations[0].pid == protocol::kMqttTransportPid);
  CHECK(configurations[1].value("name") == "GW1");
  const ProvisionRequest request = world.request("gw1");
  CHECK(request.status == JobStatus::kStarted);
  CHECK(request.facts.at("serial_number") == "4711");
  const auto attempts = world.attempts("gw1");
  REQUIRE(attempts.size() == 1);
  CHECK(attempts[0].due_at == world.now + kResendAfter);
  CHECK(world.timeline("gw1").front() == "hello: hello accepted (first-boot): attempt 1 begins");
}

TEST_CASE("A device that wants no answers gets its steps in silence, without a nonce if it sent none") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, "", "");
  CHECK(line_of(messages) == "CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
  for (const Heard& message : messages) CHECK(!message.nonce);
  CHECK(line_of(world.accept_all(device, messages)) == "");
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
}

TEST_CASE("The same hello a hundred times is one attempt with the same messages to the byte") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, kNonce1);
  for (int i = 0; i < 99; ++i) {
    world.now += Seconds(2);
    const auto again = world.hello(device, kNonce1);
    REQUIRE(line_of(again) == line_of(first));
    for (std::size_t k = 1; k < first.size(); ++k) CHECK(again[k].raw == first[k].raw);
  }
  REQUIRE(world.attempts("gw1").size() == 1);
  CHECK(world.request("gw1").failures == 0);
  CHECK(world.issued == 1);
  CHECK(world.steps(world.attempts("gw1")[0].id)[0].send_count == 100);
  CHECK(world.timeline("gw1").size() == 4);
}

TEST_CASE("Three and five of the same hello within two seconds bring an answer and all that is unanswered each time") {
  for (const int hellos : {3, 5}) {
    for (const Millis pause : {Millis(0), Millis(300)}) {
      World world;
      const Device device = world.add_device("GW1");
      const auto first = world.hello(device, kNonce1);
      REQUIRE(line_of(first) == "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
      world.reply(device, find(first, "CERT-V1"));
      for (int i = 1; i < hellos; ++i) {
        world.now += pause;
        CHECK(line_of(world.hello(device, kNonce1)) == "202 KEYS-V2 KEYS-V1 CONF-V1");
      }
      CHECK(world.attempts("gw1").size() == 1);
    }
  }
}

TEST_CASE("A flood of the same hello is answered each time, and brings the rest twenty times, then every two seconds") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, kNonce1);
  for (int i = 0; i < 20; ++i) {
    world.now += Millis(1);
    REQUIRE(line_of(world.hello(device, kNonce1)) == line_of(first));
  }
  for (int i = 0; i < 1000; ++i) {
    world.now += Millis(1);
    REQUIRE(line_of(world.hello(device, kNonce1)) == "202");
  }
  CHECK(world.steps(world.attempts("gw1")[0].id)[0].send_count == 21);
  CHECK(world.timeline("gw1").size() == 4);
  world.now += Seconds(2);
  CHECK(line_of(world.hello(device, kNonce1)) == line_of(first));
  CHECK(line_of(world.hello(device, kNonce1)) == "202");
}

TEST_CASE("A repeated hello is answered under its own id and brings only what is unanswered") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, kNonce1, "h-1");
  world.reply(device, find(first, "CERT-V1"));
  world.reply(device, find(first, "KEYS-V1"));
  const auto again = world.hello(device, kNonce1, "h-2");
  CHECK(line_of(again) == "202 KEYS-V2 CONF-V1");
  CHECK(again[0].id == "h-2");
  CHECK(find(world.reply(device, find(first, "CONF-V1")), "PROV-V1").id == "h-2");
}

TEST_CASE("A repeated hello does not put the deadline off") {
  World world;
  const Device device = world.add_device("GW1");
  world.hello(device, kNonce1);
  for (int i = 0; i < 30; ++i) {
    world.now += Seconds(10);
    world.hello(device, kNonce1);
  }
  world.sweep();
  CHECK(world.request("gw1").status == JobStatus::kFailed);
}

TEST_CASE("A hello with another nonce starts over: old ids are void, the certificate is used again, and it counts") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, kNonce1);
  const auto second = world.hello(device, kNonce2);
  CHECK(line_of(second) == "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
  CHECK(find(second, "CONF-V1").id != find(first, "CONF-V1").id);
  CHECK(leaf_of(second).serial() == leaf_of(first).serial());
  CHECK(world.request("gw1").failures == 1);
  const auto attempts = world.attempts("gw1");
  REQUIRE(attempts.size() == 2);
  CHECK(attempts[0].state == AttemptState::kSuperseded);
  CHECK(!attempts[0].due_at);
  CHECK(attempts[1].number == 2);
  CHECK(world.steps(attempts[0].id)[0].payload.empty());

  CHECK(line_of(world.reply(device, find(first, "CONF-V1"))) == "");
  CHECK(world.request("gw1").status == JobStatus::kStarted);
  CHECK(line_of(world.accept_all(device, second)) == "200");
}

TEST_CASE("A hello without a nonce always starts over") {
  World world;
  const Device device = world.add_device("GW1");
  world.hello(device, "");
  world.hello(device, "");
  CHECK(world.attempts("gw1").size() == 2);
  CHECK(world.request("gw1").failures == 1);
}

TEST_CASE("Starting over too often abandons the request") {
  World world;
  const Device device = world.add_device("GW1");
  world.change_request("gw1", [](ProvisionRequest& request) { request.retry_max_attempts = 2; });
  CHECK(line_of(world.hello(device, kNonce1)).starts_with("202"));
  CHECK(line_of(world.hello(device, kNonce2)).starts_with("202"));
  const auto gone = world.hello(device, kNonce3);
  CHECK(line_of(gone) == "410");
  CHECK(gone[0].nonce == kNonce3);
  const ProvisionRequest request = world.request("gw1");
  CHECK(request.status == JobStatus::kAbandoned);
  CHECK(request.failures == 2);
  CHECK(request.last_error.find("provisioner retry request gw1") != std::string::npos);
  CHECK(world.attempts("gw1").size() == 2);
  CHECK(line_of(world.hello(device, kNonce1)) == "410");
}

TEST_CASE("Without a limit of attempts a device in a loop is slowed down, and its history stays bounded") {
  World world;
  const Device device = world.add_device("GW1");
  world.change_request("gw1", [](ProvisionRequest& request) { request.retry_max_attempts = -1; });
  int refused = 0;
  for (int i = 0; i < 60; ++i) {
    const auto messages = world.hello(device, "nonce-nonce-" + std::to_string(1000 + i));
    if (line_of(messages) != "429") continue;
    CHECK(messages[0].retry_after == 10);
    ++refused;
    world.now += Seconds(1);
  }
  CHECK(refused == 50);
  CHECK(world.attempts("gw1").size() == 10);
  CHECK(world.timeline("gw1").back() == "refused: hello refused: 9 attempts have failed, the last began just now");
  CHECK(world.request("gw1").status == JobStatus::kStarted);
}

TEST_CASE("An unknown client id and wrong credentials get the same answer") {
  World world;
  Device device = world.add_device("GW1");
  Device stranger = device;
  stranger.client_id = "GW2";
  const auto unknown = world.hello(stranger, kNonce1);
  CHECK(line_of(unknown) == "401");
  CHECK(unknown[0].nonce == kNonce1);
  const Device right = device;
  device.password = "wrong";
  const auto wrong_password = world.hello(device, kNonce1);
  device = right;
  device.username = "wrong";
  const auto wrong_username = world.hello(device, kNonce1);
  CHECK(line_of(wrong_password) == "401");
  CHECK(line_of(wrong_username) == "401");
  CHECK(wrong_password[0].error == unknown[0].error);
  CHECK(wrong_username[0].error == unknown[0].error);
  CHECK(world.attempts("gw1").empty());
  CHECK(world.request("gw1").failures == 0);
  CHECK(world.timeline("gw1").back() == "refused: hello refused: wrong username or password");
}

TEST_CASE("Another device's password does not fit") {
  World world;
  const Device one = world.add_device("GW1");
  Device two = world.add_device("GW2");
  two.password = one.password;
  CHECK(line_of(world.hello(two, kNonce1)) == "401");
}

TEST_CASE("A request with an activation key wants it once, and its device still gets the final answer") {
  World world;
  const Device device = world.add_device("GW1");
  give_activation_key(world, device, "gw1", "the-key");
  CHECK(line_of(world.hello(device, kNonce1)) == "401");
  Hello hello = device.hello(kNonce1, "h");
  hello.activation_key = Secret("not-the-key");
  CHECK(line_of(world.hello(device, hello)) == "401");
  hello.activation_key = Secret("");
  CHECK(line_of(world.hello(device, hello)) == "401");
  hello.activation_key = Secret("the-key");
  const auto messages = world.hello(device, hello);
  CHECK(!world.request("gw1").activation_key_used);
  CHECK(line_of(world.accept_all(device, messages)) == "200");
  CHECK(world.request("gw1").activation_key_used);
  CHECK(line_of(world.hello(device, hello)) == "200");
  hello.nonce = kNonce2;
  CHECK(line_of(world.hello(device, hello)) == "409");
  world.retry("gw1");
  CHECK(!world.request("gw1").activation_key_used);
  CHECK(line_of(world.hello(device, hello)).starts_with("202"));
}

TEST_CASE("What the request does not allow is refused without an attempt") {
  World world;
  const Device device = world.add_device("GW1");
  const auto answer_if = [&](const std::function<void(ProvisionRequest&)>& change) {
    const ProvisionRequest before = world.request("gw1");
    world.change_request("gw1", change);
    const auto messages = world.hello(device, kNonce1);
    world.change_request("gw1", [&](ProvisionRequest& request) {
      const auto optlock = request.optlock;
      request = before;
      request.optlock = optlock;
    });
    return line_of(messages);
  };
  CHECK(answer_if([](ProvisionRequest& request) { request.enabled = false; }) == "403");
  CHECK(answer_if([&](ProvisionRequest& request) { request.activates_on = world.now + Millis(1); }) == "403");
  CHECK(answer_if([&](ProvisionRequest& request) { request.expires_on = world.now; }) == "410");
  CHECK(answer_if([](ProvisionRequest& request) { request.status = JobStatus::kAbandoned; }) == "410");
  CHECK(world.attempts("gw1").empty());
}

TEST_CASE("A hello with an unfit signing request is malformed, opens nothing and ends nothing") {
  World world;
  const Device device = world.add_device("GW1");
  world.hello(device, kNonce1);
  Hello hello = device.hello(kNonce2, "h");
  hello.csr_der = Bytes("junk");
  const auto junk = world.hello(device, hello);
  CHECK(line_of(junk) == "400");
  CHECK(junk[0].error.find("certificate signing request") != std::string::npos);
  hello.csr_der = crypto::Csr::create(device.key, "GW1").value();
  hello.csr_der->back() = static_cast<char>(hello.csr_der->back() ^ 1);
  CHECK(line_of(world.hello(device, hello)) == "400");
  REQUIRE(world.attempts("gw1").size() == 1);
  CHECK(world.attempts("gw1")[0].state == AttemptState::kOpen);
  CHECK(world.request("gw1").failures == 0);
}

TEST_CASE("A key that is known for another client id is refused, also when that device's request is gone") {
  World world;
  const Device one = world.add_device("GW1");
  Device two = world.add_device("GW2");
  world.hello(one, kNonce1);
  two.key = one.key;
  const auto refused = world.hello(two, kNonce2);
  CHECK(line_of(refused) == "400");
  CHECK(refused[0].error.find("known for another device") != std::string::npos);
  world.remove("gw1");
  CHECK(line_of(world.hello(two, kNonce2)) == "400");
  CHECK(world.certificates("GW2").empty());
  CHECK(world.certificates("GW1").size() == 1);
}

TEST_CASE("One key gets one certificate over three failed attempts, another key another one") {
  World world;
  Device device = world.add_device("GW1");
  std::string serial;
  for (const std::string& nonce : {kNonce1, kNonce2, kNonce3}) {
    const auto messages = world.hello(device, nonce);
    if (serial.empty()) serial = leaf_of(messages).serial();
    CHECK(leaf_of(messages).serial() == serial);
    world.reply(device, find(messages, "CONF-V1"), 400, "no");
    world.now += kDay;
  }
  CHECK(world.issued == 1);
  CHECK(world.certificates("GW1").size() == 1);
  device.key = crypto::PrivateKey::generate().value();
  CHECK(leaf_of(world.hello(device, kNonce1)).serial() != serial);
  CHECK(world.issued == 2);
}

TEST_CASE("An expired certificate, or one about to, is issued anew") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, kNonce1);
  world.reply(device, find(first, "CONF-V1"), 400);
  world.now += 363 * kDay;
  const auto second = world.hello(device, kNonce2);
  CHECK(leaf_of(second).serial() == leaf_of(first).serial());
  world.reply(device, find(second, "CONF-V1"), 400);
  world.now += kDay;
  const auto third = world.hello(device, kNonce3);
  CHECK(leaf_of(third).serial() != leaf_of(first).serial());
  CHECK(leaf_of(third).not_after() == world.now + 365 * kDay);
  world.reply(device, find(third, "CONF-V1"), 400);
  world.now += 400 * kDay;
  CHECK(leaf_of(world.hello(device, kNonce1)).not_after() == world.now + 365 * kDay);
}

TEST_CASE("A certificate of a clock that was ahead is not used before it is valid, and the one instead of it is kept") {
  World world;
  const Device device = world.add_device("GW1");
  world.now += kDay;
  const auto ahead = world.hello(device, kNonce1);
  world.reply(device, find(ahead, "CONF-V1"), 400);
  world.now -= kDay;
  const auto second = world.hello(device, kNonce2);
  CHECK(leaf_of(second).serial() != leaf_of(ahead).serial());
  CHECK(leaf_of(second).not_before() <= world.now);
  CHECK(leaf_of(world.hello(device, kNonce3)).serial() == leaf_of(second).serial());
}

TEST_CASE("A completed attempt's hello is answered 200, any other 409") {
  World world;
  const Device device = world.add_device("GW1");
  world.accept_all(device, world.hello(device, kNonce1, "h-1"));
  const auto again = world.hello(device, kNonce1, "h-2");
  CHECK(line_of(again) == "200");
  CHECK(again[0].id == "h-2");
  CHECK(again[0].nonce == kNonce1);
  CHECK(line_of(world.hello(device, kNonce2)) == "409");
  CHECK(line_of(world.hello(device, "")) == "409");
  CHECK(line_of(world.hello(device, kNonce1, "")) == "");
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
  CHECK(world.attempts("gw1").size() == 1);
}

TEST_CASE("When the CA cannot issue, the device is told to come later, the operator why, and nothing is opened") {
  World world;
  const Device device = world.add_device("GW1");
  world.ca_works = false;
  const auto messages = world.hello(device, kNonce1);
  CHECK(line_of(messages) == "503");
  CHECK(messages[0].retry_after == 60);
  CHECK(messages[0].error.find("CA") == std::string::npos);
  CHECK(world.request("gw1").last_error.find("the CA is away") != std::string::npos);
  CHECK(world.attempts("gw1").empty());
  world.ca_works = true;
  CHECK(line_of(world.accept_all(device, world.hello(device, kNonce1))) == "200");
  CHECK(world.request("gw1").last_error.empty());
}

TEST_CASE("A configuration that no message can carry is not sent: the operator reads why, the device comes later") {
  World world;
  const Device device = world.add_device("GW1");
  const auto configure = [&](std::size_t size) {
    world.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(auto profile, tx.find_profile("standard"));
      // no gzip makes this smaller
      profile->configuration = {
          {"p", {{"x", protocol::PropertyType::kString, false, false, {to_base64(random_bytes(size))}}}}};
      return tx.put_profile(*profile);
    });
  };
  configure(1024 * 1024);
  const auto refused = world.hello(device, kNonce1);
  CHECK(line_of(refused) == "503");
  CHECK(world.request("gw1").last_error.find("more than a message takes") != std::string::npos);
  CHECK(world.attempts("gw1").empty());
  configure(600 * 1024);
  const auto messages = world.hello(device, kNonce1);
  REQUIRE(line_of(messages) == "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
  for (const Heard& message : messages) CHECK(message.raw.size() < 1024 * 1024);
}

TEST_CASE("A profile that does not render for this device is the operator's to correct, not a failure of the device") {
  World world;
  const Device device = world.add_device("GW1");
  world.hello(device, kNonce1);
  world.run([](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto profile, tx.find_profile("standard"));
    profile->configuration = {{"p", {{"x", protocol::PropertyType::kString, false, false, {"${params.missing}"}}}}};
    return tx.put_profile(*profile);
  });
  CHECK(line_of(world.hello(device, kNonce2)) == "503");
  const ProvisionRequest request = world.request("gw1");
  CHECK(request.last_error.find("no parameter \"missing\"") != std::string::npos);
  CHECK(request.failures == 0);
  CHECK(world.attempts("gw1").back().state == AttemptState::kOpen);
}

TEST_CASE("Whether a request renders is known before a device comes") {
  World world;
  world.add_device("GW1");
  const ProvisionRequest request = world.request("gw1");
  const Account account{"plant", "mqtts://b:8883", {}};
  Profile profile;
  CHECK(world.executor->check_renders(request, profile, account).has_value());
  const auto with_value = [&](const std::string& value) {
    profile.configuration = {{"p", {{"x", protocol::PropertyType::kString, false, false, {value}}}}};
    return world.executor->check_renders(request, profile, account);
  };
  CHECK(with_value("${clientId}").has_value());
  CHECK(with_value("${labels.site}").error().code == ErrorCode::kInvalidArgument);
  CHECK(with_value("\x01").error().code == ErrorCode::kInvalidArgument);
  CHECK(with_value(std::string(1024 * 1024, 'x')).error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("A malformed hello is answered 400 if it tells where, and leaves one line however often it comes") {
  World world;
  const Device device = world.add_device("GW1");
  const auto malformed = [&](const std::string& client_id, const std::optional<std::string>& hello_id) {
    Outcome outcome;
    world.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(outcome,
                 world.executor->on_malformed_hello(tx, client_id, hello_id, Bytes(16, 'n'), "password is missing", world.now));
      return {};
    });
    for (const Outgoing& message : outcome.send) {
      CHECK(*protocol::decode(message.payload).value().blob("prov.nonce") == Bytes(16, 'n'));
    }
    return outcome.send.size();
  };
  CHECK(malformed("GW1", "h-1") == 1);
  CHECK(malformed("GW1", std::nullopt) == 0);
  CHECK(malformed("NOBODY", "h-1") == 1);
  CHECK(world.timeline("gw1") == std::vector<std::string>{"refused: hello refused: password is missing"});
}
