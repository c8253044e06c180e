// Pauses, limits and what counts as a failure.
#include <doctest/doctest.h>

#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

const Error kRefusedError{ErrorCode::kUnauthenticated, "not authorised"};
const Error kAway{ErrorCode::kUnavailable, "connection refused"};
const Error kUntrusted{ErrorCode::kUnauthenticated, "certificate 'broker': self-signed certificate"};

protocol::Reply refusal(std::int32_t code, std::optional<std::int32_t> retry_after = std::nullopt) {
  return {.code = code, .error = "because", .retry_after_s = retry_after, .body = {}};
}

std::string last_failure(const World& world) {
  return world.state().last_failure ? world.state().last_failure->what : "";
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// A device that is configured and whose owner's broker answers with `error`.
void await_owner_in_vain(World& world, const Error& error) {
  world.owner = [error] { return Event(OwnerFailed{error}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  world.settle();
}

Millis to_alarm(const World& world) {
  REQUIRE(world.alarm);
  return std::chrono::duration_cast<Millis>(*world.alarm - world.now.steady);
}

TEST_CASE("PROV is repeated every 10 s with the same nonce, and the attempt ends at the timeout") {
  World world;
  world.say_hello();
  world.pass(Millis(119'000));
  CHECK(world.platform.provs.size() == 12);
  for (const auto& prov : world.platform.provs) CHECK(prov.nonce == world.attempt().nonce);
  const Bytes nonce = world.attempt().nonce;
  world.pass(Millis(1'000));
  CHECK(world.state().phase == Phase::kWaiting);
  CHECK(world.state().attempts_failed == 1);
  CHECK(world.reported("did not answer within 2m"));
  CHECK(to_alarm(world) == world.config.retry_interval);
  REQUIRE(world.run_until(Phase::kHello));
  CHECK(world.platform.provs.back().nonce != nonce);
  CHECK(world.platform.provs.back().reason == "retry");
}

TEST_CASE("after 202 PROV is not repeated, until the next connection") {
  World world;
  world.say_hello();
  world.deliver(prov_answer(refusal(202), world.attempt().request_id, world.attempt().nonce));
  world.pass(Millis(60'000));
  CHECK(world.platform.provs.size() == 1);
  world.feed(ProvisionLost{kAway});
  world.run_until([&] { return world.platform.provs.size() == 2; });
  CHECK(world.platform.provs.size() == 2);
}

TEST_CASE("the pause after a failure is the retry interval with 20 % of jitter") {
  for (const std::uint64_t random :
       {std::uint64_t{0}, std::uint64_t{1} << 20, std::uint64_t{2} << 20, ~std::uint64_t{0}}) {
    World world;
    world.now.random = random;
    world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
    world.start();
    world.settle();
    CHECK(world.state().phase == Phase::kWaiting);
    CHECK(to_alarm(world) == with_jitter(world.config.retry_interval, random));
    CHECK(to_alarm(world) >= Millis(48'000));
    CHECK(to_alarm(world) <= Millis(72'000));
  }
}

TEST_CASE("a refused connection counts, and at retry-max-attempts the device gives up, also after a restart") {
  World world;
  world.config.retry_max_attempts = 3;
  world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
  world.start();
  REQUIRE(world.run_until(Phase::kGaveUp));
  CHECK(world.state().attempts_failed == 3);
  CHECK(world.count<ConnectProvision>() == 3);
  CHECK_FALSE(world.alarm);
  CHECK(world.reported("the operator should check"));
  world.reboot();
  world.pass(Millis(3'600'000));
  CHECK(world.state().phase == Phase::kGaveUp);
  CHECK(world.count<ConnectProvision>() == 3);
}

TEST_CASE("an unreachable broker does not count; the pauses grow up to the retry interval") {
  World world;
  world.config.retry_max_attempts = 1;
  world.connect = [] { return Event(ProvisionUnreachable{kAway}); };
  world.start();
  std::vector<Millis> pauses;
  for (int i = 0; i < 8; ++i) {
    const std::size_t tries = world.count<ConnectProvision>();
    world.settle();
    pauses.push_back(to_alarm(world));
    world.run_until([&] { return world.count<ConnectProvision>() > tries; });
  }
  CHECK(pauses.front() == Millis(1000));
  CHECK(pauses[1] == Millis(2000));
  CHECK(pauses.back() == Millis(60'000));
  CHECK(world.state().attempts_failed == 0);
  CHECK(world.state().phase == Phase::kConnecting);
  world.connect = [] { return Event(ProvisionConnected{}); };
  CHECK(world.run_until(Phase::kProvisioned));
}

TEST_CASE("after a lost connection the pauses stay below 10 s, and the timeout goes on") {
  World world;
  world.say_hello();
  world.connect = [] { return Event(ProvisionUnreachable{kAway}); };
  world.feed(ProvisionLost{kAway});
  for (int i = 0; i < 6; ++i) {
    CHECK(to_alarm(world) <= Millis(10'000));
    const std::size_t tries = world.count<ConnectProvision>();
    world.run_until([&] { return world.count<ConnectProvision>() > tries; });
    world.settle();
  }
  REQUIRE(world.run_until(Phase::kWaiting, Millis(120'000)));
  CHECK(world.state().attempts_failed == 1);
}

TEST_CASE("a refused subscription ends the attempt with a reason") {
  World world;
  world.start();
  world.feed(ProvisionConnected{});
  world.feed(ProvisionSubscribed{false});
  CHECK(world.state().phase == Phase::kWaiting);
  CHECK(world.reported("rights"));
  CHECK(world.published.empty());
}

TEST_CASE("a refusal of PROV says what it means and never makes the device give up on its own") {
  for (const std::int32_t code : {400, 401, 403, 409, 410}) {
    CAPTURE(code);
    World world;
    world.config.retry_max_attempts = 1;
    world.say_hello();
    world.deliver(prov_answer(refusal(code), world.attempt().request_id, world.attempt().nonce));
    CHECK(world.state().phase == Phase::kWaiting);
    CHECK(world.state().attempts_failed == 1);
    CHECK(to_alarm(world) == world.config.retry_interval);
    CHECK(world.state().last_failure->what.starts_with("the platform answered " + std::to_string(code)));
    CHECK(world.state().last_failure->what.find("because") != std::string::npos);
  }
}

TEST_CASE("a refusal that is signed by the accepted platform counts like any failure") {
  World world;
  world.config.retry_max_attempts = 1;
  world.accept_certificate();
  world.deliver(prov_answer(refusal(410), world.attempt().request_id, world.attempt().nonce));
  CHECK(world.state().phase == Phase::kGaveUp);
}

TEST_CASE("retry.after is obeyed, upward only, up to an hour, and does not count") {
  struct Case {
    std::int32_t code;
    std::optional<std::int32_t> retry_after;
    Millis least, most;
  };
  for (const Case& c :
       {Case{429, 30, Millis(30'000), Millis(36'000)}, Case{503, 2'000'000'000, Millis(3'000'000), Millis(3'600'000)},
        Case{429, -5, Millis(1'000), Millis(1'200)}, Case{503, 0, Millis(1'000), Millis(1'200)},
        Case{503, std::nullopt, Millis(60'000), Millis(72'000)}}) {
    for (const std::uint64_t random : {std::uint64_t{0}, std::uint64_t{77'777}, ~std::uint64_t{0}}) {
      World world;
      world.say_hello();
      world.now.random = random;
      world.deliver(prov_answer(refusal(c.code, c.retry_after), world.attempt().request_id, world.attempt().nonce));
      CHECK(world.state().phase == Phase::kWaiting);
      CHECK(world.state().attempts_failed == 0);
      CHECK(to_alarm(world) >= c.least);
      CHECK(to_alarm(world) <= c.most);
    }
  }
}

TEST_CASE("a restart goes on waiting for what is left of the pause, whatever the clock says") {
  World world;
  world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
  world.start();
  REQUIRE(world.run_until(Phase::kWaiting));
  SUBCASE("20 s later") {
    world.now.wall += Seconds(20);
    world.reboot();
    world.settle();
    CHECK(to_alarm(world) == Millis(40'000));
  }
  SUBCASE("years later") {
    world.now.wall += std::chrono::days(1000);
    world.reboot();
    world.settle();
    CHECK(world.count<ConnectProvision>() == 2);
  }
  SUBCASE("with the clock back in 1970") {
    world.now.wall = WallTime(Millis(0));
    world.reboot();
    world.settle();
    CHECK(to_alarm(world) == Millis(60'000));
  }
}

TEST_CASE("the owner's broker is tried with growing pauses up to a minute") {
  World world;
  world.owner = [] { return Event(OwnerFailed{kAway}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  std::vector<Millis> pauses;
  for (int i = 0; i < 9; ++i) {
    world.settle();
    pauses.push_back(to_alarm(world));
    const std::size_t tries = world.count<ConnectOwner>();
    world.run_until([&] { return world.count<ConnectOwner>() > tries; });
  }
  CHECK(pauses.front() == Millis(1000));
  CHECK(pauses.back() == Millis(50'000));  // a minute with the longest jitter
  CHECK(world.state().phase == Phase::kAwaitingOwner);
  world.owner = [] { return Event(OwnerBorn{}); };
  CHECK(world.run_until(Phase::kProvisioned));
}

TEST_CASE("after owner-timeout the platform is asked too, and a refusal leads back to the owner's broker") {
  World world;
  world.config.retry_max_attempts = 1;
  world.owner = [] { return Event(OwnerFailed{kAway}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  const std::size_t connects = world.count<ConnectProvision>();

  SUBCASE("refused") {
    world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
  }
  SUBCASE("unreachable") {
    world.connect = [] { return Event(ProvisionUnreachable{kAway}); };
  }
  SUBCASE("silent") {
    world.platform.silent = true;
  }
  SUBCASE("restarted on the way") {
    world.reboot();
    world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
  }
  world.pass(world.config.owner_timeout - Millis(65'000));
  CHECK(world.count<ConnectProvision>() == connects);
  world.pass(Millis(1'200'000));
  CHECK(world.count<ConnectProvision>() >= connects + 2);
  CHECK(world.state().attempts_failed == 0);
  CHECK(world.state().generation == 1);
  world.owner = [] { return Event(OwnerBorn{}); };
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.state().generation == 1);
}

TEST_CASE(
    "a provision broker that cannot be reached is told with the setting to check, and once is enough for the disk") {
  World world;
  Error error;
  std::string setting;
  SUBCASE("away") {
    error = kAway;
    setting = "check broker-url";
  }
  SUBCASE("not trusted") {
    error = kUntrusted;
    setting = "broker-ca-file";
  }
  world.connect = [&] { return Event(ProvisionUnreachable{error}); };
  world.start();
  world.settle();
  CHECK(world.state().phase == Phase::kConnecting);
  CHECK(world.state().attempts_failed == 0);
  CHECK(holds(last_failure(world), "the provision broker cannot be reached"));
  CHECK(holds(last_failure(world), error.message));
  CHECK(holds(last_failure(world), setting));
  CHECK(world.reported(setting));

  const std::size_t saves = world.count<SaveState>();
  world.pass(Millis(600'000));
  CHECK(world.count<ConnectProvision>() > 10);
  CHECK(world.count<SaveState>() == saves);
  error.message = "no such host";
  world.pass(Millis(600'000));
  CHECK(holds(last_failure(world), "no such host"));
  CHECK(world.count<SaveState>() == saves + 1);

  world.connect = [] { return Event(ProvisionConnected{}); };
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK_FALSE(world.state().last_failure);
}

TEST_CASE("a provision broker that hangs up before it lets us subscribe is told too") {
  World world;
  world.start();
  world.feed(ProvisionConnected{});
  world.feed(ProvisionLost{kAway});
  CHECK(holds(last_failure(world), "the provision broker"));
  CHECK(holds(last_failure(world), kAway.message));
}

TEST_CASE("a device that its owner's broker does not take says why, what to check, and when it tries next") {
  World world;
  await_owner_in_vain(world, kAway);
  CHECK(last_failure(world) ==
        "the owner's broker did not take us: connection refused; check the account's broker url and CA on the "
        "platform, or that the broker is up");
  CHECK(next_try(world.state()) == world.now.wall + Millis(1000));
  CHECK(world.state().attempts_failed == 0);
  CHECK(world.saved == to_json(world.state()));
  SUBCASE("also after more tries") {
    for (int i = 0; i < 6; ++i) {
      const std::size_t tries = world.count<ConnectOwner>();
      world.run_until([&] { return world.count<ConnectOwner>() > tries; });
      world.settle();
      CHECK(next_try(world.state()) == world.now.wall + to_alarm(world));
    }
  }
  SUBCASE("and until it is taken") {
    world.owner = [] { return Event(OwnerBorn{}); };
    REQUIRE(world.run_until(Phase::kProvisioned));
    CHECK(last_failure(world).empty());
    CHECK_FALSE(next_try(world.state()));
  }
}

TEST_CASE("credentials that the owner's broker refuses are told as that") {
  World world;
  await_owner_in_vain(world, kRefusedError);
  CHECK(holds(last_failure(world), "the owner's broker did not take us: not authorised; check that"));
  CHECK(holds(last_failure(world), kClientId));
}

TEST_CASE("a provisioned device whose owner's broker goes away does not look broken, and writes nothing") {
  World world;
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned));
  world.settle();
  const std::size_t saves = world.count<SaveState>();
  world.owner = [] { return Event(OwnerFailed{kAway}); };
  world.feed(OwnerFailed{kAway});
  world.pass(Millis(600'000));
  CHECK(world.reported("owner's broker: connection refused"));
  CHECK(last_failure(world).empty());
  CHECK_FALSE(next_try(world.state()));
  CHECK(world.count<SaveState>() == saves);
}

TEST_CASE("what the platform says when it is asked again does not hide what the owner's broker said") {
  World world;
  await_owner_in_vain(world, kAway);
  const std::size_t connects = world.count<ConnectProvision>();
  const auto asked = [&] { return world.count<ConnectProvision>() > connects; };
  std::string answer;
  SUBCASE("already provisioned") {
    world.platform.silent = true;
    REQUIRE(world.run_until(Phase::kHello));
    world.deliver(prov_answer(refusal(409), world.attempt().request_id, world.attempt().nonce));
    answer =
        "; asking the platform again: refused, already provisioned: an operator can arm the request with: "
        "provisioner retry request";
  }
  SUBCASE("refused at the door") {
    world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
    REQUIRE(world.run_until(asked));
    answer =
        "; asking the platform again: refused (not authorised): an operator can arm the request with: "
        "provisioner retry request";
  }
  SUBCASE("unreachable") {
    world.connect = [] { return Event(ProvisionUnreachable{kAway}); };
    REQUIRE(world.run_until(asked));
    answer =
        "; asking the platform again: the provision broker cannot be reached: connection refused; check broker-url";
  }
  REQUIRE(world.state().phase == Phase::kAwaitingOwner);
  const auto both = [&] {
    return last_failure(world).starts_with("the owner's broker did not take us: connection refused; check") &&
           holds(last_failure(world), answer);
  };
  INFO(last_failure(world));
  CHECK(both());
  CHECK(next_try(world.state()) == world.now.wall + to_alarm(world));
  const std::size_t tries = world.count<ConnectOwner>();
  world.run_until([&] { return world.count<ConnectOwner>() > tries; });
  world.settle();
  CHECK(both());
}

TEST_CASE("the platform is asked again with pauses that grow to an hour, the owner's broker still every minute") {
  World world;
  world.now.random = 1 << 21;  // the longest jitter
  world.connect = [&] {
    return world.state().generation == 0 ? Event(ProvisionConnected{}) : Event(ProvisionRefused{kRefusedError});
  };
  await_owner_in_vain(world, kAway);
  const SteadyTime begin = world.now.steady;
  std::vector<SteadyTime> asked, tried;
  std::size_t connects = world.count<ConnectProvision>();
  std::size_t tries = world.count<ConnectOwner>();
  world.run_until(
      [&] {
        if (world.count<ConnectProvision>() > connects) asked.push_back(world.now.steady);
        if (world.count<ConnectOwner>() > tries) tried.push_back(world.now.steady);
        connects = world.count<ConnectProvision>();
        tries = world.count<ConnectOwner>();
        return false;
      },
      std::chrono::hours(24));

  REQUIRE(asked.size() > 10);
  CHECK(asked.front() - begin >= world.config.owner_timeout);
  CHECK(asked.size() < 30);  // 6 while the pauses grow, then one in 1.2 h
  for (std::size_t i = 2; i < asked.size(); ++i) {
    CHECK(asked[i] - asked[i - 1] + Millis(60'000) >= asked[i - 1] - asked[i - 2]);
  }
  CHECK(asked.back() - asked[asked.size() - 2] >= std::chrono::hours(1));
  for (std::size_t i = 1; i < tried.size(); ++i) CHECK(tried[i] - tried[i - 1] <= Millis(60'000));
  CHECK(world.state().attempts_failed == 0);
}

TEST_CASE("a platform that asks a device to come back later is obeyed, while the owner's broker is still tried") {
  World world;
  await_owner_in_vain(world, kAway);
  world.platform.silent = true;
  REQUIRE(world.run_until(Phase::kHello));
  world.deliver(prov_answer(refusal(503, 1800), world.attempt().request_id, world.attempt().nonce));
  const std::size_t connects = world.count<ConnectProvision>();
  const std::size_t tries = world.count<ConnectOwner>();
  world.pass(Millis(1'790'000));
  CHECK(world.count<ConnectProvision>() == connects);
  CHECK(world.count<ConnectOwner>() >= tries + 29);
  world.pass(Millis(430'000));  // 20 % of jitter, and the next try of the owner's broker
  CHECK(world.count<ConnectProvision>() == connects + 1);
}

TEST_CASE("a restart while the platform is being asked still tells of both brokers") {
  World world;
  await_owner_in_vain(world, kAway);
  world.platform.silent = true;
  REQUIRE(world.run_until(Phase::kHello));
  world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
  world.reboot();
  world.settle();
  REQUIRE(world.state().phase == Phase::kAwaitingOwner);
  CHECK(last_failure(world).starts_with("the owner's broker did not take us; asking the platform again: refused"));
  world.pass(Millis(60'000));
  CHECK(holds(last_failure(world), "did not take us: connection refused"));
  CHECK(holds(last_failure(world), "asking the platform again"));
}

TEST_CASE("an operator who re-arms the request rescues a device that its owner refuses") {
  World world;
  world.owner = [&] { return world.state().generation < 2 ? Event(OwnerFailed{kRefusedError}) : Event(OwnerBorn{}); };
  world.start();
  REQUIRE(world.run_until(Phase::kAwaitingOwner));
  Platform rearmed;
  std::swap(world.platform, rearmed);
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.platform.provs[0].reason == "owner-unreachable");
  CHECK(world.state().generation == 2);
}

TEST_CASE("a provisioned device never leaves that phase, however long its owner is away") {
  World world;
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned));
  const std::size_t connects = world.count<ConnectProvision>();
  world.owner = [] { return Event(OwnerFailed{kRefusedError}); };
  world.feed(OwnerFailed{kAway});
  world.pass(10 * world.config.owner_timeout);
  CHECK(world.state().phase == Phase::kProvisioned);
  CHECK(world.count<ConnectProvision>() == connects);
  world.reboot();
  world.pass(Millis(60'000));
  CHECK(world.state().phase == Phase::kProvisioned);
}

TEST_CASE("in confirming neither a refused connection nor a signed refusal undoes what is installed") {
  World world;
  world.platform.keeps_final_200 = true;
  world.start();
  REQUIRE(world.run_until(Phase::kConfirming));
  world.deliver(prov_answer(refusal(410), world.attempt().request_id, world.attempt().nonce));
  CHECK(world.state().phase == Phase::kConfirming);
  world.connect = [] { return Event(ProvisionRefused{kRefusedError}); };
  world.feed(ProvisionLost{kAway});
  REQUIRE(world.run_until(Phase::kProvisioned, world.config.timeout));
  CHECK(world.state().attempts_failed == 0);
}

}  // namespace
}  // namespace fleet::agent::test
