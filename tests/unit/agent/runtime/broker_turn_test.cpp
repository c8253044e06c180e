#include "agent/runtime/broker_turn.hpp"

#include <doctest/doctest.h>

namespace fleet::agent {
namespace {

const WallTime kNow = from_unix_millis(1'800'000'000'000);

BrokerTurn turn_of(std::initializer_list<std::string_view> hosts) {
  std::vector<mqtt::BrokerUrl> urls;
  for (const std::string_view host : hosts) urls.push_back(*mqtt::BrokerUrl::parse(fmt::format("mqtts://{}", host)));
  return BrokerTurn(std::move(urls));
}

TEST_CASE("brokers that fail are tried in turn, and the same trouble keeps the same text and its first time") {
  BrokerTurn turn = turn_of({"a", "b"});
  const Error away{ErrorCode::kUnavailable, "no route"};
  const Error unknown{ErrorCode::kUnavailable, "mqtts://b:8883: no such host"};
  CHECK(turn.url().host == "a");
  CHECK(turn.failed(away, kNow).message == "mqtts://a:8883: no route");
  CHECK(turn.url().host == "b");
  const Error both = turn.failed(unknown, kNow);
  CHECK(both.message == "mqtts://a:8883: no route; mqtts://b:8883: no such host");
  CHECK(both.code == ErrorCode::kUnavailable);
  CHECK(turn.url().host == "a");
  CHECK(turn.failed(away, kNow + Seconds(9)).message == both.message);
  CHECK(turn.brokers()[0].failure->at == kNow);
  turn.works();
  CHECK_FALSE(turn.brokers()[1].failure);
  CHECK(turn.brokers()[0].failure);
}

TEST_CASE("a single broker's failure is told as it is") {
  BrokerTurn turn = turn_of({"a"});
  CHECK(turn.failed({ErrorCode::kTimedOut, "no answer"}, kNow).message == "no answer");
  CHECK(turn.url().host == "a");
  CHECK(turn.brokers()[0].failure->what == "mqtts://a:8883: no answer");
}

TEST_CASE("only if no broker is trusted the trouble is one of trust") {
  BrokerTurn turn = turn_of({"a", "b"});
  CHECK(turn.failed({ErrorCode::kUnauthenticated, "certificate"}, kNow).code == ErrorCode::kUnauthenticated);
  CHECK(turn.failed({ErrorCode::kUnavailable, "away"}, kNow).code == ErrorCode::kUnavailable);
  CHECK(turn.failed({ErrorCode::kUnauthenticated, "certificate"}, kNow).code == ErrorCode::kUnavailable);
}

TEST_CASE("a broker that refuses us and an attempt that is over pass the turn on") {
  BrokerTurn turn = turn_of({"a", "b", "c"});
  turn.refused({ErrorCode::kUnauthenticated, "not authorised"}, kNow);
  CHECK(turn.brokers()[0].failure->what == "mqtts://a:8883: not authorised");
  CHECK(turn.url().host == "b");
  turn.works();
  CHECK(turn.url().host == "b");
  turn.pass();
  CHECK(turn.url().host == "c");
  turn.pass();
  CHECK(turn.url().host == "a");
}

}  // namespace
}  // namespace fleet::agent
