#include "tests/unit/agent/apply/apply_fixture.hpp"

namespace fleet::agent {
namespace {

protocol::Property& property(protocol::Configurations& configurations, std::string_view name) {
  for (protocol::Property& candidate : configurations[0].properties) {
    if (candidate.name == name) return candidate;
  }
  configurations[0].properties.push_back({std::string(name), protocol::PropertyType::kString, false, false, {""}});
  return configurations[0].properties.back();
}

TEST_CASE("the owner connection is read from the MQTT transport component") {
  const auto connection = parse_owner_connection(owner_configuration());
  REQUIRE_MESSAGE(connection, connection.error().message);
  CHECK(connection->broker_url.host == "owner.example.com");
  CHECK(connection->account == "acme");
  CHECK(connection->client_id == "gw-1");
  CHECK(connection->keep_alive == Seconds(45));
  CHECK_FALSE(connection->username.has_value());
  CHECK_FALSE(connection->password.has_value());
}

TEST_CASE("the keep-alive is 30 s unless the configuration says otherwise") {
  auto configurations = owner_configuration();
  std::erase_if(configurations[0].properties, [](const protocol::Property& one) { return one.name == "keep-alive"; });
  CHECK(parse_owner_connection(configurations)->keep_alive == Seconds(30));
}

TEST_CASE("username and password are taken together or not at all") {
  auto configurations = owner_configuration();
  property(configurations, "username").values = {"user-1"};
  REQUIRE_FALSE(parse_owner_connection(configurations));
  property(configurations, "password").values = {"pass-1"};
  const auto connection = parse_owner_connection(configurations);
  REQUIRE(connection);
  CHECK(connection->username == "user-1");
  CHECK(connection->password->reveal() == "pass-1");
}

TEST_CASE("a configuration that cannot connect is refused by the property's name") {
  struct Case {
    const char* name;
    const char* value;
  };
  for (const Case& bad :
       {Case{"broker-url", ""}, Case{"broker-url", "http://x"}, Case{"topic.context.account-name", ""},
        Case{"topic.context.account-name", "a/b"}, Case{"client-id", "a#b"}, Case{"keep-alive", "soon"},
        Case{"keep-alive", "-5"}, Case{"keep-alive", "99999999999"}}) {
    CAPTURE(bad.name);
    CAPTURE(bad.value);
    auto configurations = owner_configuration();
    property(configurations, bad.name).values = {bad.value};
    const auto connection = parse_owner_connection(configurations);
    REQUIRE_FALSE(connection);
    CHECK(connection.error().code == ErrorCode::kInvalidArgument);
    CHECK(contains(connection.error().message, bad.name));
  }
  CHECK_FALSE(parse_owner_connection({}));
}

}  // namespace
}  // namespace fleet::agent
