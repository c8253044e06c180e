// What goes wrong around the programs: a full disk on either side, a clock in 1970, a broker that is away. Each is told
// to whoever can do something about it, nothing is lost, and all arrive when it is over.
#include <fstream>
#include <sstream>
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/system/raw_device.hpp"
#include "tests/system/rig.hpp"
#include "tests/system/small_disk.hpp"

using namespace fleet;
using namespace fleet::test;
namespace fs = std::filesystem;

namespace {

int count_lines(const std::string& text, const std::string& part) {
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += holds(line, part) ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE(
    "with the provisioner's disk full its devices are told to come back, and all arrive when there is space again") {
  Rig rig;
  SmallDisk disk(rig.data(), "96m");
  if (!disk.mounted()) return;
  rig.start_all();
  std::vector<Credentials> gateways;
  std::vector<std::unique_ptr<AgentRig>> agents;
  for (int i = 1; i <= 3; ++i) {
    gateways.push_back(rig.request("gw-" + std::to_string(i), "02FC5000000" + std::to_string(i)));
    agents.push_back(rig.agent(gateways.back()));
  }
  disk.fill();
  for (auto& agent : agents) agent->start();
  for (auto& agent : agents) {
    CHECK(eventually([&] { return holds(agent->last_failure(), "the platform answered 503"); }, 20s));
    CHECK(agent->phase() == "waiting");
  }
  // the operator reads it in the log, and from a command that needs the disk
  CHECK(holds(rig.provisioner_log(), "hello not kept; the device is asked to come back"));
  CHECK(holds(rig.provisioner_log(), "full"));
  const fs::path file = rig.folder() / "late.yaml";
  std::ofstream(file)
      << "apiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: late}\nspec:\n  profile: gateway\n"
         "  clientId: \"02FC50000009\"\n  provisionUserUsername: late\n"
         "  provisionUserPassword: AGOODPASSWORDOFTHIRTYTWOLETTERS2\n  params: {filler: \""
      << std::string(200'000, 'x') << "\"}\n";
  const Outcome late = rig.cli({"apply", "-f", file.string()});
  INFO(late.output << late.errors);
  CHECK(late.exit_code == 75);  // EX_TEMPFAIL
  CHECK(holds(late.errors, "full"));
  CHECK(rig.provisioner_running());
  CHECK(rig.sql("SELECT count(*) FROM attempt") == "0");

  disk.free();
  CHECK(rig.cli({"apply", "-f", file.string()}).exit_code == 0);
  for (std::size_t i = 0; i < agents.size(); ++i) {
    INFO(agents[i]->log());
    CHECK(eventually([&] { return agents[i]->provisioned(); }, 60s));  // they were asked to wait 30 s
    CHECK(rig.status(gateways[i].name) == "COMPLETED");
    CHECK(count_lines(agents[i]->log(), "a provision attempt begins") == 2);  // nobody knocked in between
  }
  CHECK(rig.sql("PRAGMA integrity_check") == "ok");
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "3");
}

TEST_CASE("with the agent's disk full the platform learns why, and the device arrives when there is space again") {
  Rig rig;
  rig.start_all();
  // without a limit: it fails as often as it likes
  const Credentials gateway = rig.request("gw", "02FC50000010", "  retryMaxAttempts: -1\n  status: DISABLED\n");
  auto agent = rig.agent(gateway);
  SmallDisk disk(agent->state(), "1m");
  if (!disk.mounted()) return;
  agent->start();
  CHECK(eventually([&] { return holds(agent->last_failure(), "refused us"); }, 20s));  // key and state are there now

  // enough to say hello, too little for what comes then
  disk.fill(1);
  expect_ok(rig.cli({"enable", "request", "gw"}), "enable");
  CHECK(eventually([&] { return holds(rig.describe("gw"), "No space left on device"); }, 20s));
  INFO(rig.describe("gw") << "\n" << agent->log());
  CHECK(holds(rig.request_field("gw", "lastError"), "the device cannot store its state"));
  CHECK(holds(agent->log(), "No space left on device"));
  CHECK(agent->running());
  CHECK_FALSE(fs::exists(agent->state() / "current"));

  SUBCASE("also when there is none at all") {
    disk.free();
    disk.fill(0);
    const int before = count_lines(agent->log(), "the state cannot be saved");
    CHECK(eventually([&] { return count_lines(agent->log(), "the state cannot be saved") > before; }, 20s));
    CHECK(agent->running());
  }
  SUBCASE("also when it was killed meanwhile") {
    agent->start();
    CHECK(eventually([&] { return agent->running(); }));
  }
  disk.free();
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(rig.status("gw") == "COMPLETED");
  CHECK(rig.sql("SELECT count(*) FROM certificate") == "1");
}

TEST_CASE("an agent that cannot even make its key says so and ends with the code for trying again") {
  Rig rig;
  auto agent = rig.agent({"gw", "02FC50000011", "user", "AGOODPASSWORDOFTHIRTYTWOLETTERS2", ""});
  SmallDisk disk(agent->state(), "64k");
  if (!disk.mounted()) return;
  std::ofstream(agent->state() / "agent.lock") << "";  // the folder is an agent's
  disk.fill();
  agent->start();
  CHECK(agent->process().wait(20s) == 75);  // EX_TEMPFAIL
  CHECK(holds(agent->log(), "No space left on device"));
  CHECK(holds(agent->log(), "make room on the device"));
}

TEST_CASE("a provisioned device starts on a full disk too, and is back on its owner's broker") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC50000016"));
  SmallDisk disk(agent->state(), "1m");
  if (!disk.mounted()) return;
  agent->start();
  REQUIRE(eventually([&] { return rig.births("02FC50000016") == 1 && agent->provisioned(); }, 20s));
  REQUIRE(eventually([&] { return !fs::exists(agent->state() / "device.key"); }));  // nor room for another one
  agent->process().stop();
  const std::string lock = (agent->state() / "agent.lock").string();
  SUBCASE("as it was left") {}
  SUBCASE("without the lock's old content, whose block the new one could use") {
    expect_ok(run({"truncate", "-s", "0", lock}), "truncate");
  }
  disk.fill();
  std::ofstream(agent->state() / "probe") << "x";
  REQUIRE(fs::file_size(agent->state() / "probe") == 0);  // it is full
  agent->start();
  CHECK(eventually([&] { return rig.births("02FC50000016") == 2; }, 20s));
  INFO(agent->log());
  CHECK(agent->running());
  CHECK(agent->provisioned());
}

TEST_CASE("a device whose clock stands in 1970 is provisioned, and its certificates are judged by a better time") {
  Rig rig;
  rig.start_all();
  const Credentials gateway = rig.request("gw", "02FC50000012");
  auto agent = rig.agent(gateway);
  const std::map<std::string, std::string> clock{{"LD_PRELOAD", FLEET_CLOCK_1970}};
  agent->start(clock);
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  INFO(agent->log());
  CHECK(holds(agent->log(), "1970-01-01"));  // the clock of the test works
  CHECK(rig.status("gw") == "COMPLETED");
  CHECK(eventually([&] { return rig.births("02FC50000012") == 1; }));
  agent->start(clock);  // the clock begins anew
  CHECK(eventually([&] { return rig.births("02FC50000012") == 2; }, 20s));
}

TEST_CASE(
    "with its owner's broker away a device that is done waits for it with growing pauses, and arrives by itself") {
  Rig rig;
  rig.start_provisioner();
  rig.apply(rig.account_and_profile());
  const Credentials gateway = rig.request("gw", "02FC50000013");
  auto agent = rig.agent(gateway);
  agent->start();
  CHECK(eventually([&] { return agent->phase() == "awaiting-owner"; }, 20s));
  CHECK(rig.status("gw") == "COMPLETED");
  CHECK(eventually([&] { return count_lines(agent->log(), "the owner's broker did not take us: ") >= 2; }, 20s));
  CHECK(holds(agent->last_failure(), "the owner's broker did not take us: mqtts://localhost:"));
  CHECK(holds(agent->last_failure(), "check the account's broker url and CA on the platform"));
  CHECK_FALSE(agent->provisioned());

  agent->start();  // kill -9: it goes on waiting
  CHECK(eventually([&] { return agent->phase() == "awaiting-owner"; }));
  rig.start_owner();
  CHECK(eventually([&] { return agent->provisioned(); }, 40s));
  CHECK(agent->last_failure().empty());
  CHECK(rig.births("02FC50000013") >= 1);
  CHECK(rig.sql("SELECT count(*) FROM attempt") == "1");
}

TEST_CASE(
    "with the provision broker away an agent keeps trying with pauses, counts no failure, and arrives by itself") {
  Rig rig;
  rig.start_all();
  const Credentials gateway = rig.request("gw", "02FC50000014");
  rig.provisioner().stop();
  auto agent = rig.agent(gateway);
  agent->set("retry-max-attempts", "1");
  agent->start();
  const auto begin = std::chrono::steady_clock::now();
  CHECK(eventually(
      [&] { return count_lines(agent->log(), "the provision broker cannot be reached: mqtts://localhost:") >= 3; },
      20s));
  // the first pause is a second, the next ones are not shorter; spread by 20 %
  CHECK(std::chrono::steady_clock::now() - begin > std::chrono::milliseconds(1500));
  CHECK(agent->phase() == "connecting");
  CHECK(holds(agent->last_failure(), "check broker-url"));
  rig.start_provisioner();
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(rig.status("gw") == "COMPLETED");
}

TEST_CASE("an agent with the wrong CA for the provision broker names the setting, and arrives once it is corrected") {
  Rig rig;
  rig.start_all();
  const Credentials gateway = rig.request("gw", "02FC50000015");
  auto agent = rig.agent(gateway);
  agent->set("broker-ca-file", (rig.folder() / "owner" / "owner-root.crt").string());
  agent->start();
  CHECK(eventually([&] { return holds(agent->last_failure(), "check broker-ca-file"); }, 20s));
  INFO(agent->log());
  CHECK(holds(agent->last_failure(), "certificate '"));
  CHECK(agent->phase() == "connecting");

  agent->set("broker-ca-file", rig.root_certificate().string());
  agent->start();
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(agent->last_failure().empty());
}
