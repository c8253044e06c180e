// A whole installation for system tests: a provisioner with its managed broker, an owner's broker with mutual TLS, and any
// number of agents, all real processes on loopback in a temporary folder. The programs are the crash-test builds: the same
// objects, plus named crash points that fire only when FLEET_CRASH_AT asks for it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::test {

struct Credentials {
  std::string name, client_id, username, password, activation_key;
};

// An agent with a state folder of its own, which outlives its process.
class AgentRig {
 public:
  AgentRig(std::filesystem::path folder, std::string settings);

  void start(std::map<std::string, std::string> environment = {});
  Process& process() { return *process_; }
  bool running() { return process_ && process_->running(); }
  void kill() { process_.reset(); }
  // Its log of all runs.
  std::string log() const;
  // `provision-agent COMMAND --config …`
  Outcome cli(std::vector<std::string> command) const;
  std::string phase() const;  // from `status -o json`
  bool provisioned() const;
  std::string last_failure() const;  // from the same; "" if there is none
  std::string next_try() const;      // the same
  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path state() const { return folder_ / "state"; }
  // Adds or replaces a setting; takes effect at the next start.
  void set(const std::string& key, const std::string& value);

 private:
  void write_settings() const;
  std::filesystem::path folder_;
  std::map<std::string, std::string> settings_;
  std::optional<Process> process_;
};

class Rig {
 public:
  // Makes both PKIs and starts nothing.
  Rig();
  ~Rig();

  void start_owner();
  void stop_owner() { owner_.reset(); }
  // Starts the provisioner and waits until its admin socket answers (not with a crash point before that).
  void start_provisioner(std::map<std::string, std::string> environment = {}, bool wait = true);
  Process& provisioner() { return *provisioner_; }
  bool provisioner_running() { return provisioner_ && provisioner_->running(); }
  void kill_provisioner() { provisioner_.reset(); }
  // Everything up, account and profile applied.
  void start_all();
  std::string provisioner_log() const;
  // The pid of the managed Mosquitto, a child of the provisioner; 0 if there is none.
  pid_t broker_pid();

  Outcome cli(std::vector<std::string> arguments) const;
  // Applies YAML; fails the test unless it worked. Returns the secrets that were generated.
  std::vector<Credentials> apply(const std::string& yaml);
  // Applies a request of that name for a gateway with that client id; `spec` is added to its spec, a line each.
  Credentials request(const std::string& name, const std::string& client_id, const std::string& spec = {});
  std::string account_and_profile(const std::string& profile_spec = {}) const;

  // An agent for those credentials, not started.
  std::unique_ptr<AgentRig> agent(const Credentials& credentials);

  // A value of `describe request NAME -o json` by a dotted path into request ("status", "failures").
  std::string request_field(const std::string& name, const std::string& field) const;
  std::string status(const std::string& name) const { return request_field(name, "status"); }
  std::string describe(const std::string& name) const;
  // One value of an SQL query on the provisioner's database.
  std::string sql(const std::string& query) const;
  // How often a BIRTH of that client id was seen on the owner's broker.
  int births(const std::string& client_id) const;

  std::filesystem::path data() const { return folder_ / "provisioner"; }
  std::filesystem::path root_certificate() const { return data() / "pki" / "root.crt"; }
  std::filesystem::path folder() const { return folder_.path(); }
  int provision_port() const { return provision_port_; }
  int owner_port() const { return owner_port_; }
  int packages_port() const { return packages_port_; }

 private:
  TempFolder folder_;
  int provision_port_ = free_port();
  int owner_port_ = free_port();
  int packages_port_ = free_port();
  std::optional<Process> owner_, watcher_, provisioner_;
  int applies_ = 0;
};

// One installation for all cases of a program, started by the first call; every case has devices of its own.
Rig& installation();

bool holds(std::string_view text, std::string_view part);

// Dies with a message that holds `what` unless `outcome` ended with exit code 0.
const Outcome& expect_ok(const Outcome& outcome, const std::string& what);

}  // namespace fleet::test
