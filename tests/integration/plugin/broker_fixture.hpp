// A real Mosquitto with the plugin, driven by Mosquitto's own command line clients.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "provisioner/admission/admission.hpp"
#include "provisioner/admission/events.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

struct sqlite3;

namespace fleet::test {

using provisioner::Admission;

// The provisioner's side of the admission projection.
class Projection {
 public:
  Projection(const std::filesystem::path& path, std::string verifier_key);
  ~Projection();
  Projection(const Projection&) = delete;
  Projection& operator=(const Projection&) = delete;

  // A request of username "user" and password "secret-of-{client id}". Times are relative to now.
  void add(const std::string& client_id, Admission state = Admission::kOpen, std::chrono::seconds opens = -60s,
           std::optional<std::chrono::seconds> closes = {});
  void run(const std::string& sql);
  // From WAL to a rollback journal, where a writer can lock readers out.
  void leave_wal();
  void close();

 private:
  sqlite3* database_ = nullptr;
  std::string verifier_key_;
};

// One message that a mosquitto_sub received.
struct Received {
  std::string topic;
  std::string payload;
  bool retained = false;
};

// A running mosquitto_sub; the constructor returns when its subscriptions are answered or it has ended.
class Subscriber {
 public:
  explicit Subscriber(std::vector<std::string> arguments);

  Process& process() { return process_; }
  // False if the broker denied every subscription or refused the connection.
  bool subscribed() const;
  std::vector<Received> received() const;
  bool got(const std::string& topic, const std::string& payload) const;
  // All aggregated events of one kind so far, counts summed up by client id and reason.
  std::uint32_t events(provisioner::EventKind kind, const std::string& client_id, const std::string& reason = "") const;

 private:
  Process process_;
};

// mosquitto.conf lines of the broker, and the user that it runs as ("" = whoever runs the test).
struct BrokerOptions {
  std::string user = "root";
  std::vector<std::string> extra = {};
};

// The provision broker: account "acme", provisioner "prov", plain TCP.
class ProvisionBroker {
 public:
  explicit ProvisionBroker(BrokerOptions options = {});

  Projection& projection() { return *projection_; }
  const TempFolder& folder() const { return folder_; }
  // Starts Mosquitto; false (and `log()` says why) if it ended instead of listening.
  bool start();
  void stop();
  void kill();
  std::string log() const;

  // The provisioner's client, subscribed to everything.
  Subscriber listen(std::vector<std::string> more = {}) const;

  // A device that receives, with QoS 1, what its own tree holds.
  Subscriber listen_as(const std::string& client_id, std::vector<std::string> more = {}) const;

  // Arguments of the clients: where to connect and as whom.
  std::vector<std::string> device(const std::string& client_id, const std::string& password = "",
                                  const std::string& username = "user") const;
  std::vector<std::string> local(const std::string& client_id = "prov") const;

  // The exit code of a mosquitto_pub: 0 admitted, 5 refused (CONNACK 5).
  int connect(const std::vector<std::string>& who) const;
  // Whether a publish was allowed, by the reason code of MQTT 5.
  bool publish(const std::vector<std::string>& who, const std::string& topic, const std::string& payload = "x",
               const std::vector<std::string>& more = {}) const;
  // The same for a file's content.
  bool publish_file(const std::vector<std::string>& who, const std::string& topic, std::string_view content) const;
  // Whether a subscription was allowed.
  bool subscribe(const std::vector<std::string>& who, const std::string& filter) const;

 private:
  TempFolder folder_;
  BrokerOptions options_;
  int port_;
  std::optional<Projection> projection_;
  std::optional<Process> process_;
};

// Copies the plugin into `folder`, so that any user may load it, and returns its path.
std::filesystem::path install_plugin(const std::filesystem::path& folder);

// A command that runs Mosquitto on a configuration, with what a sanitized plugin needs.
Command mosquitto_command(const std::filesystem::path& configuration, const std::filesystem::path& log);

// True when the broker on a unix socket accepts connections; false if `broker` ended first.
bool wait_until_listening(Process& broker, const std::filesystem::path& socket);

bool running_as_root();

}  // namespace fleet::test
