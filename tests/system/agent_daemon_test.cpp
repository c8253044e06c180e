// The agent as a daemon: how it stops, and what it owes to its hook.
#include <fstream>
#include <sstream>

#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;
namespace fs = std::filesystem;

namespace {

// A hook of one line of shell; `$out` is a file in the agent's folder.
class Hook {
 public:
  Hook(AgentRig& agent, const std::string& script) : out_(agent.folder() / "told") {
    const fs::path file = agent.folder() / "hook";
    std::ofstream(file) << "#!/bin/sh\nout=" << out_.string() << "\n" << script << "\n";
    fs::permissions(file, fs::perms(0755));
    agent.set("hook", file.string());
  }
  std::string told() const {
    std::ifstream file(out_);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  fs::path out_;
};

}  // namespace

TEST_CASE("a stop waits for the hook that runs, begins no other one, and what was not told is told at the next start") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000001"));
  // longer than the brokers have for their end
  const Hook hook(*agent, "echo begun $1 >> $out; [ $1 = configured ] && sleep 5; echo ended $1 >> $out");
  agent->start();
  REQUIRE(eventually([&] { return agent->provisioned() && holds(hook.told(), "begun configured"); }, 20s));
  CHECK(agent->process().stop(20s) == 0);
  INFO(agent->log());
  CHECK(hook.told() == "begun configured\nended configured\n");

  agent->start();
  CHECK(eventually([&] { return holds(hook.told(), "ended provisioned"); }));
  CHECK(eventually([&] { return rig.births("02FC60000001") == 2; }));
  agent->process().stop();
  agent->start();
  CHECK(eventually([&] { return rig.births("02FC60000001") == 3; }));
  agent->process().stop();
  CHECK(hook.told() == "begun configured\nended configured\nbegun provisioned\nended provisioned\n");
}

TEST_CASE("a crash behind the state that says provisioned keeps neither the hook from being told nor the spent key") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000002"));
  const Hook hook(*agent, "echo $1 $FLEET_GENERATION >> $out");
  agent->start({{"FLEET_CRASH_AT", "agent.state-saved.provisioned:1"}});
  REQUIRE(eventually([&] { return !agent->running(); }, 20s));
  REQUIRE(agent->provisioned());
  CHECK_FALSE(holds(hook.told(), "provisioned"));
  CHECK(fs::exists(agent->state() / "device.key"));

  agent->start();
  CHECK(eventually([&] { return holds(hook.told(), "provisioned 1\n"); }));
  INFO(agent->log());
  CHECK_FALSE(fs::exists(agent->state() / "device.key"));
  CHECK(eventually([&] { return rig.births("02FC60000002") >= 2; }));
}
