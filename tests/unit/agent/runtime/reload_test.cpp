#include "agent/runtime/reload.hpp"

#include <doctest/doctest.h>

#include "agent/runtime/session_config.hpp"

namespace fleet::agent {
namespace {

struct Setup {
  Settings settings;
  Identity identity;
  Trust trust;

  Setup() {
    settings.broker_urls = {*mqtt::BrokerUrl::parse("mqtts://a")};
    settings.password = Secret("one");
    identity.client_id.value = "gw-1";
    identity.username.value = "user-1";
  }
  SetupView view() const { return {settings, identity, trust}; }
};

SessionState in(Phase phase) {
  SessionState state;
  state.phase = phase;
  state.provisioned = phase == Phase::kProvisioned;
  return state;
}

crypto::Certificate root() {
  const auto key = *crypto::PrivateKey::generate();
  return *crypto::issue_root(
      {crypto::CertificateProfile::kRootCa, "Root", {}, wall_now() - Seconds(60), wall_now() + Seconds(3600)}, key);
}

TEST_CASE("an attempt begins again only for what it depends on") {
  const Setup before;
  Setup after;
  CHECK(compare(before.view(), after.view(), in(Phase::kHello)).names.empty());
  CHECK_FALSE(compare(before.view(), after.view(), in(Phase::kHello)).restart);
  bool restarts = true;
  SUBCASE("pauses and limits") {
    after.settings.retry_interval = Seconds(5);
    after.settings.timeout = Seconds(5);
    after.settings.owner_timeout = Seconds(5);
    after.settings.retry_max_attempts = 3;
    restarts = false;
  }
  SUBCASE("hook and log") {
    after.settings.hook = "/bin/true";
    after.settings.log_level = log::Level::kDebug;
    restarts = false;
  }
  SUBCASE("broker") {
    after.settings.broker_urls.push_back(*mqtt::BrokerUrl::parse("mqtts://b"));
    CHECK(compare(before.view(), after.view(), in(Phase::kHello)).brokers);
  }
  SUBCASE("password") {
    after.settings.password = Secret("two");
  }
  SUBCASE("a name that follows from the machine") {
    after.identity.client_id.value = "gw-2";
  }
  SUBCASE("the content of a CA file") {
    after.trust.platform_roots = {root()};
  }
  SUBCASE("switched off") {
    after.settings.enabled = false;
  }
  const Changes changes = compare(before.view(), after.view(), in(Phase::kHello));
  CHECK_FALSE(changes.names.empty());
  CHECK(changes.restart == restarts);
  CHECK(compare(before.view(), after.view(), in(Phase::kWaiting)).restart == restarts);
}

TEST_CASE("on the owner's side only names and trust matter") {
  const Setup before;
  Setup after;
  after.settings.broker_urls = {*mqtt::BrokerUrl::parse("mqtts://b")};
  after.settings.password = Secret("two");
  after.settings.account_name = "other";
  for (const Phase phase : {Phase::kProvisioned, Phase::kAwaitingOwner}) {
    CHECK_FALSE(compare(before.view(), after.view(), in(phase)).restart);
    CHECK(compare(before.view(), after.view(), in(phase)).brokers);
  }
  after.trust.broker_roots = {root()};
  CHECK(compare(before.view(), after.view(), in(Phase::kProvisioned)).restart);
  after = Setup();
  after.settings.enabled = false;
  CHECK_FALSE(compare(before.view(), after.view(), in(Phase::kProvisioned)).restart);
  CHECK(compare(before.view(), after.view(), in(Phase::kAwaitingOwner)).restart);
}

TEST_CASE("beginning again drops what was staged, but not what is installed or known") {
  Settings settings;
  SessionState state;
  state.attempts_failed = 2;
  state.last_failure = Failure{wall_now(), "why"};
  SUBCASE("in an attempt: another one at once") {
    state.phase = Phase::kInstalling;
    state.attempt.emplace();
    const SessionState fresh = restarted_state(state, settings, 1);
    CHECK(fresh.phase == Phase::kWaiting);
    CHECK_FALSE(fresh.attempt);
    CHECK_FALSE(fresh.wait_until);
    CHECK(fresh.attempts_failed == 2);
    CHECK(fresh.generation == 1);
    CHECK(fresh.last_failure);
  }
  SUBCASE("in a pause: at once") {
    state.phase = Phase::kWaiting;
    state.wait_until = wall_now() + Seconds(60);
    CHECK_FALSE(restarted_state(state, settings, 0).wait_until);
  }
  SUBCASE("asking the platform about the owner: back to the owner") {
    state.phase = Phase::kHello;
    state.attempt.emplace();
    state.owner_since = wall_now();
    CHECK(restarted_state(state, settings, 1).phase == Phase::kAwaitingOwner);
  }
  SUBCASE("installed: the platform is still owed its reply") {
    state.phase = Phase::kConfirming;
    state.attempt.emplace();
    const SessionState fresh = restarted_state(state, settings, 1);
    CHECK(fresh.phase == Phase::kConfirming);
    CHECK(fresh.attempt);
  }
  SUBCASE("switched off") {
    settings.enabled = false;
    CHECK_FALSE(restarted_state(state, settings, 0).enabled);
  }
  SUBCASE("provisioned: our own flags count") {
    state.phase = Phase::kProvisioned;
    state.provisioned = true;
    state.enabled = false;
    CHECK(restarted_state(state, settings, 1).phase == Phase::kProvisioned);
    CHECK_FALSE(restarted_state(state, settings, 1).enabled);
  }
}

}  // namespace
}  // namespace fleet::agent
