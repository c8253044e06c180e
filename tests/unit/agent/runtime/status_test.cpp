#include "agent/runtime/status.hpp"

#include <doctest/doctest.h>

namespace fleet::agent {
namespace {

AgentStatus full_status() {
  const WallTime at = from_unix_millis(1'800'000'000'000);
  AgentStatus status;
  status.pid = 4711;
  status.phase = "awaiting-owner";
  status.enabled = true;
  status.attempts_failed = 2;
  status.generation = 3;
  status.packages = {{{"app", "1.0"}, std::string(64, 'a')}, {{"tool", "7"}, std::string(64, 'b')}};
  status.client_id = "02FC00000001";
  status.owner_broker = "mqtts://owner:8883";
  status.owner_connection = "connecting";
  status.owner_failure = Failure{at, "refused"};
  status.last_failure = Failure{at, "why \"quoted\""};
  status.next_try = at + Seconds(5);
  status.next = "another try";
  status.brokers = {{"mqtts://a:8883", "", Failure{at, "away"}}, {"mqtts://b:8883", "connected", std::nullopt}};
  return status;
}

TEST_CASE("a status comes back from its text as it was") {
  const std::string text = to_json(full_status());
  const auto status = parse_status(text);
  REQUIRE_MESSAGE(status, status.error().message);
  CHECK(to_json(*status) == text);
  CHECK(status->pid == 4711);
  CHECK(status->brokers.size() == 2);
  CHECK(status->packages == full_status().packages);
  CHECK(status->last_failure->what == "why \"quoted\"");
  const AgentStatus empty = status_of(SessionState{});
  CHECK(to_json(*parse_status(to_json(empty))) == to_json(empty));
  CHECK(to_json(empty).find("\"source\":\"state-file\"") != std::string::npos);
}

TEST_CASE("a text that is no status is malformed") {
  for (const std::string_view bad : {"", "[]", "{", "{\"phase\":1,\"enabled\":true,\"provisioned\":true}",
                                     "{\"enabled\":1,\"provisioned\":true}",
                                     "{\"enabled\":true,\"provisioned\":true,\"brokers\":[1]}",
                                     "{\"enabled\":true,\"provisioned\":true,\"nextTry\":\"soon\"}"}) {
    CAPTURE(bad);
    const auto status = parse_status(bad);
    REQUIRE_FALSE(status);
    CHECK(status.error().code == ErrorCode::kMalformed);
  }
}

TEST_CASE("what happens next is told for every phase") {
  for (int phase = 0; phase <= static_cast<int>(Phase::kGaveUp); ++phase) {
    SessionState state;
    state.phase = static_cast<Phase>(phase);
    CHECK_FALSE(what_next(state).empty());
  }
}

}  // namespace
}  // namespace fleet::agent
