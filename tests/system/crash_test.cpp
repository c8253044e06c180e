// kill -9 at every persisted state: whatever dies, and whenever, in the end the device is provisioned exactly once.
#include <signal.h>

#include <random>
#include <thread>

#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;

namespace {

// What must hold in the end, however often something died on the way.
void check_provisioned_once(Rig& rig, AgentRig& agent, const Credentials& gateway) {
  INFO("agent log:\n" << agent.log() << "\nprovisioner log:\n" << rig.provisioner_log());
  REQUIRE(eventually([&] { return agent.provisioned(); }, 60s));
  CHECK(eventually([&] { return rig.status(gateway.name) == "COMPLETED"; }, 20s));
  CHECK(rig.births(gateway.client_id) >= 1);
  // one certificate per key, one key per device
  CHECK(rig.sql("SELECT count(*) FROM certificate WHERE client_id = '" + gateway.client_id + "'") == "1");
  const auto attempts = [&](const std::string& state) {
    return rig.sql("SELECT count(*) FROM attempt a JOIN request r ON r.id = a.request_id WHERE a.state = '" + state +
                   "' AND r.name = '" + gateway.name + "'");
  };
  CHECK(attempts("OPEN") == "0");
  CHECK(attempts("COMPLETED") == "1");
  // the key has been used: another attempt would begin with another one
  CHECK(eventually([&] { return !std::filesystem::exists(agent.state() / "device.key"); }));
  // nothing half-written in the agent's folder
  for (const auto& entry : std::filesystem::recursive_directory_iterator(agent.state())) {
    CHECK(entry.path().string().find(".tmp") == std::string::npos);
  }
}

std::string client_id_of(int number) { return "02FC" + std::to_string(10000000 + number); }

}  // namespace

TEST_CASE("the agent may be killed at every state that it persists") {
  Rig rig;
  rig.start_all();
  int number = 0;
  int deaths = 0;
  for (const std::string point :
       {"agent.state-saved.connecting", "agent.state-saved.hello", "agent.state-saved.installing", "agent.generation-written",
        "agent.generation-switched", "agent.state-saved.confirming", "agent.state-saved.awaiting-owner",
        "agent.state-saved.provisioned"}) {
    for (const int pass : {1, 2, 3, 4}) {
      const std::string at = point + ":" + std::to_string(pass);
      CAPTURE(at);
      ++number;
      const Credentials gateway = rig.request("gw-" + std::to_string(number), client_id_of(number));
      auto agent = rig.agent(gateway);
      agent->start({{"FLEET_CRASH_AT", at}});
      // it dies at the point, or the point is not passed that often and it arrives
      REQUIRE(eventually([&] { return !agent->running() || rig.births(gateway.client_id) > 0; }, 30s));
      // the last point lies right behind the state that says "provisioned"
      const bool died = !agent->running() || !eventually([&] { return agent->provisioned(); }, 1s) ||
                        eventually([&] { return !agent->running(); }, 200ms);
      if (died) {
        ++deaths;
        agent->start();
      } else if (pass > 1) {
        break;  // the later passes do not happen either
      }
      check_provisioned_once(rig, *agent, gateway);
      agent->process().stop();
    }
  }
  CHECK(deaths >= 8);  // each point was met at least once: the test did test
}

TEST_CASE("the provisioner may be killed around every commit") {
  Rig rig;
  rig.start_all();
  int number = 0;
  for (const std::string point : {"store.before-commit", "store.after-closings", "store.after-commit"}) {
    CAPTURE(point);
    int deaths = 0;
    for (int pass = 1; pass <= 8; ++pass) {
      const std::string at = point + ":" + std::to_string(pass);
      CAPTURE(at);
      ++number;
      const Credentials gateway = rig.request("gw-" + std::to_string(number), client_id_of(number));
      rig.provisioner().stop();
      rig.start_provisioner({{"FLEET_CRASH_AT", at}}, false);
      auto agent = rig.agent(gateway);
      agent->start();
      eventually([&] { return !rig.provisioner_running() || rig.births(gateway.client_id) > 0; }, 15s);
      if (!rig.provisioner_running()) ++deaths;
      rig.start_provisioner();
      check_provisioned_once(rig, *agent, gateway);
      agent->process().stop();
    }
    // the hello and the replies are commits of their own, however many replies come together; one of them closes a device
    CHECK(deaths >= (point == "store.after-closings" ? 1 : 2));
  }
}

TEST_CASE("the broker may be killed in the middle, again and again") {
  Rig rig;
  rig.start_all();
  std::vector<Credentials> gateways;
  std::vector<std::unique_ptr<AgentRig>> agents;
  for (int i = 1; i <= 10; ++i) {
    gateways.push_back(rig.request("gw-" + std::to_string(i), client_id_of(i)));
    agents.push_back(rig.agent(gateways.back()));
  }
  for (auto& agent : agents) agent->start();
  std::mt19937 random(7);
  for (int kill = 0; kill < 6; ++kill) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50 + random() % 300));
    if (const pid_t broker = rig.broker_pid(); broker > 0) ::kill(broker, SIGKILL);
  }
  for (std::size_t i = 0; i < agents.size(); ++i) check_provisioned_once(rig, *agents[i], gateways[i]);
}

TEST_CASE("everything may be killed at random times") {
  Rig rig;
  rig.start_all();
  std::mt19937 random(11);
  std::vector<Credentials> gateways;
  std::vector<std::unique_ptr<AgentRig>> agents;
  for (int i = 1; i <= 6; ++i) {
    gateways.push_back(rig.request("gw-" + std::to_string(i), client_id_of(i)));
    agents.push_back(rig.agent(gateways.back()));
    agents.back()->start();
  }
  for (int round = 0; round < 12; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 250));
    switch (random() % 3) {
      case 0:
        rig.kill_provisioner();
        rig.start_provisioner();
        break;
      case 1:
        if (const pid_t broker = rig.broker_pid(); broker > 0) ::kill(broker, SIGKILL);
        break;
      default: agents[random() % agents.size()]->start(); break;  // kill -9 and start
    }
  }
  for (std::size_t i = 0; i < agents.size(); ++i) check_provisioned_once(rig, *agents[i], gateways[i]);
}
