// The agent as a daemon: how it stops, what it owes to its hook, what it tells while it runs, and how it takes up other
// settings.
#include <csignal>
#include <fstream>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/json.hpp>

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

boost::json::object status_json(const AgentRig& agent) {
  boost::system::error_code error;
  const auto value = boost::json::parse(agent.cli({"status", "-o", "json"}).output, error);
  REQUIRE((!error && value.is_object()));
  return value.as_object();
}

std::string broker_url(int port) {
  return "mqtts://localhost:" + std::to_string(port);
}

// What a service manager hears from a process.
class Manager {
 public:
  explicit Manager(const fs::path& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  ~Manager() { ::close(fd_); }
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;
  // How often it has heard `message` since it was last asked about anything.
  int heard(std::string_view message) {
    int count = 0;
    char buffer[256];
    for (ssize_t got; (got = ::recv(fd_, buffer, sizeof buffer, 0)) > 0;) {
      count += std::string_view(buffer, static_cast<std::size_t>(got)) == message ? 1 : 0;
    }
    return count;
  }

 private:
  int fd_;
};

}  // namespace

TEST_CASE("status is told by the agent that runs, else by what it has left, and says which") {
  Rig rig;
  rig.start_owner();
  rig.start_provisioner();
  rig.apply(rig.account_and_profile());
  auto agent = rig.agent(rig.request("gw", "02FC60000003"));
  CHECK(status_json(*agent).at("source") == "state-file");
  CHECK(status_json(*agent).at("phase") == "not started");
  agent->start();
  REQUIRE(eventually([&] { return agent->provisioned(); }, 20s));
  auto live = status_json(*agent);
  CHECK(live.at("source") == "agent");
  CHECK(live.at("pid") == agent->process().pid());
  CHECK(live.at("ownerConnection") == "connected");
  CHECK(live.at("generation") == 1);
  CHECK(holds(agent->cli({"status"}).output, "the running agent (pid " + std::to_string(agent->process().pid()) + ")"));
  struct stat file {};
  REQUIRE(::stat((agent->state() / "agent.sock").c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0600);

  // live: what no file knows
  rig.stop_owner();
  CHECK(eventually([&] { return !status_json(*agent).at("ownerFailure").is_null(); }));
  live = status_json(*agent);
  CHECK(live.at("phase") == "provisioned");
  CHECK(live.at("ownerConnection") != "connected");
  CHECK(holds(agent->cli({"status"}).output, broker_url(rig.owner_port())));

  agent->process().signal(SIGSTOP);
  const Outcome stuck = agent->cli({"status"});
  agent->process().signal(SIGCONT);
  CHECK(stuck.exit_code == 0);
  CHECK(holds(stuck.output, "the state file; "));
  CHECK(holds(stuck.output, "the agent does not answer"));

  agent->kill();
  const Outcome dead = agent->cli({"status"});
  CHECK(holds(dead.output, "the state file; no agent runs here"));
  CHECK(status_json(*agent).at("source") == "state-file");
  CHECK(status_json(*agent).at("phase") == "provisioned");
  agent->start();
  CHECK(eventually([&] { return status_json(*agent).at("source") == "agent"; }));
  CHECK(agent->process().stop() == 0);
  CHECK_FALSE(fs::exists(agent->state() / "agent.sock"));
}

TEST_CASE("several brokers are tried in turn, each with a failure of its own, until one takes the device") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000004"));
  const std::string away = broker_url(free_port());
  const std::string unknown = "mqtts://no-such-host.invalid:8883";
  const std::string good = broker_url(rig.provision_port());
  rig.provisioner().stop();
  agent->set("broker-url", "[" + away + ", " + unknown + ", " + good + "]");
  agent->start();
  REQUIRE(eventually([&] { return holds(agent->last_failure(), good); }, 30s));
  INFO(agent->log());
  const std::string why = agent->last_failure();
  CHECK(holds(why, away + ": "));
  CHECK(holds(why, "no-such-host.invalid"));
  const auto brokers = status_json(*agent).at("brokers").as_array();
  REQUIRE(brokers.size() == 3);
  for (const auto& broker : brokers) CHECK_FALSE(broker.at("lastFailure").is_null());
  CHECK(holds(agent->log(), "trying a provision broker broker=" + unknown));

  rig.start_provisioner();
  REQUIRE(eventually([&] { return agent->provisioned(); }, 40s));
  CHECK(status_json(*agent).at("brokers").as_array()[2].at("lastFailure").is_null());
  CHECK(rig.sql("SELECT count(*) FROM attempt") == "1");
}

TEST_CASE("SIGHUP takes up good settings without a restart, and refuses bad ones with their place") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000005"));
  agent->set("broker-url", broker_url(free_port()));
  agent->set("retry-interval", "300s");
  agent->start();
  REQUIRE(eventually([&] { return holds(agent->last_failure(), "cannot be reached"); }, 20s));
  const pid_t pid = agent->process().pid();

  agent->set("timeout", "soon");
  agent->process().signal(SIGHUP);
  CHECK(eventually([&] { return holds(agent->log(), "the settings in force stay"); }));
  INFO(agent->log());
  CHECK(holds(agent->log(), "agent.yaml:"));
  CHECK(holds(agent->log(), ": timeout: "));
  CHECK(agent->running());

  // what no attempt depends on is taken up in place
  agent->set("timeout", "31s");
  agent->set("log-level", "debug");
  agent->process().signal(SIGHUP);
  CHECK(eventually([&] { return holds(agent->log(), "read anew changed=\"timeout, log-level\""); }));
  CHECK_FALSE(holds(agent->log(), "beginning again"));

  // a broker that is there: at once, whatever the pause was
  agent->set("broker-url", broker_url(rig.provision_port()));
  agent->process().signal(SIGHUP);
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(holds(agent->log(), "read anew changed=broker-url"));
  CHECK(holds(agent->log(), "beginning again with the new settings"));
  CHECK(agent->process().pid() == pid);
  CHECK(agent->running());

  // a provisioned device does not care for the provision broker
  const int births = rig.births("02FC60000005");
  agent->set("broker-url", broker_url(free_port()));
  agent->set("hook", "/bin/true");
  agent->process().signal(SIGHUP);
  CHECK(eventually([&] { return holds(agent->log(), "read anew changed=\"broker-url, hook\""); }));
  agent->process().signal(SIGHUP);
  CHECK(eventually([&] { return holds(agent->log(), "read anew changed=nothing"); }));
  CHECK(agent->provisioned());
  CHECK(rig.births("02FC60000005") == births);
  CHECK(agent->process().stop() == 0);
}

TEST_CASE("a device that was refused for a wrong password arrives with the right one after SIGHUP") {
  Rig rig;
  rig.start_all();
  const Credentials gateway = rig.request("gw", "02FC60000006");
  auto agent = rig.agent(gateway);
  agent->set("retry-interval", "300s");
  std::ofstream(agent->folder() / "password") << "NOTTHEPASSWORDNOTTHEPASSWORDNOTT\n";
  agent->start();
  REQUIRE(eventually([&] { return agent->phase() == "waiting"; }, 20s));
  std::ofstream(agent->folder() / "password") << gateway.password << "\n";
  agent->process().signal(SIGHUP);
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  INFO(agent->log());
  CHECK(holds(agent->log(), "read anew changed=password"));
}

TEST_CASE("the service manager hears READY, then again and again that the agent is not stuck, and STOPPING") {
  Rig rig;
  auto agent = rig.agent({"gw", "02FC60000007", "user", "AGOODPASSWORDOFTHIRTYTWOLETTERS2", ""});
  const fs::path path = rig.folder() / "notify";
  Manager manager(path);
  agent->start({{"NOTIFY_SOCKET", path.string()}, {"WATCHDOG_USEC", "200000"}});
  int pings = 0;
  CHECK(eventually([&] { return (pings += manager.heard("WATCHDOG=1")) >= 5; }));
  agent->process().signal(SIGSTOP);
  manager.heard("");
  CHECK_FALSE(eventually([&] { return manager.heard("WATCHDOG=1") > 0; }, 500ms));
  agent->process().signal(SIGCONT);
  CHECK(eventually([&] { return manager.heard("WATCHDOG=1") > 0; }));
  agent->process().signal(SIGTERM);
  CHECK(eventually([&] { return manager.heard("STOPPING=1") > 0; }));
  CHECK(agent->process().wait() == 0);
}

TEST_CASE("a stop waits for the hook that runs, begins no other one, and what was not told is told at the next start") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000001"));
  // longer than the brokers have for their end
  const Hook hook(*agent, "echo begun $1 >> $out; [ $1 = apply ] && sleep 5; echo ended $1 >> $out");
  agent->start();
  REQUIRE(eventually([&] { return holds(hook.told(), "begun apply"); }, 20s));
  CHECK(agent->process().stop(20s) == 0);
  INFO(agent->log());
  CHECK(hook.told() == "begun apply\nended apply\n");

  agent->start();  // the platform has no reply yet, and asks again
  CHECK(eventually([&] { return holds(hook.told(), "ended provisioned"); }, 30s));
  CHECK(eventually([&] { return rig.births("02FC60000001") == 1; }));
  agent->process().stop();
  agent->start();
  CHECK(eventually([&] { return rig.births("02FC60000001") == 2; }));
  agent->process().stop();
  CHECK(hook.told() == "begun apply\nended apply\nbegun apply\nended apply\nbegun provisioned\nended provisioned\n");
}

TEST_CASE("a hook that refuses while the agent stops is told of the rollback by the next start") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000012"));
  const Hook hook(*agent, "echo $1 $FLEET_GENERATION >> $out; [ $1 = apply ] && sleep 2 && exit 1");
  agent->start();
  REQUIRE(eventually([&] { return holds(hook.told(), "apply 1"); }, 20s));
  CHECK(agent->process().stop(20s) == 0);
  INFO(agent->log());
  CHECK(hook.told() == "apply 1\n");
  agent->start();
  CHECK(eventually([&] { return hook.told().starts_with("apply 1\nrollback 0\n"); }, 20s));
  agent->process().stop(20s);
}

TEST_CASE("SIGHUP while the hook has a generation on trial waits for its decision, and loses nothing") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000011"));
  const Hook hook(*agent, "echo begun $1 >> $out; [ $1 = apply ] && sleep 4; echo ended $1 $FLEET_GENERATION >> $out");
  agent->start();
  REQUIRE(eventually([&] { return holds(hook.told(), "begun apply"); }, 20s));
  agent->set("broker-url", "mqtts://127.0.0.1:" + std::to_string(rig.provision_port()));  // begins again
  agent->process().signal(SIGHUP);
  CHECK(eventually([&] { return agent->provisioned(); }, 30s));
  CHECK(eventually([&] { return holds(hook.told(), "ended provisioned"); }, 30s));
  INFO(agent->log());
  CHECK(holds(agent->log(), "as soon as the hook has decided"));
  CHECK(holds(agent->log(), "beginning again with the new settings"));
  CHECK(hook.told() == "begun apply\nended apply 1\nbegun provisioned\nended provisioned 1\n");
  CHECK_FALSE(fs::is_symlink(agent->folder() / "state" / "trial"));
  CHECK(rig.sql("SELECT count(*) FROM attempt") == "1");
  agent->process().stop();
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

TEST_CASE("a crash behind the state that says that an attempt has failed does not keep the hook from being told") {
  Rig rig;
  rig.start_all();
  Credentials gateway = rig.request("gw", "02FC60000013");
  gateway.password = "NOTTHEPASSWORDNOTTHEPASSWORDNOTT";
  auto agent = rig.agent(gateway);
  agent->set("retry-interval", "300s");
  const Hook hook(*agent, "echo $1 $FLEET_GENERATION >> $out");
  agent->start({{"FLEET_CRASH_AT", "agent.state-saved.waiting"}});
  REQUIRE(eventually([&] { return !agent->running(); }, 20s));
  CHECK(hook.told().empty());
  agent->start();
  CHECK(eventually([&] { return hook.told() == "failed 0\n"; }));
  CHECK(agent->process().stop() == 0);
  agent->start();
  CHECK(eventually([&] { return status_json(*agent).at("source") == "agent"; }));
  CHECK(agent->process().stop() == 0);
  CHECK(hook.told() == "failed 0\n");
}

namespace {

// A device that has been provisioned twice: generation 2 is in force, generation 1 is the one before.
struct TwiceProvisioned {
  explicit TwiceProvisioned(const std::string& client_id, const std::map<std::string, std::string>& environment = {})
      : id(client_id) {
    rig.start_all();
    agent = rig.agent(rig.request("gw", id));
    hook.emplace(*agent, "echo $1 $FLEET_GENERATION >> $out");
    agent->start();
    REQUIRE(eventually([&] { return agent->provisioned() && holds(hook->told(), "provisioned 1"); }, 20s));
    CHECK(agent->process().stop() == 0);
    first_key = read_key();
    expect_ok(agent->cli({"reset"}), "reset");
    expect_ok(rig.cli({"retry", "request", "gw"}), "retry");
    agent->start(environment);
    REQUIRE(eventually([&] { return agent->provisioned() && holds(hook->told(), "provisioned 2"); }, 20s));
    REQUIRE(read_key() != first_key);
  }
  std::string read_key() const {
    std::ifstream file(agent->state() / "current/device.key");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string id;
  Rig rig;
  std::unique_ptr<AgentRig> agent;
  std::optional<Hook> hook;
  std::string first_key;
};

}  // namespace

TEST_CASE("a rollback takes effect while the agent runs: its owner's broker sees the device of before") {
  TwiceProvisioned device("02FC60000014");
  AgentRig& agent = *device.agent;
  const pid_t pid = agent.process().pid();
  const int births = device.rig.births(device.id);
  const Outcome outcome = agent.cli({"rollback"});
  INFO(outcome.errors << agent.log());
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.output == "generation 1 is in force again; the running agent uses it from now on\n");
  CHECK(holds(device.hook->told(), "provisioned 2\nrollback 1\n"));
  CHECK(device.read_key() == device.first_key);
  CHECK(eventually([&] { return device.rig.births(device.id) == births + 1; }));
  CHECK(eventually([&] { return status_json(agent).at("ownerConnection") == "connected"; }));
  CHECK(status_json(agent).at("generation") == 1);
  CHECK(status_json(agent).at("provisioned") == true);
  CHECK(agent.running());
  CHECK(agent.process().pid() == pid);

  const Outcome further = agent.cli({"rollback"});
  CHECK(further.exit_code == 78);
  CHECK(holds(further.errors, "there is no generation before generation 1"));
  CHECK(agent.process().stop() == 0);
  agent.start();
  CHECK(eventually([&] { return device.rig.births(device.id) == births + 2; }));
  CHECK(status_json(agent).at("generation") == 1);
}

TEST_CASE("a rollback that is killed in the middle is finished by the next start, and the hook is told") {
  TwiceProvisioned device("02FC60000015", {{"FLEET_CRASH_AT", "agent.rollback-begun"}});
  AgentRig& agent = *device.agent;
  const Outcome outcome = agent.cli({"rollback"});
  CHECK(outcome.exit_code == 75);
  CHECK(holds(outcome.errors, "the agent has ended before it answered"));
  REQUIRE(eventually([&] { return !agent.running(); }));
  agent.start();
  CHECK(eventually([&] { return holds(device.hook->told(), "rollback 1\n"); }));
  INFO(agent.log());
  CHECK(device.read_key() == device.first_key);
  CHECK(eventually([&] { return status_json(agent).at("ownerConnection") == "connected"; }));
  CHECK(status_json(agent).at("generation") == 1);
}

TEST_CASE("a hook that does not like a rollback does not undo it, and the person who wanted it learns that") {
  TwiceProvisioned device("02FC60000016");
  AgentRig& agent = *device.agent;
  const Hook angry(agent, "echo cannot go back >&2; exit 4");
  const Outcome outcome = agent.cli({"rollback"});
  CHECK(outcome.exit_code == 75);
  CHECK(holds(outcome.errors, "generation 1 is in force again, but: the hook failed with exit code 4: cannot go back"));
  CHECK(device.read_key() == device.first_key);
}

TEST_CASE("nobody rolls back during an attempt, nor while a generation is on trial, and is told which it is") {
  Rig rig;
  rig.start_all();
  auto agent = rig.agent(rig.request("gw", "02FC60000017"));
  const Hook hook(*agent, "echo $1 >> $out; [ $1 = apply ] && sleep 3; true");
  rig.provisioner().stop();
  agent->start();
  REQUIRE(eventually([&] { return agent->phase() == "connecting" && status_json(*agent).at("source") == "agent"; }));
  Outcome refused = agent->cli({"rollback"});
  CHECK(refused.exit_code == 75);
  CHECK(holds(refused.errors, "cannot roll back now: a provision attempt is under way (connecting)"));
  rig.start_provisioner();
  REQUIRE(eventually([&] { return holds(hook.told(), "apply"); }, 30s));
  refused = agent->cli({"rollback"});
  CHECK(refused.exit_code == 75);
  CHECK(holds(refused.errors, "cannot roll back now: generation 1 is on trial"));
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(status_json(*agent).at("generation") == 1);
}
