// What an operator sees and does, on real programs: apply --wait, watch through a restart of the service, and a broker
// that is not the provisioner's to start.
#include <signal.h>

#include <fstream>
#include <iterator>
#include <sysexits.h>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;
namespace fs = std::filesystem;

namespace {

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Applies nothing new: only how it waits and ends is of interest.
std::string request_yaml(const std::string& name, const std::string& client_id, const std::string& spec = {}) {
  return "---\napiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: " + name + "}\nspec:\n  profile: gateway\n" +
         "  clientId: \"" + client_id + "\"\n  provisionUserUsername: \"" + client_id + "-SN1\"\n" + spec;
}

struct OperatorRig : Rig {
  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder() / name, std::ios::binary) << text;
    return (folder() / name).string();
  }
  std::map<std::string, std::string> environment() const { return {{"PROVISIONER_DATA", data().string()}}; }
  Process background(std::vector<std::string> arguments, const fs::path& output) {
    arguments.insert(arguments.begin(), (fs::path(FLEET_TEST_BIN) / "provisioner-crashtest").string());
    return Process(Command{std::move(arguments), environment(), output});
  }
  std::string broker_state() const {
    boost::system::error_code error;
    const auto status = boost::json::parse(cli({"status", "-o", "json"}).output, error);
    return error ? "" : std::string(status.at("broker").as_string());
  }
};

}  // namespace

TEST_CASE("apply --wait shows the way of what was applied and ends well when all of it is provisioned") {
  OperatorRig rig;
  rig.start_all();
  const Credentials one = rig.request("gw-1", "C1");
  const Credentials other = rig.request("not-applied", "C2");  // nobody waits for it
  auto agent = rig.agent(one);
  const fs::path output = rig.folder() / "wait.log";
  Process waiting = rig.background({"apply", "-f", rig.file("one.yaml", request_yaml("gw-1", "C1")), "--wait", "--timeout", "60s"}, output);
  CHECK(eventually([&] { return holds(text_of(output), "0 of 1 completed"); }));
  CHECK_FALSE(waiting.wait(1500ms).has_value());
  agent->start();
  CHECK(waiting.wait(60s) == 0);
  const std::string lines = text_of(output);
  CHECK(holds(lines, "1 of 1 completed, 100 %; COMPLETED 1; all are provisioned"));
  CHECK_FALSE(holds(lines, "\x1b"));  // no terminal, no control characters
}

TEST_CASE("apply --wait tells apart what cannot be COMPLETED from what was not COMPLETED in time, and says why") {
  OperatorRig rig;
  rig.start_owner();
  rig.start_provisioner();
  rig.apply(rig.account_and_profile());
  const std::string yaml = request_yaml("gw-off", "C1", "  status: DISABLED\n") +
                           request_yaml("gw-late", "C2", "  expiresOn: 2020-01-01\n");
  const Outcome stuck = rig.cli({"apply", "-f", rig.file("stuck.yaml", yaml), "--wait", "--timeout", "60s"});
  CHECK(stuck.exit_code == EX_PROTOCOL);
  CHECK(holds(stuck.errors, "request gw-off: CREATED: disabled; provisioner enable request gw-off"));
  CHECK(holds(stuck.errors, "request gw-late: CREATED: expired on 2020-01-01T00:00:00Z"));
  CHECK(holds(stuck.errors, "error: 0 of 2 requests are COMPLETED, the others cannot be as they are"));
  const Outcome late = rig.cli({"apply", "-f", rig.file("late.yaml", yaml + request_yaml("gw-3", "C3")), "--wait", "--timeout", "2s"});
  CHECK(late.exit_code == EX_TEMPFAIL);
  CHECK(holds(late.errors, "request gw-3: CREATED: its device was not here yet"));
  CHECK(holds(late.errors, "error: 0 of 3 requests are COMPLETED after 2s"));
  CHECK(holds(late.output, "Generated secrets"));
}

TEST_CASE("watch goes on when the service comes back, and says meanwhile that it does not answer") {
  OperatorRig rig;
  rig.start_all();
  const Credentials one = rig.request("gw-1", "C1");
  const fs::path output = rig.folder() / "watch.log";
  Process watching = rig.background({"watch", "-o", "json"}, output);
  CHECK(eventually([&] { return holds(text_of(output), "\"CREATED\":1"); }));
  rig.kill_provisioner();
  CHECK(eventually([&] { return holds(text_of(output), "reconnecting: the service: "); }));
  rig.start_provisioner();
  rig.agent(one)->start();
  auto agent = rig.agent(one);
  agent->start();
  CHECK(eventually([&] { return holds(text_of(output), "\"COMPLETED\":1"); }, 60s));
  // a line a change, each a whole document
  std::istringstream lines(text_of(output));
  std::string line, before;
  while (std::getline(lines, line)) {
    if (holds(line, "reconnecting")) continue;
    boost::system::error_code error;
    boost::json::parse(line, error);
    CHECK_MESSAGE(!error, line);
    CHECK(line != before);
    before = line;
  }
  watching.signal(SIGINT);
  CHECK(watching.wait(5s) == 128 + SIGINT);
}

TEST_CASE("a device is provisioned through a Mosquitto that another supervisor runs with the printed configuration") {
  OperatorRig rig;
  const fs::path settings = rig.data() / "provisioner.yaml";
  std::string text = text_of(settings);
  const std::size_t at = text.find("  # managed: false");
  REQUIRE(at != std::string::npos);
  text.replace(at, 4, "  ");
  std::ofstream(settings, std::ios::binary) << text;
  rig.start_owner();
  rig.start_provisioner();
  CHECK(rig.broker_state() == "away: another supervisor runs it");
  CHECK(holds(rig.provisioner_log(), "waiting for the broker, which another supervisor runs"));
  CHECK(rig.broker_pid() == 0);

  const Outcome fragment = expect_ok(rig.cli({"broker-config"}), "broker-config");
  CHECK(fragment.errors.empty());
  const fs::path log = rig.folder() / "mosquitto.log";
  const Command mosquitto{{"/usr/sbin/mosquitto", "-c", rig.file("mosquitto.conf", fragment.output)}, {}, log};
  std::optional<Process> broker(std::in_place, mosquitto);
  REQUIRE_MESSAGE(eventually([&] { return rig.broker_state() == "running"; }, 20s), text_of(log));

  rig.apply(rig.account_and_profile());
  const Credentials one = rig.request("gw-1", "C1");
  auto agent = rig.agent(one);
  agent->start();
  CHECK_MESSAGE(eventually([&] { return rig.status("gw-1") == "COMPLETED" && rig.births("C1") == 1; }, 30s), rig.describe("gw-1"));

  // its end is told, its return noticed; and it outlives us
  broker.reset();
  CHECK(eventually([&] { return rig.broker_state() == "away: another supervisor runs it"; }));
  CHECK(eventually([&] { return holds(rig.provisioner_log(), "no connection to the provision broker"); }));
  broker.emplace(mosquitto);
  CHECK(eventually([&] { return rig.broker_state() == "running"; }, 20s));
  CHECK(rig.provisioner().stop() == 0);
  CHECK(broker->running());
  CHECK(broker->stop() == 0);
}
