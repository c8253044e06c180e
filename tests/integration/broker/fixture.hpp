// A data folder with all that a managed broker needs, and the broker on an io_context of the test.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "provisioner/broker/managed_broker.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::test {

bool running_as_root();
// The ids of all Mosquittos that run with this configuration file.
std::vector<pid_t> brokers_of(const std::filesystem::path& configuration);
std::string user_of(pid_t pid);

// One test's data folder: certificates, verifier key and an empty admission database.
class DataFolder {
 public:
  DataFolder();

  provisioner::ManagedBrokerSettings settings;  // account "acme", provisioner "prov", a free port on 127.0.0.1
  std::filesystem::path path() const { return folder_.path(); }
  std::string roots() const { return (folder_ / "roots.pem").string(); }
  // Exit code of a mosquitto_pub over TLS as an unknown device: 5 = the broker answers and refuses.
  int knock() const;

 private:
  TempFolder folder_;
};

// The managed broker and what it told.
class RunningBroker {
 public:
  explicit RunningBroker(provisioner::ManagedBrokerSettings settings);

  Result<void> start() { return broker_->start(); }
  // Runs the io_context until the condition holds; false after `limit`.
  bool until(const std::function<bool()>& condition, std::chrono::milliseconds limit = 10s);
  bool stop();
  void destroy() { broker_.reset(); }
  pid_t pid() const { return broker_->pid(); }

  int ready = 0;
  std::vector<Error> down;

 private:
  boost::asio::io_context io_;
  std::unique_ptr<provisioner::ManagedBroker> broker_;
};

}  // namespace fleet::test
