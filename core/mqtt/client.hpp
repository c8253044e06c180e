// An MQTT 3.1.1 client: libmosquitto's state machine driven by an Asio io_context. Single-threaded: every call and
// every handler on the thread of the io_context. SIGPIPE is ignored in the whole process from the first connection on.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"

struct ssl_ctx_st;

namespace fleet::mqtt {

// Where to connect. `mqtts://host[:8883]`, `mqtt://host[:1883]`; IPv6 literals in brackets; `unix:/path`.
struct BrokerUrl {
  enum class Scheme { kMqtt, kMqtts, kUnix };
  Scheme scheme = Scheme::kMqtts;
  std::string host;  // or the socket path
  int port = 0;      // 0 for kUnix

  // kInvalidArgument says what is wrong and what a good one looks like. User info, paths and queries are refused.
  static Result<BrokerUrl> parse(std::string_view text);
  std::string str() const;
};

struct Will {
  std::string topic;
  Bytes payload;
};

struct ConnectOptions {
  BrokerUrl url;
  std::string client_id;
  std::optional<std::string> username;
  std::optional<Secret> password;
  // Required for kMqtts. Carries trust, the host name to verify and to ask for (SNI), and the client certificate.
  std::shared_ptr<ssl_ctx_st> tls;
  // Optional: what else is known about the TLS failure that just happened on this thread, for the error message
  // (crypto::take_openssl_errors). "" for nothing.
  std::function<std::string()> explain_tls_failure;
  bool clean_session = true;
  Seconds keep_alive{30};       // 0: none; else from 5 s to 65,535 s
  Seconds connect_timeout{20};  // until CONNACK, name lookup included
  std::optional<Will> will;     // QoS 0, not retained
};

struct Message {
  std::string topic;
  Bytes payload;
  int qos = 0;
  bool retained = false;
};

// Callbacks of one client. Never called from inside a call to the client, and never after it was destroyed.
struct Handlers {
  // The broker accepted (Ok, session_present) or the attempt is over: kUnauthenticated for CONNACK 4 and 5,
  // kUnavailable (network, DNS, TLS, timeout; the message says which) otherwise. Exactly once per connect().
  std::function<void(Result<bool>)> on_connect;
  // An accepted connection ended. Ok after disconnect(), else why. Once per accepted connection.
  std::function<void(Result<void>)> on_disconnect;
  std::function<void(Message)> on_message;
  // The PUBACK of a QoS 1 publish, by its id; and the SUBACK of a subscribe (false: refused, 0x80).
  std::function<void(int)> on_published;
  std::function<void(int, bool)> on_subscribed;
};

// One client. Connects once per connect(); does not reconnect by itself: that is its owner's policy.
// Names are resolved on a worker thread, so the io_context never blocks on DNS; their addresses are tried in turn.
// Nothing unacknowledged is kept from one connection to the next: whoever must be sure publishes it again.
class Client {
 public:
  Client(boost::asio::io_context& io, Handlers handlers);
  ~Client();  // closes without DISCONNECT
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Begins to connect; ends an earlier connection without further calls about it. kInvalidArgument only.
  Result<void> connect(ConnectOptions options);
  // QoS 0 or 1, never retained. The id that on_published will name. kUnavailable if not connected, kLimitExceeded while
  // 60,000 publishes are unacknowledged, kInvalidArgument for a topic or size that MQTT does not allow.
  Result<int> publish(std::string_view topic, std::string_view payload, int qos = 1);
  // QoS 1. The id that on_subscribed will name. Errors as publish().
  Result<int> subscribe(std::string_view filter);
  // DISCONNECT, then on_disconnect(Ok). An attempt under way ends with on_connect(kUnavailable). Otherwise harmless.
  void disconnect();
  bool connected() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fleet::mqtt
