#include "provisioner/admission/events.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

TEST_CASE("an inbound topic names its sender in one level and keeps the topic") {
  const std::string topic = inbound_topic("a:b@c=d_e-f", "$EDC/acme/x/MQTT/PROV");
  CHECK(topic == "$PROVISIONER/in/a:b@c=d_e-f/$EDC/acme/x/MQTT/PROV");
  const auto back = parse_inbound(topic);
  REQUIRE(back);
  CHECK(back->client_id == "a:b@c=d_e-f");
  CHECK(back->topic == "$EDC/acme/x/MQTT/PROV");
}

TEST_CASE("a client id with a slash or a wildcard stays one level") {
  const std::string topic = inbound_topic("a/b+#", "t");
  CHECK(topic == "$PROVISIONER/in/a%2Fb%2B%23/t");
  CHECK(parse_inbound(topic)->client_id == "a/b+#");
}

TEST_CASE("what is not an inbound topic is malformed") {
  for (const char* topic : {"", "$PROVISIONER/in/", "$PROVISIONER/in/a", "$PROVISIONER/in/a/", "$PROVISIONER/in//t",
                            "$PROVISIONER/in/%zz/t", "$PROVISIONER/refused", "x/$PROVISIONER/in/a/t"}) {
    CAPTURE(topic);
    CHECK(parse_inbound(topic).error().code == ErrorCode::kMalformed);
  }
}

TEST_CASE("each kind of event has its topic") {
  for (const EventKind kind :
       {EventKind::kConnected, EventKind::kDisconnected, EventKind::kRefused, EventKind::kDenied,
                               EventKind::kLocked}) {
    CHECK(parse_event_topic(event_topic(kind)) == kind);
  }
  CHECK(event_topic(EventKind::kRefused) == "$PROVISIONER/refused");
  CHECK_FALSE(parse_event_topic("$PROVISIONER/in/a/t"));
}

TEST_CASE("events survive their text form, hostile fields included") {
  const std::vector<BrokerEvent> events{
      {"gw-1", "wrong-credentials", 3, "192.0.2.7"},
      {"a b\nc", "publish $EDC/x/y z", 4294967295U, "2001:db8::1"},
      {"-", "", 1, ""},
      {"*", "overflow", 9, "/run/mqtt.sock"},
  };
  const auto back = parse_events(format_events(events));
  REQUIRE(back);
  REQUIRE(back->size() == events.size());
  for (std::size_t i = 0; i < events.size(); ++i) {
    CHECK((*back)[i].client_id == events[i].client_id);
    CHECK((*back)[i].reason == events[i].reason);
    CHECK((*back)[i].count == events[i].count);
    CHECK((*back)[i].address == events[i].address);
  }
  CHECK(parse_events("")->empty());
}

TEST_CASE("a broken event line is malformed") {
  for (const char* text : {"a b 1 c", "a b 1\n", "a b 1 c d\n", "a b x c\n", "a b -1 c\n", "a b 4294967296 c\n",
                           "a  1 c\n", "a%z b 1 c\n", "\n", "a b 1 \n"}) {
    CAPTURE(text);
    CHECK(parse_events(text).error().code == ErrorCode::kMalformed);
  }
}
