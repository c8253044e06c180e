#include "provisioner/service/conductor.hpp"

#include <doctest/doctest.h>

#include "core/protocol/message.hpp"
#include "tests/unit/provisioner/service/stage.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
using namespace std::chrono_literals;

namespace {

Bytes hello_with_password(const std::string& password) {
  protocol::Prov hello;
  hello.username = "user";
  hello.password = Secret(password);
  hello.request_id = "h";
  hello.nonce = Bytes(16, 'n');
  return protocol::encode(protocol::to_payload(hello, "GW1", 0));
}

}  // namespace

TEST_CASE("An attempt whose deadline passes while the sweep waits for the store is not failed by that sweep") {
  Stage stage;
  stage.conductor.on_session(true);
  REQUIRE(stage.until_held(1));
  stage.store.let_through();
  REQUIRE(stage.until_held(1));
  // the sweep is on its way, and judges as of then: this deadline is later
  stage.open_attempt(wall_now(), Millis(1));
  while (wall_now() <= stage.attempt().moved_at + Millis(1)) {
  }
  stage.store.let_through();
  CHECK(stage.attempt().state == AttemptState::kOpen);
  REQUIRE(stage.until_held(1));
  stage.store.let_through();
  CHECK(stage.attempt().state == AttemptState::kFailed);
}

TEST_CASE("Nothing is swept without a session, and after each return deadlines are put off first") {
  Stage stage;
  const WallTime long_ago = wall_now() - Seconds(100'000);
  stage.open_attempt(long_ago, Seconds(300));
  stage.conductor.on_session(true);
  REQUIRE(stage.until_held(1));
  // not kept: tried again before anything is swept
  stage.store.let_through(Error{ErrorCode::kNoSpace, "disk full"});
  CHECK(stage.attempt().moved_at == long_ago);
  REQUIRE(stage.until_held(1));
  stage.store.let_through();
  CHECK(stage.attempt().moved_at > wall_now() - Seconds(300));
  REQUIRE(stage.until_held(1));
  stage.conductor.on_session(false);
  stage.store.let_through();  // a sweep that was on its way
  CHECK(stage.attempt().state == AttemptState::kOpen);
  stage.io.restart();
  stage.io.run_for(50ms);
  CHECK(stage.store.backlog() == 0);
  stage.conductor.on_session(true);
  CHECK(stage.until_held(1));
  stage.conductor.on_session(false);
  stage.store.let_through();
  stage.io.restart();
  stage.io.run_for(50ms);
  CHECK(stage.store.backlog() == 0);
}

TEST_CASE("A device that leaves, or is found gone, ends no attempt") {
  Stage stage;
  stage.conductor.on_session(true);
  stage.open_attempt(wall_now(), Seconds(300));
  for (const std::string event : {"DC", "LWT"}) {
    stage.conductor.on_message(Inbound{"GW1", "$EDC/provision/GW1/MQTT/" + event}, "");
  }
  stage.store.let_all_through();
  CHECK(stage.attempt().state == AttemptState::kOpen);
}

TEST_CASE("Of one device's messages so many wait for the store, of another's still its own") {
  Stage stage;
  const auto publish = [&](const std::string& client_id) {
    stage.conductor.on_message(Inbound{client_id, "$EDC/provision/" + client_id + "/MQTT/PROV"}, "junk");
  };
  for (std::size_t i = 0; i < 10 * DeviceShares::kPiecesInHand; ++i) publish("GW1");
  CHECK(stage.store.backlog() == DeviceShares::kPiecesInHand);
  publish("GW2");
  CHECK(stage.store.backlog() == DeviceShares::kPiecesInHand + 1);
  stage.store.let_through();
  stage.store.let_through(Error{ErrorCode::kNoSpace, "disk full"});
  for (int i = 0; i < 10; ++i) publish("GW1");
  CHECK(stage.store.backlog() == DeviceShares::kPiecesInHand + 1);
}

TEST_CASE("Five wrong secrets in a row lock a device out before anything is hashed, and both histories tell it") {
  Stage stage;
  stage.conductor.on_session(true);
  const auto say = [&](const std::string& client_id) {
    stage.conductor.on_message(Inbound{client_id, "$EDC/provision/" + client_id + "/MQTT/PROV"}, hello_with_password("no"));
  };
  stage.io.run_for(50ms);  // what waited in the broker is over
  for (int i = 0; i < 5; ++i) {
    stage.store.let_all_through();
    say("GW1");
    REQUIRE(stage.store.backlog() == 1);
  }
  stage.store.let_all_through();
  CHECK(stage.timeline().back() == "locked: 5 wrong secrets in a row: hellos are refused for 1s");
  const auto audit = stage.audit();
  REQUIRE(audit.size() == 1);
  CHECK(audit[0].kind == "locked");
  CHECK(audit[0].client_id == "GW1");
  say("GW1");
  CHECK(stage.store.backlog() == 0);
  say("GW2");
  CHECK(stage.store.backlog() == 1);
}

TEST_CASE("What expires is cut off once, and the audit tells it") {
  Stage stage;
  stage.conductor.on_session(true);
  stage.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto request, tx.find_request(stage.request_id));
    request->expires_on = wall_now() + Millis(20);
    return tx.update_request(*request);
  });
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (stage.audit().empty() && std::chrono::steady_clock::now() < end) {
    stage.io.restart();
    stage.io.run_for(5ms);
    stage.store.let_all_through();
  }
  for (int i = 0; i < 20; ++i) {
    stage.io.restart();
    stage.io.run_for(2ms);
    stage.store.let_all_through();
  }
  const auto audit = stage.audit();
  REQUIRE(audit.size() == 1);
  CHECK(audit[0].kind == "kicked");
  CHECK(audit[0].client_id == "GW1");
  CHECK(audit[0].times == 1);
}

TEST_CASE("What expired while nobody was there is cut off at the start if the broker has gone on meanwhile") {
  for (const bool went_on : {false, true}) {
    CAPTURE(went_on);
    Stage stage;
    stage.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(auto request, tx.find_request(stage.request_id));
      request->expires_on = wall_now() - std::chrono::hours(1);
      return tx.update_request(*request);
    });
    ConductorSettings settings = Stage::settings();
    settings.broker_runs_alone = went_on;
    // the deadlines that are put off, and a few sweeps
    const auto run_service = [&] {
      Conductor conductor(stage.io, settings, stage.store, stage.executor, stage.dialect);
      conductor.connect(stage.session);
      conductor.on_session(true);
      for (int i = 0; i < 5; ++i) {
        REQUIRE(stage.until_held(1));
        stage.store.let_all_through();
      }
      REQUIRE(stage.until_held(1));
      conductor.stop();
      stage.store.let_all_through();
    };
    const auto kicked = [&](const std::string& client_id) {
      std::int64_t times = 0;
      for (const AuditEntry& entry : stage.audit()) times += entry.client_id == client_id ? entry.times : 0;
      return times;
    };
    run_service();
    CHECK(kicked("GW1") == (went_on ? 1 : 0));
    // what has been cut off once is left alone by the next run of the service, what expired after that is not
    stage.run([&](Transaction& tx) -> Result<void> {
      ProvisionRequest later;
      later.name = "gw2";
      later.client_id = "GW2";
      later.connect_verifier = later.username_verifier = Bytes(32, 'v');
      later.expires_on = wall_now();
      return tx.insert_request(later);
    });
    run_service();
    CHECK(kicked("GW1") == (went_on ? 1 : 0));
    CHECK(kicked("GW2") == (went_on ? 1 : 0));
  }
}

TEST_CASE("A device that is locked out is listened to again once an operator arms its request again") {
  Stage stage;
  stage.conductor.on_session(true);
  stage.io.run_for(50ms);  // what waited in the broker is over
  const auto say = [&] {
    stage.conductor.on_message(Inbound{"GW1", "$EDC/provision/GW1/MQTT/PROV"}, hello_with_password("no"));
  };
  for (int i = 0; i < 5; ++i) {
    stage.store.let_all_through();
    say();
  }
  stage.store.let_all_through();
  say();
  REQUIRE(stage.store.backlog() == 0);
  Outcome outcome;
  stage.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(outcome, stage.executor.retry(tx, "gw1", "root", wall_now()));
    return {};
  });
  stage.conductor.deliver(std::move(outcome));
  say();
  CHECK(stage.store.backlog() == 1);
}
