// Who guesses is not listened to for a while, and nobody else suffers from it.
#include <doctest/doctest.h>

#include "tests/integration/plugin/broker_fixture.hpp"

using namespace fleet::test;
using namespace fleet::provisioner;

namespace {

std::vector<std::string> from(std::vector<std::string> who, const std::string& address) {
  who.insert(who.end(), {"-A", address});
  return who;
}

std::string lock_of(int wrong_tries, const std::string& pause) {
  return std::to_string(wrong_tries) + " wrong tries in a row, not listened to for " + pause;
}

// Guesses until the lock after that many wrong tries has begun.
bool guess_until(const ProvisionBroker& broker, const Subscriber& provisioner, int wrong_tries, const std::string& pause) {
  return eventually(
      [&] {
        broker.connect(broker.device("gw-1", "wrong"));
        return provisioner.events(EventKind::kLocked, "gw-1", lock_of(wrong_tries, pause)) == 1;
      },
      30s);
}

}  // namespace

TEST_CASE("a guesser is locked out with growing pauses, the right device at its own address is not") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  broker.projection().add("gw-2");
  REQUIRE(broker.start());
  const Subscriber provisioner = broker.listen();
  REQUIRE(provisioner.subscribed());
  REQUIRE(guess_until(broker, provisioner, 8, "8s"));
  for (const auto& [tries, pause] : {std::pair(5, "1s"), std::pair(6, "2s"), std::pair(7, "4s")}) {
    CHECK(provisioner.events(EventKind::kLocked, "gw-1", lock_of(tries, pause)) == 1);
  }
  CHECK(provisioner.events(EventKind::kRefused, "gw-1", "wrong-credentials") == 8);
  // from the guesser's address not even the right secret is looked at; from others, and of others, it is
  CHECK(broker.connect(broker.device("gw-1")) == 5);
  CHECK(broker.connect(from(broker.device("gw-1"), "127.0.0.2")) == 0);
  CHECK(broker.connect(broker.device("gw-2")) == 0);
  // when it has waited, the right secret opens, and the count begins anew
  CHECK(eventually([&] { return broker.connect(broker.device("gw-1")) == 0; }, 20s));
  for (int i = 0; i < 4; ++i) CHECK(broker.connect(broker.device("gw-1", "wrong")) == 5);
  CHECK(broker.connect(broker.device("gw-1")) == 0);
}

TEST_CASE("guesses from many addresses do not shut out the device") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  for (int host = 10; host < 20; ++host) {
    for (int i = 0; i < 6; ++i) {
      CHECK(broker.connect(from(broker.device("gw-1", "wrong"), "127.0.0." + std::to_string(host))) == 5);
    }
    CHECK(broker.connect(broker.device("gw-1")) == 0);
  }
}

TEST_CASE("a new secret, or a request for whom there was none, opens at once") {
  ProvisionBroker broker;
  REQUIRE(broker.start());
  for (int i = 0; i < 6; ++i) CHECK(broker.connect(broker.device("gw-1")) == 5);
  broker.projection().add("gw-1");
  CHECK(broker.connect(broker.device("gw-1")) == 0);
}

TEST_CASE("a device that may not connect now is not taken for a guesser") {
  ProvisionBroker broker;
  broker.projection().add("gw-1", Admission::kDisabled);
  REQUIRE(broker.start());
  for (int i = 0; i < 8; ++i) CHECK(broker.connect(broker.device("gw-1")) == 5);
  broker.projection().run("UPDATE device SET state = 0");
  CHECK(broker.connect(broker.device("gw-1")) == 0);
}
