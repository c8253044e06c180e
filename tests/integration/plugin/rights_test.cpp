// edc §1: what a device may publish and receive, and how the provisioner learns who sent it.
#include <fstream>

#include <doctest/doctest.h>

#include "provisioner/admission/outbound.hpp"
#include "tests/integration/plugin/broker_fixture.hpp"

using namespace fleet;
using namespace fleet::test;
using namespace fleet::provisioner;

namespace {

// gw-1 and gw-2, and the provisioner listening.
struct TwoDevices {
  TwoDevices() {
    broker.projection().add("gw-1");
    broker.projection().add("gw-2");
    REQUIRE(broker.start());
    gw1 = broker.device("gw-1");
  }

  ProvisionBroker broker;
  std::vector<std::string> gw1;
};

std::size_t denials_of(const Subscriber& provisioner, const std::string& client_id) {
  std::size_t count = 0;
  for (const Received& message : provisioner.received()) {
    if (message.topic != event_topic(EventKind::kDenied)) continue;
    const auto events = parse_events(message.payload);
    REQUIRE(events);
    for (const BrokerEvent& event : *events) {
      if (event.client_id == client_id) count += event.count;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("what a device publishes reaches the provisioner under its authenticated client id") {
  TwoDevices t;
  const Subscriber provisioner = t.broker.listen();
  for (const std::string topic : {"$EDC/acme/gw-1/MQTT/PROV", "$EDC/acme/gw-1/MQTT/DC",
                                  "$EDC/acme/prov/CONF-V1/REPLY/r1", "$EDC/acme/prov/DEPLOY-V2/NOTIFY/gw-1/install"}) {
    CAPTURE(topic);
    CHECK(t.broker.publish(t.gw1, topic, "hello"));
    CHECK(eventually([&] { return provisioner.got("$PROVISIONER/in/gw-1/" + topic, "hello"); }));
  }
  // a reply to another device's step is allowed by its topic, but names its true sender
  CHECK(t.broker.publish(t.broker.device("gw-2"), "$EDC/acme/prov/CONF-V1/REPLY/of-gw-1", "spoofed"));
  CHECK(eventually(
      [&] { return provisioner.got("$PROVISIONER/in/gw-2/$EDC/acme/prov/CONF-V1/REPLY/of-gw-1", "spoofed"); }));
  for (const Received& message : provisioner.received()) CHECK(message.topic.starts_with("$PROVISIONER/"));
}

TEST_CASE("everything else that a device publishes is denied and reported") {
  TwoDevices t;
  const Subscriber provisioner = t.broker.listen();
  const Subscriber victim = t.broker.listen_as("gw-2");
  REQUIRE(victim.subscribed());
  const std::vector<std::string> topics{"$EDC/acme/gw-2/MQTT/PROV",
                                        "$EDC/acme/gw-2/CONF-V1/PUT/configurations",
                                        "$EDC/acme/gw-1/CONF-V1/PUT/x",
                                        "$EDC/acme/prov/PROV-V1/REPLY/r",
                                        "$EDC/acme/prov/CONF-V1/REPLY/a/b",
                                        "$EDC/acme/prov/DEPLOY-V2/NOTIFY/gw-2/x",
                                        "$EDC/other/gw-1/MQTT/PROV",
                                        "acme/gw-1/data",
                                        "data",
                                        "$SYS/broker/x",
                                        "$PROVISIONER/in/gw-2/$EDC/acme/gw-2/MQTT/PROV",
                                        "$PROVISIONER/refused",
                                        "$CONTROL/provisioner/v1",
                                        "$CONTROL/provisioner-send/v1",
                                        "$CONTROL/dynamic-security/v1"};
  for (const std::string& topic : topics) {
    CAPTURE(topic);
    CHECK_FALSE(t.broker.publish(t.gw1, topic, "gw-2"));
  }
  CHECK_FALSE(t.broker.publish(t.gw1, "$EDC/acme/gw-1/MQTT/PROV", "x", {"-r"}));
  // all are counted, but what the broker itself refuses ($SYS); of those of one second the first eight by name
  CHECK(eventually([&] { return denials_of(provisioner, "gw-1") >= topics.size(); }));
  CHECK(denials_of(provisioner, "gw-1") == topics.size());
  CHECK(provisioner.events(EventKind::kDenied, "gw-1", "publish $EDC/acme/gw-2/MQTT/PROV") == 1);
  for (const Received& message : provisioner.received()) CHECK_FALSE(message.topic.starts_with("$PROVISIONER/in/"));
  CHECK(victim.received().empty());
  CHECK(provisioner.events(EventKind::kDisconnected, "gw-2") == 0);  // the kick was denied too
}

TEST_CASE("a device subscribes to its own tree only") {
  TwoDevices t;
  for (const char* filter : {"$EDC/acme/gw-1/#", "$EDC/acme/gw-1/CONF-V1/+/configurations"}) {
    CAPTURE(filter);
    CHECK(t.broker.subscribe(t.gw1, filter));
  }
  for (const char* filter :
       {"#", "+/#", "$EDC/#", "$EDC/acme/#", "$EDC/acme/+/#", "$EDC/+/gw-1/#", "$EDC/acme/gw-2/#",
        "$EDC/acme/gw-2/CONF-V1/PUT/configurations", "$EDC/acme/prov/#", "$SYS/#", "$SYS/broker/version",
        "$PROVISIONER/#", "$PROVISIONER/in/gw-1/#", "$PROVISIONER-PARCELS/v1", "$CONTROL/#", "$share/g/$EDC/acme/gw-1/#", "acme/gw-1/#"}) {
    CAPTURE(filter);
    CHECK_FALSE(t.broker.subscribe(t.gw1, filter));
  }
  const Subscriber provisioner = t.broker.listen();
  CHECK(eventually([&] { return provisioner.events(EventKind::kDenied, "gw-1", "subscribe #") == 1; }));
}

TEST_CASE("the provisioner reaches one device, and only in devices' trees") {
  TwoDevices t;
  const Subscriber one = t.broker.listen_as("gw-1");
  const Subscriber two = t.broker.listen_as("gw-2");
  REQUIRE(two.subscribed());
  const auto prov = t.broker.local();
  const std::vector<const char*> elsewhere{"$EDC/other/gw-1/x", "$PROVISIONER/in/gw-1/x", "data", "$SYS/x", "$EDC/acme/gw-1/#",
                                           "$EDC/acme/+/x", "$EDC/acme/gw-1/\xff", "", "$CONTROL/provisioner/v1"};
  // what it may not send does not take along what it may
  Bytes parcel;
  const std::string refused = "message for devices: not a topic of theirs";
  const auto refusals = [&] {
    const std::string log = t.broker.log();
    std::size_t count = 0;
    for (std::size_t at = log.find(refused); at != std::string::npos; at = log.find(refused, at + 1)) ++count;
    return count;
  };
  for (const char* topic : elsewhere) append_outbound(parcel, topic, "gw-2");
  append_outbound(parcel, std::string_view("$EDC/acme/gw-1/\0x", 17), "gw-2");
  append_outbound(parcel, "$EDC/acme/gw-1/CONF-V1/PUT/configurations", "conf");
  CHECK(t.broker.publish_file(prov, std::string(kSendTopic), parcel));
  CHECK(eventually([&] { return one.got("$EDC/acme/gw-1/CONF-V1/PUT/configurations", "conf"); }));
  CHECK(refusals() == elsewhere.size() + 1);
  CHECK(one.received().size() == 1);
  CHECK(two.received().empty());
  for (const char* topic : {"$EDC/other/gw-1/x", "$PROVISIONER/in/gw-1/x", "data", "$SYS/x"}) {
    CAPTURE(topic);
    CHECK_FALSE(t.broker.publish(prov, topic));
  }
  CHECK_FALSE(t.broker.publish(prov, "$EDC/acme/gw-1/CONF-V1/PUT/configurations", "conf", {"-r"}));
  // a broken one is nobody's message, and costs the provisioner nothing
  Bytes broken;
  append_outbound(broken, "$EDC/acme/gw-1/CONF-V1/PUT/configurations", "whole");
  append_outbound(broken, "$EDC/acme/gw-1/CONF-V1/PUT/configurations", "cut");
  broken.pop_back();
  for (const std::string_view bad : {std::string_view("hello"), std::string_view(broken)}) {
    CHECK(t.broker.publish_file(prov, std::string(kSendTopic), bad));
  }
  // whatever came through would have come before this
  Bytes last;
  for (const char* id : {"gw-1", "gw-2"}) append_outbound(last, fmt::format("$EDC/acme/{}/CONF-V1/PUT/configurations", id), "last");
  CHECK(t.broker.publish_file(prov, std::string(kSendTopic), last));
  for (const Subscriber* device : {&one, &two}) {
    CHECK(eventually([&] { return !device->received().empty() && device->received().back().payload == "last"; }));
  }
  CHECK(one.received().size() == 2);
  CHECK(two.received().size() == 1);
  CHECK_FALSE(t.broker.publish_file(t.gw1, std::string(kSendTopic), parcel));
  for (const char* filter : {"#", "$EDC/#", "$SYS/#", "$EDC/acme/gw-1/#"}) {
    CAPTURE(filter);
    CHECK_FALSE(t.broker.subscribe(prov, filter));
  }
}

TEST_CASE("a will has no effect, wherever it points") {
  TwoDevices t;
  Subscriber provisioner = t.broker.listen();
  Subscriber victim = t.broker.listen_as("gw-2");
  const auto die_with_will = [&](const std::string& topic, bool retain = false) {
    std::vector<std::string> will{"--will-topic", topic, "--will-payload", "boo", "--will-qos", "1"};
    if (retain) will.emplace_back("--will-retain");
    Subscriber device = t.broker.listen_as("gw-1", will);
    REQUIRE(device.subscribed());
    device.process().kill();
  };
  const auto denied = [&](const std::string& topic) {
    return eventually([&] { return provisioner.events(EventKind::kDenied, "gw-1", "publish " + topic) == 1; });
  };
  for (const std::string topic :
       {"$EDC/acme/gw-1/MQTT/PROV", "$EDC/acme/prov/CONF-V1/REPLY/r1", "$EDC/acme/gw-2/CONF-V1/PUT/configurations",
        "$PROVISIONER/in/gw-2/$EDC/acme/gw-2/MQTT/PROV", "$CONTROL/provisioner/v1", "data"}) {
    CAPTURE(topic);
    die_with_will(topic);
    CHECK(denied(topic));
  }
  die_with_will("$EDC/acme/gw-1/MQTT/LWT", true);
  CHECK(denied("$EDC/acme/gw-1/MQTT/LWT"));
  die_with_will("$EDC/acme/gw-1/MQTT/LWT");
  CHECK(eventually([&] { return provisioner.events(EventKind::kDisconnected, "gw-1") >= 2; }));
  CHECK(provisioner.events(EventKind::kDenied, "gw-1", "publish $EDC/acme/gw-1/MQTT/LWT") == 1);
  for (const Received& message : provisioner.received()) CHECK(message.payload != "boo");
  CHECK(victim.received().empty());
}

TEST_CASE("what devices send while the provisioner is away waits for it, through a restart of the broker") {
  const std::string location = "persistence_location ";
  ProvisionBroker broker({"root", {"persistence true", "max_queued_messages 0", "autosave_interval 1"}});
  broker.projection().add("gw-1");
  {
    std::ofstream conf(broker.folder() / "mosquitto.conf", std::ios::app);
    conf << location << (broker.folder() / "run/").string() << "\n";
  }
  REQUIRE(broker.start());
  {
    Subscriber provisioner = broker.listen({"-c"});
    REQUIRE(provisioner.subscribed());
  }
  CHECK(broker.publish(broker.device("gw-1"), "$EDC/acme/gw-1/MQTT/PROV", "one"));
  broker.stop();
  REQUIRE(broker.start());
  // the session is now one that the broker knows from its file only
  CHECK(broker.publish(broker.device("gw-1"), "$EDC/acme/gw-1/MQTT/PROV", "two"));
  const Subscriber provisioner = broker.listen({"-c"});
  CHECK(eventually([&] { return provisioner.got("$PROVISIONER/in/gw-1/$EDC/acme/gw-1/MQTT/PROV", "one"); }));
  CHECK(eventually([&] { return provisioner.got("$PROVISIONER/in/gw-1/$EDC/acme/gw-1/MQTT/PROV", "two"); }));
}
