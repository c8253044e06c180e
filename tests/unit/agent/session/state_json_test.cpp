// What survives a crash, as text.
#include <doctest/doctest.h>

#include "agent/session/session.hpp"

namespace fleet::agent {
namespace {

SessionState full_state() {
  SessionState state;
  state.phase = Phase::kConfirming;
  state.attempts_failed = 3;
  state.generation = 7;
  state.wait_until = from_unix_millis(1'790'000'000'123);
  state.wait_length = Millis(60'000);
  state.owner_since = from_unix_millis(1'790'000'000'124);
  state.pinned_issuer = Bytes(32, '\xfe');
  state.last_time = from_unix_millis(-5);
  state.last_failure = Failure{from_unix_millis(1), "why \"so\"\n"};
  Attempt& attempt = state.attempt.emplace();
  attempt.nonce = Bytes("\0\x01\xff", 3) + Bytes(13, 'n');
  attempt.request_id = "id";
  attempt.reason = "retry";
  attempt.signing_chain_pem = "PEM";
  attempt.replies["r1"] = {"$EDC/a/b", Bytes("\0\xff\x80", 3)};
  attempt.refused = true;
  attempt.refusal = "no";
  attempt.conf_request_id = "r1";
  attempt.generation = 8;
  attempt.staged.device_chain_pem = {"leaf", "ca"};
  attempt.staged.trusted_pem["ssl-owner-ca-1"] = "root";
  const Package app{{"app", "1.0"}, std::string(64, 'a')};
  attempt.staged.packages = {app};
  attempt.jobs = {{"r2", "provisioner", 7, app, "https://h/a", true, true, protocol::DeployStatus::kAlreadyDone, {}, ""},
                  {"r3", "provisioner", 8, app, "https://h/a", false, false, {}, {}, ""},
                  {"r4", "provisioner", -9, app, "", true, true, protocol::DeployStatus::kFailed,
                   protocol::DeployStage::kInstall, "damaged"}};
  attempt.staged.configurations = {{"p.i.d", {{"n", protocol::PropertyType::kPassword, true, false, {"a", "b"}}}}};
  return state;
}

TEST_CASE("a state comes back from its text as it was") {
  const SessionState state = full_state();
  const std::string text = to_json(state);
  const auto back = parse_session_state(text);
  REQUIRE_MESSAGE(back.has_value(), (back ? "" : back.error().message));
  CHECK(to_json(*back) == text);
  CHECK(back->phase == state.phase);
  CHECK(back->attempts_failed == 3);
  CHECK(back->generation == 7);
  CHECK(back->wait_until == state.wait_until);
  CHECK(back->wait_length == state.wait_length);
  CHECK(back->owner_since == state.owner_since);
  CHECK(back->pinned_issuer == state.pinned_issuer);
  CHECK(back->last_time == state.last_time);
  CHECK(back->last_failure->what == state.last_failure->what);
  REQUIRE(back->attempt);
  CHECK(back->attempt->nonce == state.attempt->nonce);
  CHECK(back->attempt->replies.at("r1").payload == state.attempt->replies.at("r1").payload);
  CHECK(back->attempt->refused);
  CHECK(back->attempt->generation == 8);
  CHECK(back->attempt->staged.packages == state.attempt->staged.packages);
  REQUIRE(back->attempt->jobs.size() == 3);
  CHECK(back->attempt->jobs[0].outcome == protocol::DeployStatus::kAlreadyDone);
  CHECK_FALSE(back->attempt->jobs[1].outcome.has_value());
  CHECK_FALSE(back->attempt->jobs[1].install);
  CHECK_FALSE(back->attempt->jobs[1].downloads);
  CHECK(back->attempt->jobs[2].job_id == -9);
  CHECK(back->attempt->jobs[2].failed_stage == protocol::DeployStage::kInstall);
  CHECK(back->attempt->jobs[2].error == "damaged");
  CHECK(back->attempt->jobs[2].is_inline());
  CHECK(back->attempt->staged.device_chain_pem == state.attempt->staged.device_chain_pem);
  CHECK(back->attempt->staged.trusted_pem == state.attempt->staged.trusted_pem);
  CHECK(back->attempt->staged.configurations == state.attempt->staged.configurations);

  const auto fresh = parse_session_state(to_json(SessionState{}));
  REQUIRE(fresh);
  CHECK(fresh->phase == Phase::kWaiting);
  CHECK(fresh->enabled);
  CHECK_FALSE(fresh->attempt);
}

TEST_CASE("a state that was cut off or altered is corrupt, never half a state") {
  const std::string text = to_json(full_state());
  for (std::size_t length = 0; length < text.size(); ++length) {
    const auto cut = parse_session_state(std::string_view(text).substr(0, length));
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == ErrorCode::kCorrupt);
  }
  const auto altered = [&](std::string what, std::string_view with) {
    std::string changed = text;
    REQUIRE(changed.find(what) != std::string::npos);
    changed.replace(changed.find(what), what.size(), with);
    const auto parsed = parse_session_state(changed);
    return !parsed && parsed.error().code == ErrorCode::kCorrupt;
  };
  CHECK(altered("\"format\":1", "\"format\":2"));
  CHECK(altered("confirming", "confused"));
  CHECK(altered("\"generation\":7", "\"generation\":-7"));
  CHECK(altered("\"attempts_failed\":3", "\"attempts_failed\":3000000000"));
  CHECK(altered("\"attempts_failed\":3", "\"attempts_failed\":-1"));
  CHECK(altered("\"enabled\":true", "\"enabled\":1"));
  CHECK(altered("\"nonce\":\"00", "\"nonce\":\""));
  CHECK(altered("\"nonce\":\"00", "\"nonce\":\"zz"));
  CHECK(altered("\"AP+A\"", "\"?\""));
  CHECK(altered("\"Password\"", "\"Passport\""));
  CHECK(altered("[\"leaf\",\"ca\"]", "[\"leaf\",1]"));
  CHECK_FALSE(parse_session_state("[]"));
  CHECK_FALSE(parse_session_state(std::string(100'000, '[')));
}

TEST_CASE("a next try is told only while one is waited for") {
  SessionState state;
  state.wait_until = from_unix_millis(5);
  for (int i = 0; i <= static_cast<int>(Phase::kGaveUp); ++i) {
    state.phase = static_cast<Phase>(i);
    const bool waits = state.phase == Phase::kWaiting || state.phase == Phase::kAwaitingOwner;
    CHECK(next_try(state) == (waits ? state.wait_until : std::nullopt));
  }
}

TEST_CASE("every phase has a name of its own") {
  for (int i = 0; i <= static_cast<int>(Phase::kGaveUp); ++i) {
    const auto phase = static_cast<Phase>(i);
    CHECK(parse_phase(to_string(phase)) == phase);
  }
  CHECK_FALSE(parse_phase(""));
}

}  // namespace
}  // namespace fleet::agent
