// The provisioner's session against a real broker with the plugin.
#include "provisioner/broker/session.hpp"

#include <doctest/doctest.h>

#include "tests/integration/plugin/broker_fixture.hpp"

using namespace fleet;
using namespace fleet::test;
using namespace fleet::provisioner;

TEST_CASE("a kick that is wanted without a session is sent with the next one") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  auto who = broker.device("gw-1");
  who.insert(who.end(), {"-t", "$EDC/acme/gw-1/#"});
  Subscriber device(who);
  REQUIRE(device.subscribed());

  boost::asio::io_context io;
  bool ready = false;
  BrokerSessionHandlers handlers;
  handlers.on_message = [](Inbound, Bytes) {};
  handlers.on_events = [](EventKind, std::vector<BrokerEvent>) {};
  handlers.on_ready = [&](bool now) { ready = now; };
  BrokerSession session(io, broker.folder() / "run/s", "prov", handlers);
  session.kick("gw-1");
  broker.projection().run("UPDATE device SET state = 1 WHERE client_id = 'gw-1'");
  session.start();
  const bool ended = eventually([&] {
    io.restart();
    io.run_for(10ms);
    return ready && !device.process().running();
  });
  CHECK(ended);
  CHECK(device.process().wait() == 5);  // came back by itself and was refused
}
