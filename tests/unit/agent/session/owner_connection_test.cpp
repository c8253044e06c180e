#include "agent/session/owner_connection.hpp"

#include <doctest/doctest.h>

namespace fleet::agent {
namespace {

using protocol::Property;
using protocol::PropertyType;

// The owner connection of an ordinary gateway.
protocol::Configurations owner_configuration() {
  const auto text = [](std::string name, std::string value) {
    return Property{std::move(name), PropertyType::kString, false, false, {std::move(value)}};
  };
  protocol::ComponentConfiguration transport{
      std::string(protocol::kMqttTransportPid),
      {text("broker-url", "mqtts://owner.example.com:8883"), text("topic.context.account-name", "acme"),
       text("client-id", "gw-1"), Property{"keep-alive", PropertyType::kInteger, false, false, {"45"}}}};
  return {transport, {"com.example.App", {text("interval", "5")}}};
}

Property& property(protocol::Configurations& configurations, std::string_view name) {
  for (Property& candidate : configurations[0].properties) {
    if (candidate.name == name) return candidate;
  }
  configurations[0].properties.push_back({std::string(name), PropertyType::kString, false, false, {""}});
  return configurations[0].properties.back();
}

struct Value {
  const char* name;
  std::string value;
};

protocol::Configurations with(const std::vector<Value>& values) {
  auto configurations = owner_configuration();
  for (const Value& value : values) property(configurations, value.name).values = {value.value};
  return configurations;
}

OwnerConnection parse(const std::vector<Value>& values) {
  auto connection = parse_owner_connection(with(values));
  REQUIRE_MESSAGE(connection, connection.error().message);
  return std::move(*connection);
}

}  // namespace

TEST_CASE("the owner connection is read from the MQTT transport component") {
  const OwnerConnection connection = parse({});
  CHECK(connection.broker_url.host == "owner.example.com");
  CHECK(connection.account == "acme");
  CHECK(connection.client_id == "gw-1");
  CHECK(connection.keep_alive == Seconds(45));
  CHECK_FALSE(connection.username.has_value());
  CHECK_FALSE(connection.password.has_value());
}

TEST_CASE("what the configuration does not say about the owner connection is as the protocol has it") {
  for (const char* value : {"absent", ""}) {
    auto configurations = owner_configuration();
    std::erase_if(configurations[0].properties, [](const Property& one) { return one.name == "keep-alive"; });
    if (std::string_view(value).empty()) {
      for (const char* name : {"keep-alive", "timeout", "clean-session", "protocol-version", "lwt.qos", "lwt.retain"}) {
        property(configurations, name).values = {""};
      }
    }
    CAPTURE(value);
    const auto connection = parse_owner_connection(configurations);
    REQUIRE(connection);
    CHECK(connection->keep_alive == Seconds(30));
    CHECK(connection->timeout == Seconds(20));
    CHECK(connection->clean_session);
    CHECK(connection->version == mqtt::Version::k311);
    REQUIRE(connection->will);
    CHECK(fill_in(connection->will->topic, "acme", "gw-1") == "$EDC/acme/gw-1/MQTT/LWT");
    CHECK_FALSE(connection->will->payload.has_value());
    CHECK(connection->will->qos == 0);
    CHECK_FALSE(connection->will->retain);
  }
}

TEST_CASE("timeout, session and version are the delivered ones") {
  const OwnerConnection connection = parse({{"timeout", "7"}, {"clean-session", "false"}, {"protocol-version", "5"}});
  CHECK(connection.timeout == Seconds(7));
  CHECK_FALSE(connection.clean_session);
  CHECK(connection.version == mqtt::Version::k5);
  CHECK(parse({{"protocol-version", "3"}}).version == mqtt::Version::k31);
  CHECK(parse({{"protocol-version", "4"}}).version == mqtt::Version::k311);
  CHECK(parse({{"timeout", "1"}}).timeout == Seconds(1));
  CHECK(parse({{"timeout", "600"}}).timeout == Seconds(600));
}

TEST_CASE("the will is the delivered one") {
  const OwnerConnection connection =
      parse({{"lwt.topic", "acme/gone"}, {"lwt.payload", "gone"}, {"lwt.qos", "1"}, {"lwt.retain", "true"}});
  REQUIRE(connection.will);
  CHECK(connection.will->topic == "acme/gone");
  CHECK(connection.will->payload == "gone");
  CHECK(connection.will->qos == 1);
  CHECK(connection.will->retain);

  CHECK(parse({{"lwt.payload", ""}}).will->payload == "");
  CHECK(parse({{"lwt.payload", std::string(65535, 'x')}}).will->payload->size() == 65535);
}

TEST_CASE("an empty lwt.topic means no will, as in Kura") {
  CHECK_FALSE(parse({{"lwt.topic", ""}}).will);
}

TEST_CASE("the placeholders of a will's topic are replaced as in Kura: whole names only, up to '/' or white space") {
  const auto filled = [](std::string_view topic) { return fill_in(topic, "acme", "gw-1"); };
  CHECK(filled("$EDC/#account-name/#client-id/MQTT/LWT") == "$EDC/acme/gw-1/MQTT/LWT");
  CHECK(filled("#client-id") == "gw-1");
  CHECK(filled("a/x#client-id") == "a/xgw-1");
  CHECK(filled("#client-id #account-name") == "gw-1 acme");
  CHECK(filled("no/placeholder") == "no/placeholder");
  CHECK(filled("") == "");
  // not ours: what remains is no topic, and refused
  CHECK(filled("a/#client-id-x/b") == "a/#client-id-x/b");
  CHECK(filled("a/#device") == "a/#device");
  CHECK(filled("a/#") == "a/#");
  CHECK(filled("##client-id") == "##client-id");
  // what was put in is not looked at again
  CHECK(fill_in("#account-name", "#client-id", "gw-1") == "#client-id");
}

TEST_CASE("username and password are taken together or not at all") {
  REQUIRE_FALSE(parse_owner_connection(with({{"username", "user-1"}})));
  REQUIRE_FALSE(parse_owner_connection(with({{"password", "pass-1"}})));
  const OwnerConnection connection = parse({{"username", "user-1"}, {"password", "pass-1"}});
  CHECK(connection.username == "user-1");
  CHECK(connection.password->reveal() == "pass-1");
}

TEST_CASE("a configuration that cannot connect is refused by the property's name") {
  for (const Value& bad : std::initializer_list<Value>{
           {"broker-url", ""}, {"broker-url", "http://x"}, {"topic.context.account-name", ""},
           {"topic.context.account-name", "a/b"}, {"client-id", "a#b"},
           {"keep-alive", "soon"}, {"keep-alive", "-5"}, {"keep-alive", "99999999999"},
           {"timeout", "0"}, {"timeout", "601"}, {"timeout", "-1"}, {"timeout", "20s"}, {"timeout", "1.5"},
           {"timeout", " 20"}, {"clean-session", "1"}, {"clean-session", "True"}, {"clean-session", "no"},
           {"protocol-version", "2"}, {"protocol-version", "6"}, {"protocol-version", "3.1.1"},
           {"lwt.qos", "3"}, {"lwt.qos", "-1"}, {"lwt.qos", "one"}, {"lwt.retain", "yes"},
           {"lwt.topic", "a/#"}, {"lwt.topic", "a/+/b"}, {"lwt.topic", "a/#device/b"}, {"lwt.topic", "a\nb"},
           {"lwt.topic", std::string(65536, 'x')}, {"lwt.topic", std::string(65530, 'x') + "#client-id"},
           {"lwt.payload", std::string(65536, 'x')}}) {
    CAPTURE(bad.name);
    CAPTURE(bad.value.substr(0, 30));
    const auto connection = parse_owner_connection(with({bad}));
    REQUIRE_FALSE(connection);
    CHECK(connection.error().code == ErrorCode::kInvalidArgument);
    CHECK(connection.error().message.find(std::string("configuration: ") + bad.name + ": ") == 0);
  }
  CHECK_FALSE(parse_owner_connection({}));
}

TEST_CASE("an array is no value of the owner connection, however many it has") {
  for (const char* name : {"broker-url", "topic.context.account-name", "client-id", "username", "password", "keep-alive",
                           "timeout", "clean-session", "protocol-version", "lwt.topic", "lwt.payload", "lwt.qos",
                           "lwt.retain"}) {
    for (const std::vector<std::string>& values : {std::vector<std::string>{}, {"1"}, {"1", "1"}}) {
      CAPTURE(name);
      auto configurations = owner_configuration();
      property(configurations, name) = Property{name, PropertyType::kString, true, false, values};
      const auto connection = parse_owner_connection(configurations);
      REQUIRE_FALSE(connection);
      CHECK(connection.error().code == ErrorCode::kInvalidArgument);
      CHECK(connection.error().message.find(std::string("configuration: ") + name + ": ") == 0);
    }
  }
}

}  // namespace fleet::agent
