// How the provisioner's session sends and keeps messages (edc §1, §3).
#include <doctest/doctest.h>

#include "provisioner/broker/session.hpp"
#include "tests/integration/plugin/broker_fixture.hpp"

using namespace fleet;
using namespace fleet::test;
using namespace fleet::provisioner;

namespace {

// The provisioner, as far as the broker knows it.
struct Provisioner {
  explicit Provisioner(const ProvisionBroker& broker) : session(io, broker.folder() / "run/s", "prov", handlers()) {
    session.start();
    REQUIRE(until([this] { return session.ready(); }));
  }
  BrokerSessionHandlers handlers() {
    BrokerSessionHandlers all;
    all.on_message = [this](const Inbound& inbound, const Bytes& payload) {
      heard.push_back(inbound.client_id + " " + inbound.topic + " " + payload);
    };
    all.on_events = [](EventKind, const std::vector<BrokerEvent>&) {};
    all.on_ready = [](bool) {};
    return all;
  }
  bool until(const std::function<bool()>& condition) {
    return eventually([&] {
      io.restart();
      io.run_for(10ms);
      return condition();
    });
  }

  boost::asio::io_context io;
  std::vector<std::string> heard;
  BrokerSession session;
};

}  // namespace

TEST_CASE("what devices reply while the provisioner is away reaches it when it is back") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  { const Provisioner first(broker); }
  CHECK(broker.publish(broker.device("gw-1"), "$EDC/acme/prov/CONF-V1/REPLY/r1", "late"));
  Provisioner second(broker);
  CHECK(second.until([&] { return !second.heard.empty(); }));
  REQUIRE(second.heard.size() == 1);
  CHECK(second.heard[0] == "gw-1 $EDC/acme/prov/CONF-V1/REPLY/r1 late");
}

TEST_CASE("the provisioner sends with QoS 1, never retained, over a session that the broker keeps") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  auto who = broker.device("gw-1");
  who.insert(who.end(), {"-q", "1", "-t", "$EDC/acme/gw-1/#"});
  const Subscriber device(who);
  REQUIRE(device.subscribed());
  Provisioner provisioner(broker);
  CHECK(provisioner.session.publish("$EDC/acme/gw-1/CONF-V1/PUT/configurations", "conf"));
  CHECK(provisioner.until([&] { return device.got("$EDC/acme/gw-1/CONF-V1/PUT/configurations", "conf"); }));
  const auto logged = [&](const std::string& text) {
    return eventually([&] { return broker.log().find(text) != std::string::npos; });
  };
  INFO(broker.log());
  CHECK(logged("Received PUBLISH from prov (d0, q1, r0, m"));
  CHECK(logged(" as prov (p2, c0, k"));
}
