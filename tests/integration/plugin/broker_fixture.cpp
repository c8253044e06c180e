#include "tests/integration/plugin/broker_fixture.hpp"

#include <cstring>
#include <fstream>
#include <grp.h>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <doctest/doctest.h>
#include <sqlite3.h>

#include "core/base/bytes.hpp"
#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/crypto/digest.hpp"

namespace fleet::test {
namespace {

bool accepts(const std::filesystem::path& socket) {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket.string().copy(address.sun_path, sizeof address.sun_path - 1);
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

std::vector<std::string> command_line(const char* program, const std::vector<std::string>& who,
                                      std::initializer_list<std::vector<std::string>> more) {
  std::vector<std::string> arguments{program};
  arguments.insert(arguments.end(), who.begin(), who.end());
  for (const auto& part : more) arguments.insert(arguments.end(), part.begin(), part.end());
  return arguments;
}

// root:mosquitto 0640, as the provisioner shares files with a broker that runs as another user
void share(const std::filesystem::path& path, const std::string& user) {
  const group* const entry = ::getgrnam(user.c_str());
  REQUIRE(entry != nullptr);
  REQUIRE(::chown(path.c_str(), 0, entry->gr_gid) == 0);
  REQUIRE(::chmod(path.c_str(), 0640) == 0);
}

}  // namespace

Projection::Projection(const std::filesystem::path& path, std::string verifier_key)
    : verifier_key_(std::move(verifier_key)) {
  REQUIRE(sqlite3_open(path.c_str(), &database_) == SQLITE_OK);
  int keep = 1;
  sqlite3_file_control(database_, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
  run("PRAGMA journal_mode=WAL");
  run(std::string(provisioner::kAdmissionSchema));
}

Projection::~Projection() {
  close();
}

void Projection::close() {
  sqlite3_close(database_);
  database_ = nullptr;
}

void Projection::run(const std::string& sql) {
  REQUIRE_MESSAGE(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK,
                  sqlite3_errmsg(database_));
}

void Projection::leave_wal() {
  int keep = 0;
  sqlite3_file_control(database_, "main", SQLITE_FCNTL_PERSIST_WAL, &keep);
  run("PRAGMA journal_mode=DELETE");
}

void Projection::add(const std::string& client_id, Admission state, std::chrono::seconds opens,
                     std::optional<std::chrono::seconds> closes) {
  const Bytes verifier =
      crypto::secret_verifier(verifier_key_, provisioner::kConnectPurpose, client_id, "secret-of-" + client_id);
  const auto at = [](std::chrono::seconds offset) { return to_unix_millis(wall_now() + offset); };
  run(fmt::format("INSERT INTO device VALUES ('{}', 'user', x'{}', {}, {}, {})", client_id, to_hex(verifier),
                  static_cast<int>(state), at(opens), closes ? at(*closes) : provisioner::kNeverCloses));
}

Subscriber::Subscriber(std::vector<std::string> arguments)
    // -d shows the SUBACK; the format keeps messages apart from that
    : process_(Command{command_line("stdbuf", {"-oL", "mosquitto_sub", "-d", "-F", "MSG|%r|%t|%x"}, {arguments})}) {
  eventually([&] { return subscribed() || !process_.running(); });
}

bool Subscriber::subscribed() const {
  const std::string output = process_.output();
  return output.find("Subscribed (mid:") != std::string::npos && output.find("denied") == std::string::npos;
}

std::vector<Received> Subscriber::received() const {
  std::vector<Received> messages;
  std::istringstream lines(process_.output());
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("MSG|") || lines.eof()) continue;  // a line without its end is still being written
    const std::size_t payload = line.rfind('|');
    messages.push_back({line.substr(6, payload - 6), from_hex(line.substr(payload + 1)).value(), line[4] == '1'});
  }
  return messages;
}

bool Subscriber::got(const std::string& topic, const std::string& payload) const {
  for (const Received& message : received()) {
    if (message.topic == topic && message.payload == payload) return true;
  }
  return false;
}

std::uint32_t Subscriber::events(provisioner::EventKind kind, const std::string& client_id,
                                 const std::string& reason) const {
  std::uint32_t count = 0;
  for (const Received& message : received()) {
    if (message.topic != provisioner::event_topic(kind)) continue;
    const auto events = provisioner::parse_events(message.payload);
    REQUIRE(events);
    for (const provisioner::BrokerEvent& event : *events) {
      if (event.client_id == client_id && event.reason == reason) count += event.count;
    }
  }
  return count;
}

ProvisionBroker::ProvisionBroker(BrokerOptions options) : options_(std::move(options)), port_(free_port()) {
  const std::string key = random_bytes(32);
  REQUIRE(write_file(folder_ / "verifier.key", key));
  projection_.emplace(folder_ / "admission.db", key);
  install_plugin(folder_.path());
  REQUIRE(make_folder(folder_ / "run"));
  if (running_as_root() && options_.user != "root") {
    for (const char* name : {"verifier.key", "admission.db", "admission.db-wal", "admission.db-shm"}) {
      share(folder_ / name, options_.user);
    }
    REQUIRE(run({"chown", options_.user, (folder_ / "run").string()}).exit_code == 0);
  }
  std::ofstream conf(folder_ / "mosquitto.conf");
  conf << "per_listener_settings false\nallow_anonymous false\nlog_dest stderr\nlog_type all\n";
  if (running_as_root()) conf << "user " << options_.user << "\n";
  conf << "plugin " << (folder_ / "provisioner_auth.so").string() << "\n"
       << "plugin_opt_mode provision\nplugin_opt_account acme\nplugin_opt_provisioner_id prov\n"
       << "plugin_opt_admission_db " << (folder_ / "admission.db").string() << "\n"
       << "plugin_opt_verifier_key_file " << (folder_ / "verifier.key").string() << "\n"
       << "plugin_opt_local_socket " << (folder_ / "run/s").string() << "\n";
  for (const std::string& line : options_.extra) conf << line << "\n";
  conf << "listener " << port_ << " 127.0.0.1\n"
       << "listener 0 " << (folder_ / "run/s").string() << "\n";
}

bool ProvisionBroker::start() {
  process_.emplace(mosquitto_command(folder_ / "mosquitto.conf", folder_ / "broker.log"));
  return wait_until_listening(*process_, folder_ / "run/s");
}

void ProvisionBroker::stop() {
  process_->stop();
}
void ProvisionBroker::kill() {
  process_->kill();
}
std::string ProvisionBroker::log() const {
  return process_->output();
}

Subscriber ProvisionBroker::listen(std::vector<std::string> more) const {
  std::vector<std::string> arguments = local();
  arguments.insert(arguments.end(), {"-t", "$PROVISIONER/#", "-q", "1"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Subscriber(std::move(arguments));
}

Subscriber ProvisionBroker::listen_as(const std::string& client_id, std::vector<std::string> more) const {
  std::vector<std::string> arguments = device(client_id);
  arguments.insert(arguments.end(), {"-q", "1", "-t", "$EDC/acme/" + client_id + "/#"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Subscriber(std::move(arguments));
}

std::vector<std::string> ProvisionBroker::device(const std::string& client_id, const std::string& password,
                                                 const std::string& username) const {
  return {"-h", "127.0.0.1",
          "-p", std::to_string(port_),
          "-i", client_id,
          "-u", username,
          "-P", password.empty() ? "secret-of-" + client_id : password};
}

std::vector<std::string> ProvisionBroker::local(const std::string& client_id) const {
  return {"--unix", (folder_ / "run/s").string(), "-i", client_id};
}

int ProvisionBroker::connect(const std::vector<std::string>& who) const {
  return run(command_line("mosquitto_pub", who, {{"-t", "nowhere", "-m", "x", "-q", "1"}})).exit_code;
}

bool ProvisionBroker::publish(const std::vector<std::string>& who, const std::string& topic, const std::string& payload,
                              const std::vector<std::string>& more) const {
  const Outcome outcome =
      run(command_line("mosquitto_pub", who, {{"-V", "mqttv5", "-q", "1", "-t", topic, "-m", payload}, more}));
  CHECK(outcome.exit_code == 0);
  return outcome.errors.find("Not authorized") == std::string::npos;
}

bool ProvisionBroker::publish_file(const std::vector<std::string>& who, const std::string& topic,
                                   std::string_view content) const {
  const std::filesystem::path file = folder_ / "payload";
  REQUIRE(write_file(file, content, 0600));
  const Outcome outcome = run(command_line("mosquitto_pub", who, {{"-V", "mqttv5", "-q", "1", "-t", topic, "-f", file.string()}}));
  CHECK(outcome.exit_code == 0);
  return outcome.errors.find("Not authorized") == std::string::npos;
}

bool ProvisionBroker::subscribe(const std::vector<std::string>& who, const std::string& filter) const {
  const Outcome outcome = run(command_line("mosquitto_sub", who, {{"-q", "1", "-t", filter, "-E"}}));
  return outcome.errors.find("denied") == std::string::npos && outcome.exit_code == 0;
}

std::filesystem::path install_plugin(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "provisioner_auth.so";
  std::filesystem::copy_file(FLEET_PLUGIN, path);
  REQUIRE(::chmod(path.c_str(), 0755) == 0);
  return path;
}

Command mosquitto_command(const std::filesystem::path& configuration, const std::filesystem::path& log) {
  // /usr/sbin is not in everybody's PATH
  Command command{{"/usr/sbin/mosquitto", "-c", configuration.string()}, {}, log};
#ifdef __SANITIZE_ADDRESS__
  // a sanitized plugin needs the runtime to be in the process before it; Mosquitto's own leaks are not ours to find
  command.environment = {{"LD_PRELOAD", "libasan.so.8 libubsan.so.1"}, {"ASAN_OPTIONS", "detect_leaks=0"}};
#endif
  return command;
}

bool wait_until_listening(Process& broker, const std::filesystem::path& socket) {
  bool listening = false;
  eventually([&] {
    listening = accepts(socket);
    return listening || !broker.running();
  });
  return listening;
}

bool running_as_root() {
  return ::geteuid() == 0;
}

}  // namespace fleet::test
