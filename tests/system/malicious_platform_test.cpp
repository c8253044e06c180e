// Somebody who has got hold of the broker's name and certificate, or of the network behind it, and plays the platform.
// The agent applies nothing that the real platform has not signed for this attempt, says why, does not wear anything
// out by trying, and is provisioned as soon as the real platform speaks.
#include <fstream>

#include <doctest/doctest.h>

#include "core/protocol/gzip.hpp"
#include "tests/system/fake_platform.hpp"

using namespace fleet;
using namespace fleet::test;

namespace {

constexpr const char* kDevice = "02FC40000001";

bool fails_with(const AgentRig& agent, const std::string& why) {
  return eventually([&] { return holds(agent.last_failure(), why); });
}

bool applied(const AgentRig& agent) {
  return std::filesystem::exists(agent.state() / "current");
}

// What `agent` has said about dropped messages so far.
bool dropped_for(const AgentRig& agent, const std::string& why) {
  return eventually([&] { return holds(agent.log(), "dropped a message") && holds(agent.log(), why); });
}

// The real platform takes over: nothing was lost.
void is_provisioned_after_that(FakePlatform& platform, AgentRig& agent) {
  CHECK_FALSE(applied(agent));
  bool installed = false;
  for (int attempt = 0; attempt < 3 && !installed; ++attempt) installed = platform.provision(kDevice);
  INFO(agent.log());
  CHECK(installed);
  CHECK(applied(agent));
  CHECK(eventually([&] { return agent.phase() == "awaiting-owner"; }));
}

Bytes without_signature(const Draft& draft, const Signer& signer) {
  protocol::KuraPayload payload = must(protocol::decode(signed_payload(draft, signer)));
  std::erase_if(payload.metrics, [](const protocol::Metric& metric) { return metric.name == "signature"; });
  return protocol::encode(payload);
}

Bytes altered(Bytes bytes, const std::string& from, const std::string& to) {
  const auto at = bytes.find(from);
  REQUIRE(at != Bytes::npos);
  REQUIRE(from.size() == to.size());
  return bytes.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a chain that ends in another root is refused, attempt after attempt, without haste") {
  FakePlatform platform;
  auto agent = platform.agent(kDevice);
  const auto begin = std::chrono::steady_clock::now();
  agent->start();
  const Signer stranger = platform.stranger();
  for (int attempt = 0; attempt < 3; ++attempt) {
    const protocol::Prov hello = platform.await_hello(kDevice);
    CHECK(platform.reply_to(platform.send(platform.certificates(kDevice, hello, stranger), stranger)) == 400);
    CHECK(fails_with(*agent, "the platform's signing certificates are not trusted"));
  }
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begin).count();
  // retry-interval 1 s, spread by 20 %
  CHECK(static_cast<double>(platform.connects(kDevice)) <= static_cast<double>(seconds + 1) / 0.8 + 1);
  is_provisioned_after_that(platform, *agent);
}

TEST_CASE("a device's certificate signs no commands, although its root is the right one") {
  FakePlatform platform;
  auto agent = platform.agent(kDevice);
  agent->start();
  const Signer thief = platform.device_as_signer();
  const protocol::Prov hello = platform.await_hello(kDevice);
  CHECK(platform.reply_to(platform.send(platform.certificates(kDevice, hello, thief), thief)) == 400);
  CHECK(fails_with(*agent, "not trusted"));
  CHECK(fails_with(*agent, "02FC49999999"));
  is_provisioned_after_that(platform, *agent);
}

TEST_CASE("what is not signed, or was, or was altered since, is dropped") {
  FakePlatform platform;
  auto agent = platform.agent(kDevice);
  agent->start();
  const Signer& signer = platform.signer();

  // before anybody has proved anything
  protocol::Prov hello = platform.await_hello(kDevice);
  const Draft certificates = platform.certificates(kDevice, hello, signer);
  platform.send_bytes(certificates.topic, protocol::encode(certificates.payload));
  platform.send_bytes(certificates.topic, without_signature(certificates, signer));
  CHECK(platform.reply_to(rid_of(certificates), Millis(300)) == 0);
  CHECK(dropped_for(*agent, "signature"));
  CHECK(fails_with(*agent, "did not answer within 3s"));
  CHECK(holds(agent->last_failure(), "signature"));
  CHECK_FALSE(applied(*agent));

  // and after
  hello = platform.await_hello(kDevice);
  CHECK(platform.reply_to(platform.send(platform.certificates(kDevice, hello, signer), signer)) == 200);
  CHECK(platform.reply_to(platform.send(platform.device_certificate(kDevice, hello), signer)) == 200);
  const Draft configuration = platform.configuration(kDevice, hello);
  const Bytes good = signed_payload(configuration, signer);
  platform.send_bytes(configuration.topic, protocol::encode(configuration.payload));
  platform.send_bytes(configuration.topic, without_signature(configuration, signer));
  platform.send_bytes(configuration.topic, altered(good, "mqtts://localhost:1", "mqtts://localhost:2"));
  platform.send_bytes(configuration.topic, altered(good, rid_of(configuration).substr(0, 8), "00000000"));
  platform.send_bytes(configuration.topic, signed_payload(configuration, platform.stranger()));
  platform.send_bytes("$EDC/provision/02FC40000001/KEYS-V1/PUT/configurations", good);  // signed for another topic
  CHECK(platform.reply_to(rid_of(configuration), Millis(300)) == 0);
  CHECK(fails_with(*agent, "did not finish within 3s"));
  CHECK(holds(agent->last_failure(), "signature"));
  is_provisioned_after_that(platform, *agent);
}

TEST_CASE("what the platform signed for an earlier attempt, or for another device, is worth nothing in this one") {
  FakePlatform platform;
  auto agent = platform.agent(kDevice);
  agent->start();
  const Signer& signer = platform.signer();
  const protocol::Prov earlier = platform.await_hello(kDevice);
  const Draft old_certificates = platform.certificates(kDevice, earlier, signer);
  const Draft old_configuration = platform.configuration(kDevice, earlier);
  CHECK(platform.reply_to(platform.send(old_certificates, signer)) == 200);
  CHECK(platform.reply_to(platform.send(platform.device_certificate(kDevice, earlier), signer)) == 200);

  const protocol::Prov hello = platform.await_hello(kDevice);  // the first attempt has timed out
  CHECK(hello.nonce != earlier.nonce);
  platform.send(old_certificates, signer);
  CHECK(platform.reply_to(rid_of(old_certificates), Millis(300)) == 0);
  CHECK(platform.reply_to(platform.send(platform.certificates(kDevice, hello, signer), signer)) == 200);
  platform.send(old_configuration, signer);
  CHECK(platform.reply_to(rid_of(old_configuration), Millis(300)) == 0);
  // of this attempt, but meant for its neighbour
  const Draft neighbours = platform.configuration("02FC40000002", hello);
  platform.send_bytes("$EDC/provision/02FC40000001/CONF-V1/PUT/configurations", signed_payload(neighbours, signer));
  CHECK(platform.reply_to(rid_of(neighbours), Millis(300)) == 0);
  CHECK(dropped_for(*agent, "prov.nonce"));
  CHECK(fails_with(*agent, "did not finish within 3s"));
  is_provisioned_after_that(platform, *agent);
}

TEST_CASE("answers that nobody signed are hints before the platform has proved itself, and nothing after it") {
  FakePlatform platform;
  auto agent = platform.agent(kDevice, "20s");
  agent->set("retry-max-attempts", "1");
  agent->start();
  const Signer stranger = platform.stranger();
  const auto code = [](std::int32_t number) {
    return protocol::Reply{.code = number, .error = "so it is", .retry_after_s = {}, .body = {}};
  };

  protocol::Prov hello = platform.await_hello(kDevice);
  platform.send(platform.answer(kDevice, hello, code(410)), stranger);
  CHECK(fails_with(*agent, "the platform answered 410"));
  hello = platform.await_hello(kDevice);  // it goes on, although one failure was to be the last
  CHECK(agent->running());
  CHECK(platform.connects(kDevice) == 2);

  platform.send(platform.answer(kDevice, hello, code(200)), stranger);  // nothing has been installed
  protocol::Prov unknown = hello;
  unknown.request_id = random_id();
  platform.send(platform.answer(kDevice, unknown, code(409)), stranger);
  CHECK(platform.reply_to(platform.send(platform.certificates(kDevice, hello, platform.signer()), platform.signer())) ==
        200);
  platform.send(platform.answer(kDevice, hello, code(410)), stranger);
  platform.send(platform.answer(kDevice, hello, code(200)), stranger);
  const Draft unsigned_answer = platform.answer(kDevice, hello, code(409));
  platform.send_bytes(unsigned_answer.topic, protocol::encode(unsigned_answer.payload));
  // the attempt is the same as before
  CHECK(platform.reply_to(platform.send(platform.device_certificate(kDevice, hello), platform.signer())) == 200);
  CHECK_FALSE(applied(*agent));
  CHECK(platform.reply_to(platform.send(platform.configuration(kDevice, hello), platform.signer())) == 200);
  // spoofed once more: the device would leave before the platform knows
  platform.send(platform.answer(kDevice, hello, code(200)), stranger);
  platform.listen(Millis(500));
  CHECK(agent->phase() == "confirming");
  platform.send(platform.answer(kDevice, hello, code(200)), platform.signer());
  CHECK(eventually([&] { return agent->phase() == "awaiting-owner"; }));
  CHECK(platform.connects(kDevice) == 2);
}

TEST_CASE("a platform that says come back in a year is asked again within the hour") {
  FakePlatform platform;
  auto agent = platform.agent(kDevice);
  agent->start();
  const protocol::Prov hello = platform.await_hello(kDevice);
  platform.send(
      platform.answer(kDevice, hello, {.code = 429, .error = "later", .retry_after_s = 365 * 86'400, .body = {}}),
      platform.stranger());
  CHECK(fails_with(*agent, "the platform answered 429"));
  const WallTime next = must(parse_time(agent->next_try()));
  CHECK(next - wall_now() > std::chrono::minutes(49));
  CHECK(next - wall_now() <= std::chrono::minutes(72));  // the hour of the protocol, spread
  platform.listen(Millis(1500));
  CHECK(platform.connects(kDevice) == 1);

  // whoever stands before the device need not wait
  agent->kill();
  expect_ok(agent->cli({"reset"}), "reset");
  agent->start();
  is_provisioned_after_that(platform, *agent);
}

TEST_CASE("a gzip bomb and a megabyte of noise cost the agent nothing, not even the attempt") {
  FakePlatform platform;
  auto agent = platform.agent(kDevice, "20s");
  agent->start();
  const Signer& signer = platform.signer();
  const protocol::Prov hello = platform.await_hello(kDevice);
  const Draft certificates = platform.certificates(kDevice, hello, signer);
  platform.send_bytes(certificates.topic, protocol::gzip(Bytes(128 * 1024 * 1024, '\0')));
  platform.send_bytes(certificates.topic, random_bytes(900 * 1024));
  platform.send_bytes(certificates.topic, "");
  platform.send_bytes(certificates.topic, signed_payload(certificates, signer).substr(0, 200));
  platform.send_bytes("$EDC/provision/02FC40000001/CERT-V1", "noise");
  platform.send_bytes("$EDC/provision/02FC40000001/a/b/c/d/e", "noise");
  CHECK(dropped_for(*agent, "CERT-V1/PUT/certificates"));
  CHECK(platform.reply_to(platform.send(certificates, signer)) == 200);
  CHECK(platform.reply_to(platform.send(platform.device_certificate(kDevice, hello), signer)) == 200);
  CHECK(platform.reply_to(platform.send(platform.configuration(kDevice, hello), signer)) == 200);
  CHECK(applied(*agent));
  CHECK(platform.connects(kDevice) == 1);
  // the most memory that it ever had
  std::ifstream process("/proc/" + std::to_string(agent->process().pid()) + "/status");
  for (std::string line; std::getline(process, line);) {
    if (line.starts_with("VmHWM:")) CHECK(std::stol(line.substr(6)) < 96 * 1024);
  }
}
