// A real Mosquitto and a client that writes down what it is told.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "core/mqtt/client.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::test {

// Mosquitto with the listener that `listener` describes (lines of mosquitto.conf, after the common ones).
class Broker {
 public:
  // On a free port; `port()` is it.
  explicit Broker(const TempFolder& folder, std::string listener_options = "allow_anonymous true\n");
  // On a unix socket.
  static Broker on_socket(const TempFolder& folder, const std::filesystem::path& socket);

  int port() const { return port_; }
  mqtt::BrokerUrl url(mqtt::BrokerUrl::Scheme scheme = mqtt::BrokerUrl::Scheme::kMqtt,
                      std::string host = "127.0.0.1") const {
    return {scheme, std::move(host), port_};
  }
  Process& process() { return *process_; }

 private:
  Broker() = default;
  void start(const TempFolder& folder, const std::string& listener);

  int port_ = 0;
  std::unique_ptr<Process> process_;
};

// What a client was told, in order.
struct Record {
  std::vector<Result<bool>> connected;
  std::vector<Result<void>> disconnected;
  std::vector<mqtt::Message> messages;
  std::vector<int> published;
  std::vector<std::pair<int, bool>> subscribed;
};
mqtt::Handlers recording(Record& record);

mqtt::ConnectOptions options_for(const mqtt::BrokerUrl& url, std::string client_id);

// Runs `io` until `condition` holds; false after `limit`.
bool run_until(boost::asio::io_context& io, const std::function<bool()>& condition,
               std::chrono::milliseconds limit = std::chrono::seconds(10));

// A client of its own io_context, for tests that need just one.
struct Party {
  explicit Party() : client(std::make_unique<mqtt::Client>(io, recording(record))) {}

  bool until(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    return run_until(io, condition, limit);
  }
  // Connects and waits for the outcome.
  Result<bool> connect(mqtt::ConnectOptions options);
  // Subscribes and waits for the SUBACK.
  bool subscribe(std::string_view filter);

  boost::asio::io_context io;
  Record record;
  std::unique_ptr<mqtt::Client> client;
};

// A TCP socket that listens and says nothing by itself.
class SilentServer {
 public:
  SilentServer();
  ~SilentServer();
  int port() const { return port_; }
  mqtt::BrokerUrl url() const { return {mqtt::BrokerUrl::Scheme::kMqtt, "127.0.0.1", port_}; }
  // Accepts one connection and reads what comes within `limit`, up to `size` bytes.
  Bytes first_bytes(std::size_t size, std::chrono::milliseconds limit);
  // Accepts one connection and closes it at once.
  void accept_and_close();
  // In a thread: accepts one connection, answers what comes first with the first of `replies`, and so on, then waits
  // for the peer to close.
  void play(std::vector<Bytes> replies);

 private:
  int fd_ = -1;
  int port_ = 0;
  std::atomic<int> peer_ = -1;
  std::thread player_;
};

}  // namespace fleet::test
