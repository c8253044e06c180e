// How the provisioner's session sends and keeps messages (edc §1, §3).
#include <memory>

#include <doctest/doctest.h>
#include <fmt/format.h>

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

TEST_CASE("messages of any number and size reach their devices in their order") {
  ProvisionBroker broker;
  std::vector<std::unique_ptr<Subscriber>> devices;
  for (const std::string id : {"gw-1", "gw-2"}) broker.projection().add(id);
  REQUIRE(broker.start());
  for (const std::string id : {"gw-1", "gw-2"}) {
    devices.push_back(std::make_unique<Subscriber>(broker.listen_as(id)));
    REQUIRE(devices.back()->subscribed());
  }
  Provisioner provisioner(broker);
  // together more than one publish may hold, and one that nearly fills a publish by itself
  std::vector<std::string> sent;
  for (std::size_t i = 0; i < 40; ++i) sent.push_back(std::to_string(i) + std::string(i % 3 == 0 ? 60'000 : 10, 'x'));
  sent.push_back(std::string(1'046'000, 'y'));
  sent.emplace_back("last");
  for (const std::string& payload : sent) {
    for (const char* id : {"gw-1", "gw-2"}) CHECK(provisioner.session.publish(fmt::format("$EDC/acme/{}/CONF-V1/PUT/x", id), payload));
  }
  for (const auto& device : devices) {
    std::vector<Received> received;
    CHECK(provisioner.until([&] { return (received = device->received()).size() >= sent.size(); }));
    REQUIRE(received.size() == sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) CHECK((received[i].payload == sent[i]));
  }
  CHECK(provisioner.session.ready());
}

TEST_CASE("a device hears what it was told before its connection was ended") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  const Subscriber device = broker.listen_as("gw-1");
  REQUIRE(device.subscribed());
  Provisioner provisioner(broker);
  const std::string topic = "$EDC/acme/gw-1/PROV-V1/REPLY/r1";
  for (int i = 0; i < 5; ++i) {
    CAPTURE(i);
    const std::string there = fmt::format("are you there? {}", i), why = fmt::format("go, because {}", i);
    // it comes back by itself after each kick
    REQUIRE(provisioner.until([&] {
      provisioner.session.publish(topic, there);
      return device.got(topic, there);
    }));
    // a socket that is closed while an acknowledgement is unread takes back what the device has not read
    provisioner.io.restart();
    provisioner.io.run_for(100ms);
    provisioner.session.publish(topic, why);
    provisioner.session.kick("gw-1");
    CHECK(provisioner.until([&] { return device.got(topic, why); }));
  }
}

TEST_CASE("the provisioner sends with QoS 1, never retained, over a session that the broker keeps") {
  ProvisionBroker broker;
  broker.projection().add("gw-1");
  REQUIRE(broker.start());
  const Subscriber device = broker.listen_as("gw-1");
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
