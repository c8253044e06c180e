// A person goes back to the generation before while the session runs.
#include <doctest/doctest.h>

#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

const Error kAway{ErrorCode::kUnavailable, "connection refused"};

// Provisioned, with generation 2 in force.
SessionState provisioned_twice() {
  SessionState state;
  state.phase = Phase::kProvisioned;
  state.enabled = false;
  state.provisioned = true;
  state.generation = 2;
  return state;
}

TEST_CASE("a provisioned device connects anew with the generation that it went back to, also on a full disk") {
  World world(default_config(), provisioned_twice());
  SUBCASE("with space") {}
  SUBCASE("on a full disk") {
    world.disk_full = true;
  }
  world.start();
  world.settle();
  REQUIRE(world.count<ConnectOwner>() == 1);
  REQUIRE_FALSE(world.session->why_no_rollback());
  world.feed(RolledBack{1});
  CHECK(world.state().generation == 1);
  CHECK(world.state().provisioned);
  CHECK(world.count<ConnectOwner>() == 2);
  CHECK(world.saves == 0);
  // an owner's broker that does not take that one is tried like any other
  world.settle();
  world.feed(OwnerFailed{kAway});
  CHECK(world.run_until([&] { return world.count<ConnectOwner>() == 3; }, Millis(60'000)));
}

TEST_CASE("a device that waits for its owner's broker does not wait any longer with another generation") {
  World world;
  world.owner = [] { return Event(OwnerFailed{kAway}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  world.settle();
  REQUIRE(world.session->pause_until());
  REQUIRE_FALSE(world.session->why_no_rollback());
  const std::size_t tries = world.count<ConnectOwner>();
  world.owner = [] { return Event(OwnerBorn{}); };
  world.feed(RolledBack{1});
  CHECK(world.count<ConnectOwner>() == tries + 1);
  CHECK_FALSE(world.session->pause_until());
  CHECK_FALSE(next_try(world.state()));
  world.settle();
  CHECK(world.state().phase == Phase::kProvisioned);
  CHECK(world.state().generation == 1);
}

TEST_CASE("a device between two attempts keeps its pause and numbers what comes next from where it is") {
  SessionState state;
  state.generation = 5;
  World world(default_config(), state);
  world.connect = [] { return Event(ProvisionRefused{kAway}); };
  world.start();
  REQUIRE(world.run_until(Phase::kWaiting));
  REQUIRE_FALSE(world.session->why_no_rollback());
  const auto until = world.session->pause_until();
  world.feed(RolledBack{3});
  CHECK(world.session->pause_until() == until);
  CHECK(world.count<ConnectOwner>() == 0);
  world.connect = [] { return Event(ProvisionConnected{}); };
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.state().generation == 4);
}

TEST_CASE("during an attempt nobody goes back, and the reason names what is under way") {
  World world;
  SUBCASE("before the platform has answered") {
    world.say_hello();
    CHECK(world.session->why_no_rollback() == "a provision attempt is under way (hello)");
  }
  SUBCASE("while it is being carried out") {
    world.accept_certificate();
    CHECK(world.session->why_no_rollback() == "a provision attempt is under way (installing)");
  }
  SUBCASE("with a generation on trial") {
    world.answers_install = false;
    world.start();
    REQUIRE(world.run_until([&] { return world.count<InstallGeneration>() == 1; }));
    CHECK(world.session->why_no_rollback() == "generation 1 is on trial");
  }
  SUBCASE("while the platform has to confirm") {
    world.platform.keeps_final_200 = true;
    world.start();
    REQUIRE(world.run_until(Phase::kConfirming));
    CHECK(world.session->why_no_rollback() == "a provision attempt is under way (confirming)");
  }
}

}  // namespace
}  // namespace fleet::agent::test
