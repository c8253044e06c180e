// What a configuration says about the connection to the owner's broker (edc §4.6) is what the broker sees.
#include <csignal>
#include <fstream>
#include <sstream>

#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;

namespace {

// Spec of a request with an owner connection of its own; `properties` as in YAML's flow style.
std::string owner_connection(const std::string& properties) {
  return "  configuration:\n    org.eclipse.kura.core.data.transport.mqtt.MqttDataTransport: {" + properties + "}\n";
}

std::string owner_log(const Rig& rig) {
  std::ifstream file(rig.folder() / "owner" / "broker.log");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> at_owner(const Rig& rig, const std::string& tool, std::vector<std::string> more) {
  std::vector<std::string> command{tool, "--unix", (rig.folder() / "owner" / "mqtt.sock").string(), "-i", "tool", "-q", "1"};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

pid_t owner_pid(const Rig& rig) {
  const Outcome found = run({"pgrep", "-f", "mosquitto -c " + (rig.folder() / "owner" / "mosquitto.conf").string()});
  REQUIRE(found.exit_code == 0);
  return static_cast<pid_t>(std::stol(found.output));
}

}  // namespace

TEST_CASE("will, session, version and timeout of the owner's connection are the delivered ones") {
  Rig& rig = installation();
  const std::string id = "02FC70000001";
  auto agent = rig.agent(rig.request(
      "owner-1", id,
      owner_connection("lwt.topic: \"$EDC/#account-name/#client-id/MQTT/GONE\", lwt.payload: \"gone: #client-id\", lwt.qos: 1, "
                       "lwt.retain: true, clean-session: false, protocol-version: 5, keep-alive: 45, timeout: 3")));
  agent->set("log-level", "debug");
  agent->start();
  REQUIRE(eventually([&] { return agent->provisioned() && rig.births(id) == 1; }, 30s));
  INFO(agent->log());
  CHECK(holds(owner_log(rig), " as " + id + " (p5, c0, k45"));

  agent->kill();  // kill -9
  const std::string will_topic = "$EDC/acme/" + id + "/MQTT/GONE";
  CHECK(eventually([&] {
    return run(at_owner(rig, "mosquitto_sub", {"-t", will_topic, "-C", "1", "-W", "2", "-F", "%q %r %p"})).output ==
           "1 1 gone: #client-id\n";
  }));

  // what comes while it is away waits for it
  const std::string message_topic = "$EDC/acme/" + id + "/APP-V1/EXEC/while-away";
  expect_ok(run(at_owner(rig, "mosquitto_pub", {"-t", message_topic, "-m", "hello"})), "mosquitto_pub");
  CHECK_FALSE(holds(agent->log(), message_topic));
  agent->start();
  CHECK(eventually([&] { return holds(agent->log(), "message topic=" + message_topic); }, 20s));
  CHECK(agent->process().stop() == 0);

  const pid_t owner = owner_pid(rig);
  REQUIRE(::kill(owner, SIGSTOP) == 0);
  agent->start();
  CHECK(eventually([&] { return holds(agent->log(), " within 3 s"); }, 15s));
  REQUIRE(::kill(owner, SIGCONT) == 0);
}

TEST_CASE("without wishes of the operator the device speaks MQTT 3.1.1 in a clean session, and its will is that of Kura") {
  Rig& rig = installation();
  const std::string id = "02FC70000002";
  auto agent = rig.agent(rig.request("owner-2", id));
  agent->start();
  REQUIRE(eventually([&] { return agent->provisioned() && rig.births(id) == 1; }, 30s));
  CHECK(holds(owner_log(rig), " as " + id + " (p2, c1, k30"));
  Process ear(Command{at_owner(rig, "mosquitto_sub", {"-t", "$EDC/acme/" + id + "/MQTT/LWT", "-C", "1", "-W", "20", "-F", "%t %q %r"}),
                      {}, rig.folder() / "ear"});
  REQUIRE(eventually([&] { return holds(owner_log(rig), "tool 1 $EDC/acme/" + id + "/MQTT/LWT"); }));
  agent->kill();
  CHECK(ear.wait(20s) == 0);
  CHECK(ear.output() == "$EDC/acme/" + id + "/MQTT/LWT 0 0\n");
}

TEST_CASE("an owner connection that the device cannot have is refused, and the operator learns which property it is") {
  Rig& rig = installation();
  auto agent = rig.agent(rig.request("owner-3", "02FC70000003", owner_connection("protocol-version: 9")));
  agent->start();
  CHECK(eventually([&] { return holds(rig.describe("owner-3"), "protocol-version: '9' must be a number from 3 to 5"); }, 20s));
  CHECK_FALSE(agent->provisioned());
  CHECK_FALSE(std::filesystem::exists(agent->state() / "current"));
}
