// A generation on trial: until its outcome is known nothing else ends the attempt.
#include <doctest/doctest.h>

#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

const Error kAway{ErrorCode::kUnavailable, "connection refused"};
const Error kRefusedError{ErrorCode::kUnauthenticated, "bad user name or password"};

// Installs once the test has played its part: the hook takes its time.
void put_on_trial(World& world) {
  world.answers_install = false;
  REQUIRE(world.run_until([&] { return world.count<InstallGeneration>() == 1; }));
  world.settle();
  REQUIRE(world.state().phase == Phase::kInstalling);
}

// The hook is content, and the broker has come to its senses.
void check_taken(World& world) {
  CHECK(world.state().phase == Phase::kInstalling);
  CHECK(world.state().attempts_failed == 0);
  world.connect = [] { return Event(ProvisionConnected{}); };
  world.answers_install = true;
  world.feed(world.installs.back());
  CHECK(world.state().phase == Phase::kConfirming);
  CHECK(world.state().generation == world.installs.back().generation);
  REQUIRE(world.run_until(Phase::kProvisioned, Millis(60'000)));
  CHECK(world.platform.completions == 1);
}

TEST_CASE("a broker that refuses us does not end an attempt whose generation is on trial") {
  World world;
  world.start();
  put_on_trial(world);
  world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
  world.feed(ProvisionLost{kAway});
  world.pass(Millis(5'000));
  check_taken(world);
}

TEST_CASE("a denied SUBSCRIBE does not end an attempt whose generation is on trial, nor keep its connection") {
  World world;
  world.start();
  put_on_trial(world);
  world.answers_subscribe = false;
  world.feed(ProvisionLost{kAway});
  REQUIRE(world.run_until([&] { return world.count<SubscribeProvision>() == 2; }));
  world.answers_subscribe = true;
  world.feed(ProvisionSubscribed{false});
  CHECK(world.count<LeaveProvision>() == 1);
  check_taken(world);
}

TEST_CASE("a device that asks for help does not go back to its owner while a generation is on trial") {
  World world;
  world.owner = [] { return Event(OwnerFailed{kAway}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  Platform rearmed;
  std::swap(world.platform, rearmed);
  world.answers_install = false;
  REQUIRE(world.run_until([&] { return world.count<InstallGeneration>() == 2; }));
  world.pass(2 * world.config.timeout);  // no timer is left that would end the attempt
  world.owner = [] { return Event(OwnerBorn{}); };
  SUBCASE("lost") {
    world.feed(ProvisionLost{kAway});
  }
  SUBCASE("unreachable") {
    world.connect = [] { return Event(ProvisionUnreachable{kAway}); };
    world.feed(ProvisionLost{kAway});
    world.pass(Millis(5'000));
  }
  check_taken(world);
}

TEST_CASE("a state that cannot be saved does not end an attempt whose generation is on trial") {
  World world;
  world.start();
  put_on_trial(world);
  world.disk_full = true;
  world.connect = [] { return Event(ProvisionUnreachable{kAway}); };  // is noted in the state
  world.feed(ProvisionLost{kAway});
  world.pass(Millis(5'000));
  REQUIRE(world.reported("the state cannot be saved"));
  world.disk_full = false;
  check_taken(world);
}

// Confirmed, and killed before the session heard of it: the folder is ahead of the state.
void die_behind_the_confirmation(World& world) {
  world.answers_install = false;
  world.accept_certificate();
  world.deliver(request(conf_draft(owner_xml(true)), "conf", world.attempt().nonce));
  REQUIRE(world.installs.size() == 1);
  auto state = parse_session_state(world.saved);
  REQUIRE(state);
  state->generation = world.installs[0].generation;  // as the edge reads it
  world.saved = to_json(*state);
  world.reboot();
  world.settle();
  world.deliver(request(conf_draft(owner_xml(true)), "conf", world.attempt().nonce));
  REQUIRE(world.installs.size() == 2);
}

TEST_CASE("a configuration that is repeated after a crash behind its confirmation is the same generation") {
  World world;
  die_behind_the_confirmation(world);
  CHECK(world.installs[1].generation == world.installs[0].generation);
  world.feed(world.installs[1]);
  CHECK(world.code_of("conf") == 200);
  CHECK(world.state().phase == Phase::kConfirming);
  CHECK(world.state().generation == 1);
}

TEST_CASE("one that is refused the second time leaves the generation that is in force then") {
  World world;
  die_behind_the_confirmation(world);
  world.feed(Installed{world.installs[1].generation, Error{ErrorCode::kUnavailable, "the hook failed"}, 0});
  CHECK(world.code_of("conf") == 500);
  CHECK(world.state().generation == 0);
}

}  // namespace
}  // namespace fleet::agent::test
