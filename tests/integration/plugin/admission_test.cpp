// edc §1: who is admitted to the provision broker, and what the provisioner hears of it.
#include <signal.h>

#include <doctest/doctest.h>

#include "tests/integration/plugin/broker_fixture.hpp"

using namespace fleet::test;
using namespace fleet::provisioner;

TEST_CASE("a device is admitted while its request is open and its credentials match, and each refusal has its reason") {
  ProvisionBroker broker;
  Projection& projection = broker.projection();
  projection.add("open");
  projection.add("disabled", Admission::kDisabled);
  projection.add("abandoned", Admission::kAbandoned);
  projection.add("early", Admission::kOpen, 60s);
  projection.add("late", Admission::kOpen, -60s, -1s);
  projection.add("grace", Admission::kCompleted, -60s, 60s);
  projection.add("done", Admission::kCompleted, -60s, -1s);
  REQUIRE(broker.start());
  const Subscriber provisioner = broker.listen();
  REQUIRE(provisioner.subscribed());

  CHECK(broker.connect(broker.device("open")) == 0);
  CHECK(broker.connect(broker.device("grace")) == 0);

  constexpr int kRefused = 5;
  CHECK(broker.connect(broker.device("nobody")) == kRefused);
  CHECK(broker.connect(broker.device("open", "wrong")) == kRefused);
  CHECK(broker.connect(broker.device("open", "", "other")) == kRefused);
  CHECK(broker.connect(broker.device("open", "secret-of-grace")) == kRefused);
  CHECK(broker.connect(broker.device("OPEN", "secret-of-open")) == kRefused);
  CHECK(broker.connect(broker.device("disabled")) == kRefused);
  CHECK(broker.connect(broker.device("abandoned")) == kRefused);
  CHECK(broker.connect(broker.device("early")) == kRefused);
  CHECK(broker.connect(broker.device("late")) == kRefused);
  CHECK(broker.connect(broker.device("done")) == kRefused);
  for (const char* id : {"a+b", "a/b", "#", "a b", "a.b"}) {
    CAPTURE(id);
    CHECK(broker.connect(broker.device(id)) == kRefused);
  }
  CHECK(broker.connect(broker.device(std::string(300, 'x'))) == kRefused);
  CHECK(broker.connect(broker.device("open")) == 0);  // or the next wrong ones would be too many in a row
  // without credentials, and with a username alone
  auto bare = broker.device("open");
  bare.resize(6);
  CHECK(broker.connect(bare) == kRefused);
  bare.insert(bare.end(), {"-u", "user"});
  CHECK(broker.connect(bare) == kRefused);
  // the same refusal in MQTT 5 is 0x87
  auto five = broker.device("open", "wrong");
  five.insert(five.end(), {"-V", "mqttv5"});
  CHECK(broker.connect(five) == 0x87);

  const auto refused = [&](const char* id, const char* reason) {
    return provisioner.events(EventKind::kRefused, id, reason);
  };
  CHECK(eventually([&] { return refused("open", "wrong-credentials") == 6; }));
  CHECK(refused("nobody", "unknown") == 1);
  CHECK(refused("OPEN", "unknown") == 1);
  CHECK(refused("disabled", "disabled") == 1);
  CHECK(refused("abandoned", "abandoned") == 1);
  CHECK(refused("early", "not-yet-active") == 1);
  CHECK(refused("late", "expired") == 1);
  CHECK(refused("done", "completed") == 1);
  CHECK(refused("a+b", "bad-client-id") == 1);
  CHECK(refused("#", "bad-client-id") == 1);
  CHECK(refused("grace", "completed") == 0);
  CHECK(eventually([&] { return provisioner.events(EventKind::kConnected, "open") == 2; }));
  CHECK(provisioner.events(EventKind::kConnected, "disabled") == 0);
  CHECK(broker.log().find("secret-of-") == std::string::npos);
}

TEST_CASE("the provisioner's client id is accepted on the local socket only, and nobody else is accepted there") {
  ProvisionBroker broker;
  broker.projection().add("prov");  // even if a request had it
  broker.projection().add("open");
  REQUIRE(broker.start());
  CHECK(broker.connect(broker.device("prov")) == 5);
  CHECK(broker.connect(broker.local("open")) == 5);
  CHECK(broker.connect(broker.local("somebody")) == 5);
  auto with_password = broker.local("open");
  with_password.insert(with_password.end(), {"-u", "user", "-P", "secret-of-open"});
  CHECK(broker.connect(with_password) == 5);
  CHECK(broker.connect(broker.local("prov")) == 0);
  // reasons wait for the provisioner
  const Subscriber provisioner = broker.listen();
  CHECK(eventually([&] { return provisioner.events(EventKind::kRefused, "prov", "reserved-client-id") == 1; }));
  CHECK(provisioner.events(EventKind::kRefused, "somebody", "bad-client-id") == 1);
}

TEST_CASE("a flood of refusals arrives aggregated") {
  ProvisionBroker broker;
  REQUIRE(broker.start());
  const Subscriber provisioner = broker.listen();
  for (int i = 0; i < 40; ++i) broker.connect(broker.device("nobody"));
  CHECK(eventually([&] {
    return provisioner.events(EventKind::kRefused, "nobody", "unknown") +
               provisioner.events(EventKind::kRefused, "nobody", "locked") ==
           40;
  }));
  CHECK(provisioner.received().size() < 10);
}

TEST_CASE("an operator's change counts at the next connect, and a kick ends a live connection") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  broker.projection().add("gw-2");
  REQUIRE(broker.start());
  Subscriber first({[&] {
    auto who = broker.device("gw-1");
    who.insert(who.end(), {"-t", "$EDC/acme/gw-1/#"});
    return who;
  }()});
  Subscriber second({[&] {
    auto who = broker.device("gw-2");
    who.insert(who.end(), {"-t", "$EDC/acme/gw-2/#"});
    return who;
  }()});
  REQUIRE(first.subscribed());
  REQUIRE(second.subscribed());
  broker.projection().run("UPDATE device SET state = 1 WHERE client_id = 'gw-1'");
  CHECK(broker.publish(broker.local(), "$CONTROL/provisioner/v1", "gw-1"));
  CHECK(first.process().wait(5s) == 5);  // comes back by itself and is refused
  CHECK(second.process().running());

  // what is no device's client id ends nobody, the provisioner least of all
  for (const char* payload : {"", "prov", "#", "gw-2/x"}) {
    CHECK(broker.publish(broker.local(), "$CONTROL/provisioner/v1", payload));
  }
  CHECK_FALSE(broker.publish(broker.local(), "$CONTROL/provisioner/v2", "gw-2"));
  CHECK(second.process().running());
  Subscriber provisioner = broker.listen();
  CHECK(eventually([&] { return provisioner.events(EventKind::kDisconnected, "gw-1") == 1; }));
  CHECK(provisioner.events(EventKind::kDisconnected, "gw-2") == 0);
}

TEST_CASE("a connection that is taken over is no disconnect") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  const Subscriber provisioner = broker.listen();
  auto who = broker.device("gw-1");
  who.insert(who.end(), {"-t", "$EDC/acme/gw-1/#"});
  Subscriber old(who);
  old.process().signal(SIGSTOP);  // or it would come back and take over in turn
  REQUIRE(eventually([&] { return provisioner.events(EventKind::kConnected, "gw-1") == 1; }));
  Subscriber young(who);
  REQUIRE(eventually([&] { return provisioner.events(EventKind::kConnected, "gw-1") == 2; }));
  CHECK(provisioner.events(EventKind::kDisconnected, "gw-1") == 0);
  old.process().kill();
  young.process().stop();
  CHECK(eventually([&] { return provisioner.events(EventKind::kDisconnected, "gw-1") == 1; }));
}
