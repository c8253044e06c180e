// What an operator does to requests, at any moment of an attempt.
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

TEST_CASE("Retry arms an abandoned request again") {
  World world;
  const Device device = world.add_device("GW1");
  world.change_request("gw1", [](ProvisionRequest& request) { request.retry_max_attempts = 1; });
  world.reply(device, find(world.hello(device, kNonce1), "CONF-V1"), 400, "no");
  REQUIRE(world.request("gw1").status == JobStatus::kAbandoned);
  world.retry("gw1");
  const ProvisionRequest request = world.request("gw1");
  CHECK(request.status == JobStatus::kCreated);
  CHECK(request.failures == 0);
  CHECK(request.last_error.empty());
  CHECK(world.kicked.empty());
  CHECK(world.timeline("gw1").back() == "operator: armed again by tester (was ABANDONED, 1 failures)");
  CHECK(line_of(world.accept_all(device, world.hello(device, kNonce2))) == "200");
}

TEST_CASE("Retry arms a completed request again, and the completed attempt stays completed") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.accept_all(device, messages);
  world.retry("gw1");
  CHECK(world.request("gw1").status == JobStatus::kCreated);
  CHECK(!world.request("gw1").completed_at);
  CHECK(line_of(world.reply(device, find(messages, "CONF-V1"))) == "200");
  CHECK(world.request("gw1").status == JobStatus::kCreated);
  CHECK(line_of(world.accept_all(device, world.hello(device, kNonce2))) == "200");
  CHECK(world.issued == 1);
}

TEST_CASE("Retry in the middle of an attempt ends it without counting and makes the device come again") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.retry("gw1");
  CHECK(world.attempts("gw1")[0].state == AttemptState::kSuperseded);
  CHECK(world.request("gw1").failures == 0);
  CHECK(world.kicked == std::vector<std::string>{"GW1"});
  CHECK(world.reply(device, find(messages, "CONF-V1")).empty());
  CHECK(world.request("gw1").status == JobStatus::kCreated);
  CHECK(line_of(world.accept_all(device, world.hello(device, kNonce1))) == "200");
}

TEST_CASE(
    "Disabling in the middle of an attempt stops it and ends the connection; enabling lets the device come again") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.set_enabled("gw1", false);
  CHECK(world.request("gw1").status == JobStatus::kStopped);
  CHECK(admission_of(world.request("gw1")).state == Admission::kDisabled);
  CHECK(world.attempts("gw1")[0].state == AttemptState::kStopped);
  CHECK(world.kicked == std::vector<std::string>{"GW1"});
  CHECK(world.reply(device, find(messages, "CONF-V1")).empty());
  CHECK(line_of(world.hello(device, kNonce1)) == "403");
  CHECK(world.request("gw1").status == JobStatus::kStopped);
  CHECK(world.request("gw1").failures == 0);
  world.now += Seconds(1000);
  CHECK(world.sweep().empty());

  world.set_enabled("gw1", true);
  CHECK(admission_of(world.request("gw1")).state == Admission::kOpen);
  CHECK(line_of(world.accept_all(device, world.hello(device, kNonce1))) == "200");
}

TEST_CASE("Disabling what is disabled changes nothing") {
  World world;
  world.add_device("GW1");
  world.set_enabled("gw1", false);
  const auto before = world.request("gw1").optlock;
  world.set_enabled("gw1", false);
  CHECK(world.request("gw1").optlock == before);
  CHECK(world.kicked.size() == 1);
  CHECK(world.timeline("gw1") == std::vector<std::string>{"operator: disabled by tester"});
}

TEST_CASE("A completed request that is disabled and enabled is still completed") {
  World world;
  const Device device = world.add_device("GW1");
  world.accept_all(device, world.hello(device, kNonce1));
  world.set_enabled("gw1", false);
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
  world.set_enabled("gw1", true);
  CHECK(line_of(world.hello(device, kNonce2)) == "409");
}

TEST_CASE("Deleting in the middle of an attempt leaves only the certificates, and ends the connection") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.remove("gw1");
  CHECK(!world.find_request("gw1"));
  CHECK(world.kicked == std::vector<std::string>{"GW1"});
  CHECK(world.reply(device, find(messages, "CONF-V1")).empty());
  CHECK(line_of(world.hello(device, kNonce1)) == "401");
  world.now += Seconds(1000);
  CHECK(world.sweep().empty());
  CHECK(world.certificates("GW1").size() == 1);
}

TEST_CASE("What is not there is not found") {
  World world;
  world.run([&](Transaction& tx) -> Result<void> {
    CHECK(world.executor->retry(tx, "nothing", "tester", world.now).error().code == ErrorCode::kNotFound);
    CHECK(world.executor->set_enabled(tx, "nothing", true, "tester", world.now).error().code == ErrorCode::kNotFound);
    CHECK(world.executor->remove(tx, "nothing", "tester", world.now).error().code == ErrorCode::kNotFound);
    return {};
  });
}

TEST_CASE("What the broker tells of a device is a line of its timeline, once in a row") {
  World world;
  world.add_device("GW1");
  world.run([&](Transaction& tx) -> Result<void> {
    for (int i = 0; i < 3; ++i)
      CHECK(*world.executor->note(tx, "GW1", "refused", "connection refused: wrong\ncredentials", "", world.now));
    CHECK(*world.executor->note(tx, "GW1", "refused", "connection refused: expired", " (2 times)", world.now));
    CHECK_FALSE(*world.executor->note(tx, "NOBODY", "refused", "connection refused: unknown", "", world.now));
    return {};
  });
  CHECK(world.timeline("gw1") == std::vector<std::string>{"refused: connection refused: wrong credentials",
                                                          "refused: connection refused: expired (2 times)"});
}
