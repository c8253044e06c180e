#include "tests/system/rig.hpp"

#include <signal.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

#include <boost/json.hpp>

namespace fleet::test {
namespace fs = std::filesystem;
namespace {

const fs::path kTestBin = FLEET_TEST_BIN;
const std::string kProvisioner = (kTestBin / "provisioner-crashtest").string();
const std::string kAgent = (kTestBin / "provision-agent-crashtest").string();

void write_text(const fs::path& path, const std::string& text, fs::perms perms = fs::perms::owner_read | fs::perms::owner_write) {
  std::ofstream(path, std::ios::binary) << text;
  fs::permissions(path, perms);
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string user_name() { return run({"id", "-un"}).output.substr(0, run({"id", "-un"}).output.find('\n')); }

// `status -o json`; empty if there is nothing to read.
boost::json::object status_of(const AgentRig& agent) {
  boost::system::error_code error;
  const auto json = boost::json::parse(agent.cli({"status", "-o", "json"}).output, error);
  return error || !json.is_object() ? boost::json::object() : json.as_object();
}

std::string text_of(const boost::json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : "";
}

}  // namespace

bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

const Outcome& expect_ok(const Outcome& outcome, const std::string& what) {
  if (outcome.exit_code != 0) {
    throw std::runtime_error(what + ": exit code " + std::to_string(outcome.exit_code) + "\n" + outcome.output + outcome.errors);
  }
  return outcome;
}

AgentRig::AgentRig(fs::path folder, std::string settings) : folder_(std::move(folder)) {
  fs::create_directories(folder_);
  std::istringstream lines(settings);
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(": ");
    settings_[line.substr(0, colon)] = line.substr(colon + 2);
  }
  write_settings();
}

void AgentRig::write_settings() const {
  std::string text;
  for (const auto& [key, value] : settings_) text += key + ": " + value + "\n";
  write_text(folder_ / "agent.yaml", text);
}

void AgentRig::set(const std::string& key, const std::string& value) {
  settings_[key] = value;
  write_settings();
}

void AgentRig::start(std::map<std::string, std::string> environment) {
  process_.reset();
  process_.emplace(Command{{kAgent, "run", "--config", (folder_ / "agent.yaml").string()}, std::move(environment), folder_ / "agent.log"});
}

std::string AgentRig::log() const { return read_text(folder_ / "agent.log"); }

Outcome AgentRig::cli(std::vector<std::string> command) const {
  command.insert(command.begin(), kAgent);
  command.insert(command.end(), {"--config", (folder_ / "agent.yaml").string()});
  return run(std::move(command));
}

std::string AgentRig::phase() const { return text_of(status_of(*this), "phase"); }
std::string AgentRig::next_try() const { return text_of(status_of(*this), "nextTry"); }

std::string AgentRig::last_failure() const {
  const auto status = status_of(*this);
  const auto* failure = status.if_contains("lastFailure");
  return failure != nullptr && failure->is_object() ? text_of(failure->as_object(), "what") : "";
}

bool AgentRig::provisioned() const { return phase() == "provisioned"; }

Rig::Rig() {
  expect_ok(cli({"init", "--host", "localhost", "--host", "127.0.0.1", "--host", "provision.fleet.test", "--listen", "127.0.0.1:" + std::to_string(provision_port_)}),
            "provisioner init");
  write_text(data() / "provisioner.yaml", read_text(data() / "provisioner.yaml") + "packages:\n  listen: \"127.0.0.1:" +
                                              std::to_string(packages_port_) + "\"\n");
  const fs::path script = fs::path(FLEET_SOURCE_DIR) / "certs" / "make-dev-pki.sh";
  expect_ok(run({script.string(), (folder_ / "owner").string(), "localhost", "127.0.0.1"}), "make-dev-pki.sh");
}

Rig::~Rig() {
  // in order, so that the managed broker goes with its provisioner
  if (provisioner_) provisioner_->stop();
}

void Rig::start_owner() {
  const fs::path owner = folder_ / "owner";
  write_text(owner / "device-cas.crt", read_text(data() / "pki" / "device-ca.crt") + read_text(root_certificate()));
  const std::string socket = (owner / "mqtt.sock").string();
  std::string conf = "user " + user_name() + "\nlog_type error\nlog_type warning\nlog_type notice\nlog_type subscribe\n";
  conf += "listener " + std::to_string(owner_port_) + " 127.0.0.1\n";
  conf += "certfile " + (owner / "server.crt").string() + "\nkeyfile " + (owner / "server.key").string() + "\n";
  conf += "cafile " + (owner / "device-cas.crt").string() + "\nrequire_certificate true\nset_tcp_nodelay true\n";
  conf += "listener 0 " + socket + "\n";
  conf += "plugin " + std::string(FLEET_PLUGIN) + "\nplugin_opt_mode owner\nplugin_opt_account acme\n";
  conf += "plugin_opt_credentials strict\nplugin_opt_local_socket " + socket + "\n";
  write_text(owner / "mosquitto.conf", conf);
  fs::remove(socket);
  const std::size_t said_before = read_text(owner / "broker.log").size();
  owner_.emplace(Command{{"/usr/sbin/mosquitto", "-c", (owner / "mosquitto.conf").string()}, {}, owner / "broker.log"});
  // the socket is there a moment before it is listened on
  if (!eventually([&] { return run({"mosquitto_pub", "--unix", socket, "-i", "probe", "-t", "probe", "-n"}).exit_code == 0; })) {
    throw std::runtime_error("the owner's broker did not start: " + read_text(owner / "broker.log"));
  }
  watcher_.emplace(Command{{"mosquitto_sub", "--unix", socket, "-i", "watcher", "-q", "1", "-t", "$EDC/acme/+/MQTT/BIRTH", "-F", "%t"},
                           {}, owner / "births"});
  if (!eventually([&] { return holds(read_text(owner / "broker.log").substr(said_before), "watcher 1 $EDC/acme/"); })) {
    throw std::runtime_error("nobody watches for BIRTHs: " + read_text(owner / "births") + read_text(owner / "broker.log"));
  }
}

void Rig::start_provisioner(std::map<std::string, std::string> environment, bool wait) {
  provisioner_.reset();
  environment["PROVISIONER_DATA"] = data().string();
  provisioner_.emplace(Command{{kProvisioner, "serve"}, std::move(environment), folder_ / "provisioner.log"});
  if (!wait) return;
  if (!eventually([&] { return cli({"status"}).exit_code == 0; }, 20s)) {
    throw std::runtime_error("the provisioner did not start: " + provisioner_log());
  }
}

void Rig::start_all() {
  start_owner();
  start_provisioner();
  apply(account_and_profile());
}

std::string Rig::provisioner_log() const { return read_text(folder_ / "provisioner.log"); }

pid_t Rig::broker_pid() {
  const Outcome outcome = run({"pgrep", "-P", std::to_string(provisioner_->pid()), "mosquitto"});
  return outcome.output.empty() ? 0 : static_cast<pid_t>(std::stol(outcome.output));
}

Outcome Rig::cli(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), kProvisioner);
  return run(std::move(arguments), {}, 60s, {{"PROVISIONER_DATA", data().string()}});
}

std::string Rig::account_and_profile(const std::string& profile_spec) const {
  return "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: acme}\nspec:\n  broker: {url: mqtts://localhost:" +
         std::to_string(owner_port_) + ", caFile: " + (folder_ / "owner" / "owner-root.crt").string() +
         "}\n  credentials: x509\n---\napiVersion: provisioner/v1\nkind: Profile\nmetadata: {name: gateway}\nspec:\n  account: acme\n" +
         "  configuration:\n    org.example.Site: {name: \"${clientId}\", interval: 30}\n" + profile_spec;
}

std::vector<Credentials> Rig::apply(const std::string& yaml) {
  const std::string number = std::to_string(++applies_);
  const fs::path file = folder_ / ("apply-" + number + ".yaml");
  const fs::path secrets = folder_ / ("secrets-" + number + ".csv");
  write_text(file, yaml);
  expect_ok(cli({"apply", "-f", file.string(), "--secrets-out", secrets.string()}), "apply");
  std::vector<Credentials> all;
  std::istringstream lines(fs::exists(secrets) ? read_text(secrets) : "");
  std::string line;
  std::getline(lines, line);  // header
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    Credentials one;
    std::getline(fields, one.name, ',');
    std::getline(fields, one.client_id, ',');
    std::getline(fields, one.username, ',');
    std::getline(fields, one.password, ',');
    std::getline(fields, one.activation_key, ',');
    all.push_back(one);
  }
  return all;
}

Credentials Rig::request(const std::string& name, const std::string& client_id, const std::string& spec) {
  const auto secrets = apply("apiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: " + name + "}\nspec:\n  profile: gateway\n" +
                             "  clientId: \"" + client_id + "\"\n  provisionUserUsername: \"" + client_id + "-SN1\"\n" + spec);
  if (secrets.size() != 1) throw std::runtime_error("no secret was generated for " + name);
  return secrets.front();
}

std::unique_ptr<AgentRig> Rig::agent(const Credentials& credentials) {
  const fs::path folder = folder_ / ("agent-" + credentials.client_id);
  fs::create_directories(folder);
  write_text(folder / "password", credentials.password + "\n");
  std::string settings = "broker-url: mqtts://localhost:" + std::to_string(provision_port_) + "\nclient-id: \"" + credentials.client_id +
                         "\"\nusername: \"" + credentials.username + "\"\npassword-file: " + (folder / "password").string() +
                         "\nbroker-ca-file: " + root_certificate().string() + "\nplatform-root-file: " + root_certificate().string() +
                         "\nstate-dir: " + (folder / "state").string() + "\nretry-interval: 1s\ntimeout: 30s";
  if (!credentials.activation_key.empty()) {
    write_text(folder / "activation-key", credentials.activation_key + "\n");
    settings += "\nactivation-key-file: " + (folder / "activation-key").string();
  }
  return std::make_unique<AgentRig>(folder, settings);
}

std::string Rig::request_field(const std::string& name, const std::string& field) const {
  const Outcome outcome = cli({"describe", "request", name, "-o", "json"});
  boost::system::error_code error;
  const auto json = boost::json::parse(outcome.output, error);
  if (error || !json.is_object()) return "";
  const auto* request = json.as_object().if_contains("request");
  const auto& object = request != nullptr ? request->as_object() : json.as_object();
  const auto* value = object.if_contains(field);
  if (value == nullptr) return "";
  return value->is_string() ? std::string(value->as_string()) : boost::json::serialize(*value);
}

std::string Rig::describe(const std::string& name) const { return cli({"describe", "request", name}).output; }

std::string Rig::sql(const std::string& query) const {
  std::string output = expect_ok(run({"sqlite3", "-readonly", (data() / "provisioner.db").string(), query}), query).output;
  while (!output.empty() && output.back() == '\n') output.pop_back();
  return output;
}

int Rig::births(const std::string& client_id) const {
  std::istringstream lines(read_text(folder_ / "owner" / "births"));
  int count = 0;
  for (std::string line; std::getline(lines, line);) count += line == "$EDC/acme/" + client_id + "/MQTT/BIRTH" ? 1 : 0;
  return count;
}

Rig& installation() {
  static Rig rig;
  static const bool started = [] {
    rig.start_all();
    return true;
  }();
  static_cast<void>(started);
  return rig;
}

}  // namespace fleet::test
