// A provision broker that takes the connection and then fails: nothing that it leaves out may hold up the device.
#include <doctest/doctest.h>

#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

const Error kAway{ErrorCode::kUnavailable, "connection reset"};

bool says(const World& world, std::string_view text) {
  return world.state().last_failure && world.state().last_failure->what.find(text) != std::string::npos;
}

// A device that is configured, whose owner's broker does not take it, and which is about to ask the platform again.
void ask_platform_about_the_owner(World& world) {
  world.owner = [] { return Event(OwnerFailed{kAway}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  world.answers_subscribe = false;
  REQUIRE(world.run_until(Phase::kConnecting));
  world.settle();
  REQUIRE(world.attempt().reason == "owner-unreachable");
}

TEST_CASE("a broker that never acknowledges our SUBSCRIBE is left and tried again, before a hello and after it") {
  World world;
  SUBCASE("before") {
    world.answers_subscribe = false;
    world.start();
    world.settle();
  }
  SUBCASE("after") {
    world.say_hello();
    world.platform.silent = false;
    world.answers_subscribe = false;
    world.feed(ProvisionLost{kAway});
    REQUIRE(world.run_until([&] { return world.count<SubscribeProvision>() == 2; }));
  }
  const bool greeted = world.state().phase == Phase::kHello;
  const std::size_t tries = world.count<ConnectProvision>();
  const std::size_t left = world.count<LeaveProvision>();
  world.pass(Millis(45'000));
  CHECK(world.count<ConnectProvision>() > tries);
  CHECK(world.count<LeaveProvision>() > left);
  CHECK(world.reported("SUBSCRIBE"));
  if (!greeted) CHECK(says(world, "SUBSCRIBE"));
  CHECK(world.state().attempts_failed == 0);

  world.answers_subscribe = true;
  CHECK(world.run_until(Phase::kProvisioned, Millis(60'000)));
}

TEST_CASE("a SUBACK in time is the end of that limit") {
  World world;
  world.say_hello();
  const std::size_t left = world.count<LeaveProvision>();
  world.pass(Millis(100'000));
  CHECK(world.state().phase == Phase::kHello);
  CHECK(world.count<LeaveProvision>() == left);
  CHECK(world.count<ConnectProvision>() == 1);
}

TEST_CASE("a device that asks the platform about its owner goes back to the owner if the provision broker fails it") {
  World world;
  ask_platform_about_the_owner(world);
  SUBCASE("by hanging up before the hello") {
    world.feed(ProvisionLost{kAway});
  }
  SUBCASE("by never acknowledging the SUBSCRIBE") {
    REQUIRE(world.run_until(Phase::kAwaitingOwner, Millis(40'000)));
  }
  CHECK(world.state().phase == Phase::kAwaitingOwner);
  CHECK_FALSE(world.state().attempt);
  CHECK(says(world, "the owner's broker did not take us"));
  CHECK(says(world, "asking the platform again"));
  CHECK(world.state().attempts_failed == 0);
  const std::size_t tries = world.count<ConnectOwner>();
  world.pass(Millis(120'000));
  CHECK(world.count<ConnectOwner>() > tries);
  world.owner = [] { return Event(OwnerBorn{}); };
  CHECK(world.run_until(Phase::kProvisioned, Millis(120'000)));
}

TEST_CASE("a pause before a connection is told, to whichever broker, and nothing while none is made") {
  World world;
  world.connect = [] { return Event(ProvisionUnreachable{kAway}); };
  world.start();
  world.settle();
  CHECK(world.session->pause_until() == world.now.steady + Millis(1000));
  world.connect = [] { return Event(ProvisionConnected{}); };
  world.platform.silent = true;
  REQUIRE(world.run_until(Phase::kHello));
  CHECK_FALSE(world.session->pause_until());
  REQUIRE(world.run_until(Phase::kWaiting));
  CHECK(world.session->pause_until() == world.now.steady + world.config.retry_interval);
  world.platform.silent = false;
  world.owner = [] { return Event(OwnerFailed{kAway}); };
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  world.settle();
  CHECK(world.session->pause_until() == world.now.steady + Millis(1000));
  world.owner = [] { return Event(OwnerBorn{}); };
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK_FALSE(world.session->pause_until());
  world.feed(OwnerFailed{kAway});
  CHECK(world.session->pause_until() == world.now.steady + Millis(1000));
}

}  // namespace
}  // namespace fleet::agent::test
