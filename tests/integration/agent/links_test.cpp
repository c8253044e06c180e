// What the agent says on its two brokers besides the messages of the session, and how (edc §1, §3, §4, §5): read off the
// log of a real Mosquitto, and by a subscriber.
#include <algorithm>
#include <set>

#include <doctest/doctest.h>

#include "agent/runtime/facts.hpp"
#include "agent/runtime/owner_link.hpp"
#include "agent/runtime/provision_link.hpp"
#include "core/protocol/kura_payload.hpp"
#include "tests/integration/mqtt/fixture.hpp"

namespace fleet::agent {
namespace {

using test::Broker;
using test::run_until;
using test::SilentServer;
using namespace std::chrono_literals;

// A broker that writes down everything, and somebody who hears all that is said in the trees of devices.
struct Ear {
  Ear() {
    REQUIRE(party.connect(test::options_for(broker.url(), "ear")));
    REQUIRE(party.subscribe("$EDC/#"));
  }
  // The first message on that topic, if one comes.
  const mqtt::Message* hear(const std::string& topic, boost::asio::io_context& io) {
    const mqtt::Message* found = nullptr;
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (found == nullptr && std::chrono::steady_clock::now() < end) {
      io.restart();
      io.run_for(10ms);
      party.until([] { return false; }, 10ms);
      for (const mqtt::Message& message : party.record.messages) {
        if (message.topic == topic && found == nullptr) found = &message;
      }
    }
    return found;
  }
  // Where the broker's log has that text; waits for it.
  std::size_t logged(const std::string& text) {
    test::eventually([&] { return broker.process().output().find(text) != std::string::npos; });
    CAPTURE(text);
    CAPTURE(broker.process().output());
    const std::size_t at = broker.process().output().find(text);
    CHECK(at != std::string::npos);
    return at;
  }

  test::TempFolder folder;
  Broker broker{folder, "allow_anonymous true\nlog_type all\nlog_dest stderr\n"};
  test::Party party;
};

OwnerConnection owner_at(const mqtt::BrokerUrl& url) {
  OwnerConnection owner;
  owner.broker_url = url;
  owner.account = "acme";
  return owner;
}

// A device on its owner's broker.
struct Owned {
  explicit Owned(const mqtt::BrokerUrl& url) : Owned(owner_at(url)) {}
  explicit Owned(const OwnerConnection& owner) {
    Identity identity;
    identity.serial.value = "SN1";
    link.connect(owner, "gw-1", {}, device_facts(identity), "");
  }
  // Why its connection failed, once it has; "" otherwise.
  std::string failure() const {
    for (const Event& event : events) {
      if (const auto* failed = std::get_if<OwnerFailed>(&event)) return failed->error.message;
    }
    return "";
  }
  bool born() const {
    return std::any_of(events.begin(), events.end(),
                       [](const Event& event) { return std::holds_alternative<OwnerBorn>(event); });
  }

  boost::asio::io_context io;
  std::vector<Event> events;
  OwnerLink link{io, [this](const Event& event) { events.push_back(event); }, [] {}};
};

}  // namespace

TEST_CASE("BIRTH goes to the owner's broker with QoS 1, not retained, all its metrics STRING, before the subscription") {
  Ear ear;
  Owned device(ear.broker.url());
  const mqtt::Message* birth = ear.hear("$EDC/acme/gw-1/MQTT/BIRTH", device.io);
  REQUIRE(birth != nullptr);
  CHECK(birth->qos == 1);
  const auto payload = protocol::decode(birth->payload);
  REQUIRE(payload);
  std::set<std::string> names;
  for (const protocol::Metric& metric : payload->metrics) {
    CAPTURE(metric.name);
    CHECK(metric.type() == protocol::MetricType::kString);
    names.insert(metric.name);
  }
  CHECK(names == std::set<std::string>{
                     "uptime", "display_name", "model_name", "model_id", "part_number", "serial_number",
                     "firmware_version", "bios_version", "os", "os_version", "os_arch", "available_processors",
                     "total_memory", "connection_interface", "connection_ip", "accept_encoding", "application_ids",
                     "payload_encoding"});
  CHECK(payload->timestamp.has_value());
  const std::size_t said = ear.logged("Received PUBLISH from gw-1 (d0, q1, r0, m1, '$EDC/acme/gw-1/MQTT/BIRTH'");
  const std::size_t subscribed = ear.logged("Received SUBSCRIBE from gw-1");
  CHECK(said < subscribed);
  ear.logged("$EDC/acme/gw-1/# (QoS 1)");
}

TEST_CASE("the owner's broker is spoken to in MQTT 3.1.1, with a clean session and a keep-alive of 30 s") {
  Ear ear;
  Owned device(ear.broker.url());
  REQUIRE(run_until(device.io, [&] { return device.born(); }));
  ear.logged(" as gw-1 (p2, c1, k30");
}

TEST_CASE("a device that leaves its owner's broker says DC with QoS 0, one that is lost leaves LWT with QoS 0") {
  Ear ear;
  {
    Owned device(ear.broker.url());
    REQUIRE(run_until(device.io, [&] { return device.born(); }));
    device.link.leave();
    const mqtt::Message* goodbye = ear.hear("$EDC/acme/gw-1/MQTT/DC", device.io);
    REQUIRE(goodbye != nullptr);
    CHECK(goodbye->qos == 0);
    ear.logged("Received PUBLISH from gw-1 (d0, q0, r0, m0, '$EDC/acme/gw-1/MQTT/DC'");
    ear.logged("Received DISCONNECT from gw-1");
  }
  {
    Owned device(ear.broker.url());
    REQUIRE(run_until(device.io, [&] { return device.born(); }));
  }  // its socket is closed without a word
  boost::asio::io_context nobody;
  const mqtt::Message* lost = ear.hear("$EDC/acme/gw-1/MQTT/LWT", nobody);
  REQUIRE(lost != nullptr);
  CHECK(lost->qos == 0);
  CHECK(protocol::decode(lost->payload).has_value());
  ear.logged("bytes) (r0, q0).");
  ear.logged("\t$EDC/acme/gw-1/MQTT/LWT");
}

TEST_CASE("a device is born at the PUBACK of BIRTH, not when it is let in") {
  const Bytes connack("\x20\x02\x00\x00", 4);
  {
    SilentServer broker;
    broker.play({connack});
    Owned device(broker.url());
    CHECK_FALSE(run_until(device.io, [&] { return !device.events.empty(); }, 500ms));
  }
  {
    SilentServer broker;
    broker.play({connack, Bytes("\x40\x02\x00\x01", 4)});
    Owned device(broker.url());
    CHECK(run_until(device.io, [&] { return device.born(); }));
  }
}

TEST_CASE("the will on the owner's broker is the delivered one: topic, payload, QoS and retain") {
  Ear ear;
  OwnerConnection owner = owner_at(ear.broker.url());
  owner.will = OwnerWill{"acme/#client-id/gone", "was #client-id", 1, true};
  {
    Owned device(owner);
    REQUIRE(run_until(device.io, [&] { return device.born(); }));
  }
  ear.logged("bytes) (r1, q1).");
  ear.logged("\tacme/gw-1/gone");
  test::Party late;
  REQUIRE(late.connect(test::options_for(ear.broker.url(), "late")));
  REQUIRE(late.subscribe("acme/gw-1/gone"));
  REQUIRE(late.until([&] { return late.record.messages.size() == 1; }));
  CHECK(late.record.messages[0].retained);
  CHECK(late.record.messages[0].qos == 1);
  CHECK(late.record.messages[0].payload == "was #client-id");  // placeholders are the topic's
}

TEST_CASE("without a will a device that is lost leaves nothing") {
  Ear ear;
  OwnerConnection owner = owner_at(ear.broker.url());
  owner.will.reset();
  {
    Owned device(owner);
    REQUIRE(run_until(device.io, [&] { return device.born(); }));
  }
  const std::size_t accepted = ear.logged(" as gw-1 (p2, c1, k30");
  CHECK(test::eventually([&] {
    return ear.broker.process().output().find("No will message specified.", accepted) != std::string::npos;
  }));
}

TEST_CASE("the owner's broker is spoken to in the delivered version, with the delivered kind of session") {
  Ear ear;
  OwnerConnection owner = owner_at(ear.broker.url());
  owner.version = mqtt::Version::k5;
  owner.clean_session = false;
  owner.keep_alive = Seconds(45);
  Owned device(owner);
  REQUIRE(run_until(device.io, [&] { return device.born(); }));
  ear.logged(" as gw-1 (p5, c0, k45");
}

TEST_CASE("an owner's broker that does not answer is given up after the delivered timeout") {
  SilentServer broker;
  OwnerConnection owner = owner_at(broker.url());
  owner.timeout = Seconds(1);
  Owned device(owner);
  REQUIRE(run_until(device.io, [&] { return !device.events.empty(); }));
  CHECK(device.failure().ends_with(": the broker did not answer within 1 s"));
}

TEST_CASE("an owner's broker that refuses BIRTH, as MQTT 5 can, has not taken the device") {
  SilentServer broker;
  // CONNACK, then PUBACK 1 with reason 0x87
  broker.play({Bytes("\x20\x03\x00\x00\x00", 5), Bytes("\x40\x03\x00\x01\x87", 5)});
  OwnerConnection owner = owner_at(broker.url());
  owner.version = mqtt::Version::k5;
  Owned device(owner);
  REQUIRE(run_until(device.io, [&] { return !device.events.empty(); }));
  CHECK_FALSE(device.born());
  CHECK_MESSAGE(device.failure().ends_with(": BIRTH was refused: Not authorized"), device.failure());
}

namespace {

// A device on the provision broker.
struct Provisioning {
  explicit Provisioning(const mqtt::BrokerUrl& url)
      : link(io, {url}, [this](Event event) { events.push_back(std::move(event)); }, [] {}) {
    link.connect({"provision", "gw-1", "user-1", Secret("password-1")},
                 [](const mqtt::BrokerUrl&) { return Result<crypto::TlsContext>(crypto::TlsContext()); });
  }
  template <typename T>
  bool until() {
    return run_until(io, [this] {
      return std::any_of(events.begin(), events.end(), [](const Event& e) { return std::holds_alternative<T>(e); });
    });
  }

  boost::asio::io_context io;
  std::vector<Event> events;
  ProvisionLink link;
};

}  // namespace

TEST_CASE("to the provision broker a device says everything with QoS 1, never retained, and goodbye with DC") {
  Ear ear;
  Provisioning device(ear.broker.url());
  REQUIRE(device.until<ProvisionConnected>());
  device.link.subscribe("$EDC/provision/gw-1/#");
  REQUIRE(device.until<ProvisionSubscribed>());
  device.link.publish("$EDC/provision/gw-1/MQTT/PROV", "hello");
  const mqtt::Message* hello = ear.hear("$EDC/provision/gw-1/MQTT/PROV", device.io);
  REQUIRE(hello != nullptr);
  CHECK(hello->qos == 1);
  ear.logged("Received PUBLISH from gw-1 (d0, q1, r0,");
  ear.logged("$EDC/provision/gw-1/# (QoS 1)");
  ear.logged(" as gw-1 (p2, c1, k30, u'user-1'");
  ear.logged("bytes) (r0, q0).");
  ear.logged("\t$EDC/provision/gw-1/MQTT/LWT");
  device.link.leave(true);
  REQUIRE(ear.hear("$EDC/provision/gw-1/MQTT/DC", device.io) != nullptr);
  const std::size_t said = ear.logged("'$EDC/provision/gw-1/MQTT/DC'");
  CHECK(said < ear.logged("Received DISCONNECT from gw-1"));
}

}  // namespace fleet::agent
