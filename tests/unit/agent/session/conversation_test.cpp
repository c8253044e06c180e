// The whole conversation, and going on with it after a crash at any point.
#include <doctest/doctest.h>

#include "core/protocol/topic.hpp"
#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

TEST_CASE("a new device is provisioned in one conversation") {
  World world;
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned, Millis(1000)));
  CHECK(world.platform.completions == 1);
  CHECK(world.platform.provs.size() == 1);
  CHECK(world.state().provisioned);
  CHECK_FALSE(world.state().enabled);
  CHECK(world.state().generation == 1);
  CHECK(world.state().attempts_failed == 0);
  CHECK(world.saved == to_json(world.state()));
  CHECK(world.count<NewKey>() == 1);

  REQUIRE(world.generations.size() == 1);
  const Staged& content = world.generations[0];
  REQUIRE(content.device_chain_pem.size() == 2);
  const auto leaf = crypto::Certificate::from_pem(content.device_chain_pem[0]);
  REQUIRE(leaf);
  CHECK(leaf->subject_cn() == kClientId);
  CHECK(content.trusted_pem.at("ssl-owner-ca-1") == pki().root.certificate.to_pem());
  REQUIRE(content.configurations.size() == 1);
  CHECK(content.configurations[0].value("broker-url") == "mqtts://owner.example:8883");
}

TEST_CASE("PROV carries nonce, request id, CSR, credentials, reason and facts, and nothing is sent before the SUBACK") {
  World world;
  world.start();
  CHECK(world.published.empty());
  world.settle();
  REQUIRE_FALSE(world.platform.provs.empty());
  const protocol::Prov& prov = world.platform.provs[0];
  CHECK(prov.username == world.config.username);
  CHECK(prov.password == world.config.password);
  CHECK(prov.activation_key == world.config.activation_key);
  CHECK(prov.nonce->size() == 16);
  CHECK(prov.csr == pki().csr_der);
  CHECK(prov.reason == "first-boot");
  CHECK(prov.facts.at("serial_number") == "SN0001");
  CHECK(protocol::is_request_id(*prov.request_id));

  std::size_t subscribed = 0, first_publish = 0;
  for (std::size_t i = 0; i < world.effects.size(); ++i) {
    if (std::holds_alternative<SubscribeProvision>(world.effects[i])) subscribed = i;
    if (std::holds_alternative<PublishProvision>(world.effects[i]) && first_publish == 0) first_publish = i;
  }
  CHECK(subscribed < first_publish);
}

TEST_CASE("nothing that the attempt brought is left in the state once the platform has confirmed") {
  World world;
  world.platform.plan = {cert_draft(pki().signer), conf_draft(owner_xml(true))};
  world.owner = [] { return Event(OwnerFailed{{ErrorCode::kUnavailable, "connection refused"}}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner, Millis(1000)));
  CHECK_FALSE(world.state().attempt);
  CHECK(world.saved.find("owner-secret") == std::string::npos);
  CHECK(world.saved.find("BEGIN CERTIFICATE") == std::string::npos);
}

// After every state that was ever saved the device is stopped and started again from what was saved.
TEST_CASE("a device that crashes after any saved state is provisioned exactly once, with one nonce") {
  World undisturbed;
  undisturbed.start();
  REQUIRE(undisturbed.run_until(Phase::kProvisioned));
  REQUIRE(undisturbed.saves >= 8);

  for (int n = 1; n <= undisturbed.saves; ++n) {
    CAPTURE(n);
    World world;
    world.crash_at_save = n;
    world.start();
    REQUIRE(world.run_until(Phase::kProvisioned));
    CHECK(world.saves >= n);
    CHECK(world.platform.completions == 1);
    CHECK(world.platform.nonces.size() == 1);
    CHECK(world.platform.inconsistent_replies.empty());
    CHECK(world.state().generation == 1);
    for (const Installed& install : world.installs) CHECK(install.generation == 1);
  }
}

TEST_CASE("a device that crashes after every single saved state still gets there") {
  World world;
  world.crash_at_save = 1;
  world.inspect = [&](const Effects&, const std::string&) { world.crash_at_save = world.saves + 1; };
  world.start();
  // Each restart saves at least once more than the last one, so this ends.
  for (int boots = 0; boots < 40 && world.state().phase != Phase::kProvisioned; ++boots) {
    world.run_until(Phase::kProvisioned, Millis(60'000));
  }
  CHECK(world.state().phase == Phase::kProvisioned);
  CHECK(world.platform.completions == 1);
  CHECK(world.platform.nonces.size() == 1);
  CHECK(world.platform.inconsistent_replies.empty());
}

TEST_CASE("a connection lost at any message is made again, with the same nonce") {
  for (int lost_at = 1; lost_at <= 6; ++lost_at) {
    CAPTURE(lost_at);
    World world;
    int messages = 0;
    world.inspect = [&](const Effects& effects, const std::string&) {
      for (const Effect& effect : effects) messages += std::holds_alternative<PublishProvision>(effect) ? 1 : 0;
    };
    world.start();
    world.run_until([&] { return messages >= lost_at; });
    world.feed(ProvisionLost{{ErrorCode::kUnavailable, "connection reset"}});
    REQUIRE(world.run_until(Phase::kProvisioned));
    CHECK(world.platform.completions == 1);
    CHECK(world.platform.nonces.size() == 1);
    CHECK(world.platform.inconsistent_replies.empty());
  }
}

TEST_CASE("the CONF reply is repeated every 5 s, word for word, with a PROV of the same nonce, until the timeout") {
  World world;
  world.platform.keeps_final_200 = true;
  world.start();
  REQUIRE(world.run_until(Phase::kConfirming));
  const std::size_t before = world.published.size();
  const Bytes nonce = world.attempt().nonce;
  const SentReply reply = world.attempt().replies.at(world.attempt().conf_request_id);
  world.pass(Millis(30'000));
  std::size_t repeated = 0;
  for (std::size_t i = before; i < world.published.size(); ++i) {
    if (world.published[i].topic == reply.topic) {
      CHECK(world.published[i].payload == reply.payload);
      ++repeated;
    }
  }
  CHECK(repeated == 6);
  CHECK(world.platform.nonces == std::vector<Bytes>{nonce});

  world.reboot();  // and through a restart
  world.settle();
  CHECK(world.published[world.published.size() - 2].payload == reply.payload);
  CHECK(world.platform.provs.back().nonce == nonce);
  const SteadyTime restarted = world.now.steady;
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.now.steady - restarted == world.config.timeout);
}

TEST_CASE("a 200 that was lost is fetched by the PROV that follows the repeated reply") {
  World world;
  world.platform.keeps_final_200 = true;
  world.start();
  REQUIRE(world.run_until(Phase::kConfirming));
  world.platform.keeps_final_200 = false;
  REQUIRE(world.run_until(Phase::kProvisioned, Millis(6'000)));
}

TEST_CASE("the settings outrank the phase that was saved") {
  SUBCASE("not enabled") {
    SessionState state;
    state.enabled = false;
    World world(default_config(), state);
    world.start();
    CHECK(world.state().phase == Phase::kDisabled);
    CHECK(world.count<ConnectProvision>() == 0);
    CHECK_FALSE(world.alarm);
  }
  SUBCASE("enabled again") {
    SessionState state;
    state.phase = Phase::kDisabled;
    World world(default_config(), state);
    world.start();
    CHECK(world.run_until(Phase::kProvisioned));
  }
  SUBCASE("switched off in the middle and on again: the same attempt goes on") {
    World world;
    world.say_hello();
    const Bytes nonce = world.attempt().nonce;
    SessionState state = world.state();
    state.enabled = false;
    World off(default_config(), state);
    off.start();
    CHECK(off.state().phase == Phase::kDisabled);
    state = off.state();
    state.enabled = true;
    World on(default_config(), state);
    on.start();
    REQUIRE(on.run_until(Phase::kProvisioned));
    CHECK(on.platform.nonces == std::vector<Bytes>{nonce});
  }
  SUBCASE("provisioned: only the owner's broker") {
    SessionState state;
    state.provisioned = true;
    state.enabled = false;
    state.generation = 3;
    World world(default_config(), state);
    world.start();
    world.settle();
    CHECK(world.state().phase == Phase::kProvisioned);
    CHECK(world.count<ConnectOwner>() == 1);
    CHECK(world.count<ConnectProvision>() == 0);
  }
  SUBCASE("started over after a success: another generation, reason reprovision") {
    SessionState state;
    state.generation = 3;
    World world(default_config(), state);
    world.start();
    REQUIRE(world.run_until(Phase::kProvisioned));
    CHECK(world.platform.provs[0].reason == "reprovision");
    CHECK(world.state().generation == 4);
  }
}

TEST_CASE("a clock in 1970 does not keep a device from being provisioned, nor an old build") {
  World world;
  world.config.build_time = kLastYear - std::chrono::days(900);  // before the platform's signing certificate was made
  world.now.wall = WallTime(Millis(0));
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned));
  REQUIRE(world.state().last_time);
  CHECK(*world.state().last_time >= kLastYear);
}

}  // namespace
}  // namespace fleet::agent::test
