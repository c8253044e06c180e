#include "agent/runtime/session_config.hpp"

#include <doctest/doctest.h>

namespace fleet::agent {
namespace {

TEST_CASE("every setting of an attempt gets to the session under its own meaning") {
  Settings settings;
  settings.account_name = "ec-provisioning";
  settings.password = Secret("the password");
  settings.activation_key = Secret("the key");
  settings.ca_authentication = false;
  settings.timeout = Seconds(11);
  settings.retry_interval = Seconds(12);
  settings.retry_max_attempts = 13;
  settings.owner_timeout = Seconds(14);
  Identity identity;
  identity.client_id.value = "gw-1";
  identity.username.value = "user-1";
  identity.serial.value = "SN1";
  const SessionConfig config = session_config(settings, identity, Trust{});
  CHECK(config.account == "ec-provisioning");
  CHECK(config.client_id == "gw-1");
  CHECK(config.username == "user-1");
  CHECK(config.password.reveal() == "the password");
  REQUIRE(config.activation_key.has_value());
  CHECK(config.activation_key->reveal() == "the key");
  CHECK_FALSE(config.ca_authentication);
  CHECK(config.timeout == Seconds(11));
  CHECK(config.retry_interval == Seconds(12));
  CHECK(config.retry_max_attempts == 13);
  CHECK(config.owner_timeout == Seconds(14));
  CHECK(config.facts.at("serial_number") == "SN1");
  CHECK(config.build_time == build_time());
}

TEST_CASE("settings that say nothing make the session of the protocol's defaults") {
  const SessionConfig config = session_config(Settings{}, Identity{}, Trust{});
  CHECK(config.account == "provision");
  CHECK(config.ca_authentication);
  CHECK_FALSE(config.activation_key.has_value());
  CHECK(config.timeout == Seconds(120));
  CHECK(config.retry_interval == Seconds(60));
  CHECK(config.retry_max_attempts == -1);
}

TEST_CASE("a new device tries if it is enabled and not said to be provisioned, and a provisioned one keeps its own flags") {
  Settings settings;
  CHECK(initial_state(std::nullopt, settings, 0).enabled);
  settings.provisioned = true;
  CHECK_FALSE(initial_state(std::nullopt, settings, 0).enabled);
  settings.provisioned = false;
  settings.enabled = false;
  CHECK_FALSE(initial_state(std::nullopt, settings, 0).enabled);

  SessionState done;
  done.provisioned = true;
  done.enabled = false;
  settings.enabled = true;
  const SessionState state = initial_state(done, settings, 3);
  CHECK(state.provisioned);
  CHECK_FALSE(state.enabled);
  CHECK(state.generation == 3);
}

}  // namespace
}  // namespace fleet::agent
