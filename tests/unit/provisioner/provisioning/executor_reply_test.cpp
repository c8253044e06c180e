// Replies and time: edc §4 "End", "Order", "Time", "Counting".
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

TEST_CASE("The replies carry a request through its states to COMPLETED and the final answer") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1, "h-1");
  CHECK(world.request("gw1").status == JobStatus::kStarted);
  CHECK(world.reply(device, find(messages, "CERT-V1")).empty());
  CHECK(world.request("gw1").status == JobStatus::kRunning);
  CHECK(world.reply(device, find(messages, "KEYS-V2")).empty());
  CHECK(world.request("gw1").status == JobStatus::kRunning);
  CHECK(world.reply(device, find(messages, "KEYS-V1")).empty());
  CHECK(world.request("gw1").status == JobStatus::kConfUpdating);
  world.now += Seconds(2);
  const auto last = world.reply(device, find(messages, "CONF-V1"));
  REQUIRE(line_of(last) == "200");
  CHECK(last[0].id == "h-1");
  CHECK(last[0].nonce == kNonce1);
  const ProvisionRequest request = world.request("gw1");
  CHECK(request.status == JobStatus::kCompleted);
  CHECK(request.completed_at == world.now);
  CHECK(request.failures == 0);
  const Attempt attempt = world.attempts("gw1").at(0);
  CHECK(attempt.state == AttemptState::kCompleted);
  CHECK(attempt.ended_at == world.now);
  CHECK(!attempt.due_at);
  for (const Step& step : world.steps(attempt.id)) {
    CHECK(step.reply_code == 200);
    CHECK(step.payload.empty());
  }
  CHECK(world.timeline("gw1").back() == "completed: provisioned in attempt 1, 2 s after its hello");
  CHECK(world.sweep().empty());
}

TEST_CASE("A confirmed configuration completes, though earlier replies were lost") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  CHECK(line_of(world.reply(device, find(messages, "CONF-V1"))) == "200");
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
  CHECK(world.reply(device, find(messages, "CERT-V1")).empty());
  CHECK(world.reply(device, find(messages, "KEYS-V2"), 400, "late").empty());
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
}

TEST_CASE("A repeated confirmation gets the final answer again, as often as it comes") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.accept_all(device, messages);
  const auto lines = world.timeline("gw1").size();
  for (int i = 0; i < 20; ++i) {
    world.now += Seconds(5);
    CHECK(line_of(world.reply(device, find(messages, "CONF-V1"))) == "200");
  }
  CHECK(world.reply(device, find(messages, "CONF-V1"), 400).empty());
  CHECK(world.timeline("gw1").size() == lines);
  CHECK(world.request("gw1").completed_at == world.now - Seconds(100));
}

TEST_CASE("A refused step fails the attempt with the device's words and what happens next") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  CHECK(world.reply(device, find(messages, "CERT-V1"), 400, "the root is not trusted").empty());
  ProvisionRequest request = world.request("gw1");
  CHECK(request.status == JobStatus::kFailed);
  CHECK(request.failures == 1);
  CHECK(request.last_error ==
        "the device refused the signing-certificates (400): the root is not trusted. The device tries again by itself "
        "after its "
        "retry interval (failure 1 of 5)");
  const Attempt attempt = world.attempts("gw1").at(0);
  CHECK(attempt.state == AttemptState::kFailed);
  CHECK(!attempt.due_at);
  CHECK(world.steps(attempt.id)[0].reply_error == "the root is not trusted");
  CHECK(world.steps(attempt.id)[3].payload.empty());

  // the device refuses the rest of the attempt; late replies of any kind change nothing
  world.reply(device, find(messages, "KEYS-V2"), 400);
  world.reply(device, find(messages, "CONF-V1"), 200);
  request = world.request("gw1");
  CHECK(request.status == JobStatus::kFailed);
  CHECK(request.failures == 1);
  CHECK(line_of(world.accept_all(device, world.hello(device, kNonce2))) == "200");
}

TEST_CASE("A request is abandoned when the maximum of attempts has failed") {
  World world;
  const Device device = world.add_device("GW1");
  for (int i = 1; i <= 5; ++i) {
    const auto messages = world.hello(device, std::string(16, static_cast<char>('a' + i)));
    REQUIRE(line_of(messages).starts_with("202"));
    world.reply(device, find(messages, "CONF-V1"), 500, "disk full");
    CHECK(world.request("gw1").failures == i);
    CHECK(world.request("gw1").status == (i < 5 ? JobStatus::kFailed : JobStatus::kAbandoned));
  }
  CHECK(line_of(world.hello(device, kNonce1)) == "410");
  const std::string error = world.request("gw1").last_error;
  CHECK(error.find("disk full") != std::string::npos);
  CHECK(error.find("provisioner retry request gw1") != std::string::npos);
}

TEST_CASE("Without a limit nothing is abandoned") {
  World world;
  const Device device = world.add_device("GW1");
  world.change_request("gw1", [](ProvisionRequest& request) { request.retry_max_attempts = -1; });
  for (int i = 0; i < 8; ++i) {
    world.reply(device, find(world.hello(device, ""), "CONF-V1"), 400);
    world.now += Seconds(10);
  }
  CHECK(world.request("gw1").status == JobStatus::kFailed);
  CHECK(world.request("gw1").failures == 8);
}

TEST_CASE("An answered step stays answered") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.reply(device, find(messages, "KEYS-V2"));
  world.reply(device, find(messages, "KEYS-V2"));
  world.reply(device, find(messages, "KEYS-V2"), 400, "changed my mind");
  CHECK(world.request("gw1").status == JobStatus::kRunning);
  CHECK(world.steps(world.attempts("gw1")[0].id)[1].reply_code == 200);
  CHECK(world.misses == 0);
}

TEST_CASE("Guessed ids, another device's ids and another step's name are counted and change nothing") {
  World world;
  const Device one = world.add_device("GW1");
  const Device two = world.add_device("GW2");
  const auto messages = world.hello(one, kNonce1);
  const std::string rid = find(messages, "CONF-V1").id;
  Device stranger = two;
  stranger.client_id = "NOBODY";

  CHECK(world.reply_as(two, "00000000000000000000000000000000", StepKind::kConfiguration, 200).empty());
  CHECK(world.reply_as(two, rid, StepKind::kConfiguration, 200).empty());
  CHECK(world.reply_as(two, rid, StepKind::kConfiguration, 400).empty());
  CHECK(world.reply_as(one, rid, StepKind::kDeviceCertificate, 200).empty());
  CHECK(world.reply_as(stranger, rid, StepKind::kConfiguration, 200).empty());
  CHECK(world.misses == 5);
  CHECK(world.request("gw1").status == JobStatus::kStarted);
  CHECK(world.request("gw2").status == JobStatus::kCreated);
  for (const auto* const name : {"gw1", "gw2"}) {
    const auto lines = world.timeline(name);
    CHECK(lines.back().starts_with("refused: "));
    CHECK(std::none_of(lines.begin(), lines.end(),
                       [&](const std::string& line) { return line.find(rid) != std::string::npos; }));
  }
  CHECK(line_of(world.accept_all(one, messages)) == "200");

  // the confirmation of a completed attempt tells only its own device
  CHECK(world.reply_as(two, rid, StepKind::kConfiguration, 200).empty());
}

TEST_CASE("What is unanswered is sent again every ten seconds, the same to the byte") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.reply(device, find(messages, "CERT-V1"));
  world.now += Millis(9'999);
  CHECK(world.sweep().empty());
  world.now += Millis(1);
  for (int round = 0; round < 5; ++round) {
    const auto again = world.sweep();
    REQUIRE(line_of(again) == "KEYS-V2 KEYS-V1 CONF-V1");
    CHECK(again[0].raw == find(messages, "KEYS-V2").raw);
    CHECK(world.sweep().empty());
    world.now += Seconds(10);
  }
  CHECK(world.steps(world.attempts("gw1")[0].id)[3].send_count == 6);
  const auto lines = world.timeline("gw1");
  CHECK(std::count_if(lines.begin(), lines.end(),
                      [](const std::string& line) { return line.starts_with("sent: no reply yet"); }) == 1);
}

TEST_CASE("Resends do not move an attempt, replies do, and its timeout counts as a failure") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  for (int i = 0; i < 29; ++i) {
    world.now += Seconds(10);
    world.sweep();
  }
  world.reply(device, find(messages, "CERT-V1"));  // at 290 s
  for (int i = 0; i < 29; ++i) {
    world.now += Seconds(10);
    world.sweep();
  }
  world.now += Millis(9'999);
  world.sweep();
  CHECK(world.request("gw1").status == JobStatus::kRunning);
  world.now += Millis(1);
  CHECK(world.sweep().empty());
  const ProvisionRequest request = world.request("gw1");
  CHECK(request.status == JobStatus::kFailed);
  CHECK(request.failures == 1);
  CHECK(request.last_error.starts_with(
      "nothing moved for 5m: the device owes its reply to device-certificate, trusted-certificate, configuration. "));
  CHECK(world.reply(device, find(messages, "CONF-V1")).empty());
  CHECK(world.request("gw1").status == JobStatus::kFailed);
  CHECK(world.sweep().empty());
}

TEST_CASE("Time that the provisioner was away is not a device's silence: its deadline is two minutes off when it is back") {
  World world;
  const Device device = world.add_device("GW1");
  world.hello(device, kNonce1);
  world.now += Seconds(200);
  world.now += Seconds(100'000);
  world.reopen();
  world.come_back();
  for (int i = 0; i < 11; ++i) {
    CHECK(line_of(world.sweep()) == "CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
    world.now += kResendAfter;
  }
  world.now += Millis(9'999);
  world.sweep();
  CHECK(world.request("gw1").status == JobStatus::kStarted);
  world.now += Millis(1);
  world.sweep();
  CHECK(world.request("gw1").status == JobStatus::kFailed);
}

TEST_CASE("Coming back takes nothing from an attempt that has more time left, and gives a short one its whole timeout") {
  World world;
  const Device device = world.add_device("GW1");
  world.run([](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto profile, tx.find_profile("standard"));
    profile->attempt_timeout = Seconds(30);
    return tx.put_profile(*profile);
  });
  const Device hasty = world.add_device("GW2");
  world.hello(hasty, kNonce1);
  world.run([](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto profile, tx.find_profile("standard"));
    profile->attempt_timeout = Seconds(300);
    return tx.put_profile(*profile);
  });
  world.hello(device, kNonce1);
  const WallTime said_hello = world.now;
  world.now += Seconds(60);
  world.come_back();
  CHECK(world.attempts("gw1")[0].moved_at == said_hello);
  CHECK(world.attempts("gw2")[0].moved_at == world.now);
}

TEST_CASE("The sweep takes no more than its limit and says that there is more") {
  World world;
  for (const auto* const id : {"GW1", "GW2", "GW3"}) world.hello(world.add_device(id), kNonce1);
  world.now += Seconds(300);
  std::vector<bool> more;
  for (int i = 0; i < 2; ++i) {
    world.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(const auto swept, world.executor->sweep(tx, world.now, 2));
      more.push_back(swept.more);
      return {};
    });
  }
  CHECK(more == std::vector<bool>{true, false});
  for (const auto* const name : {"gw1", "gw2", "gw3"}) CHECK(world.request(name).status == JobStatus::kFailed);
}

TEST_CASE("The profile's timeout holds for the attempts that it opened") {
  World world;
  const Device device = world.add_device("GW1");
  const auto set_timeout = [&](Millis timeout) {
    world.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(auto profile, tx.find_profile("standard"));
      profile->attempt_timeout = timeout;
      return tx.put_profile(*profile);
    });
  };
  set_timeout(Seconds(4));
  world.hello(device, kNonce1);
  CHECK(world.attempts("gw1")[0].due_at == world.now + Seconds(4));
  set_timeout(Seconds(900));
  world.now += Seconds(4);
  CHECK(world.sweep().empty());
  CHECK(world.request("gw1").status == JobStatus::kFailed);
}

TEST_CASE("A restart in the middle of an attempt loses nothing") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  world.reopen();
  world.reply(device, find(messages, "CERT-V1"));
  world.reopen();
  world.now += Seconds(10);
  const auto again = world.sweep();
  REQUIRE(line_of(again) == "KEYS-V2 KEYS-V1 CONF-V1");
  CHECK(again[2].raw == find(messages, "CONF-V1").raw);
  world.reopen();
  CHECK(line_of(world.accept_all(device, again)) == "200");
  world.reopen();
  CHECK(line_of(world.reply(device, find(messages, "CONF-V1"))) == "200");
  CHECK(world.issued == 1);
}
