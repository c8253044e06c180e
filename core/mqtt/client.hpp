// An MQTT client: libmosquitto's state machine driven by an Asio io_context. Single-threaded: every call and every
// handler on the thread of the io_context. SIGPIPE is ignored in the whole process from the first connection on.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/mqtt/options.hpp"

namespace fleet::mqtt {

struct Message {
  std::string topic;
  Bytes payload;
  int qos = 0;
  bool retained = false;
};

// Callbacks of one client. Never called from inside a call to the client, and never after it was destroyed.
struct Handlers {
  // The broker accepted (Ok, session_present) or the attempt is over: kUnauthenticated for wrong credentials and "not
  // authorised", kUnavailable (network, DNS, TLS, timeout; the message says which) otherwise. Exactly once per connect().
  std::function<void(Result<bool>)> on_connect;
  // An accepted connection ended. Ok after disconnect(), else why. Once per accepted connection.
  std::function<void(Result<void>)> on_disconnect;
  std::function<void(Message)> on_message;
  // The PUBACK of a QoS 1 publish, by its id; and the SUBACK of a subscribe (false: refused, 0x80).
  std::function<void(int)> on_published;
  std::function<void(int, bool)> on_subscribed;
  // In place of on_published: the PUBACK says that the broker has not taken the message, and why. MQTT 5 only.
  std::function<void(int, std::string)> on_publish_refused = {};
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
