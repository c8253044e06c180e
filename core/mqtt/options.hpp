// What a connection is made with: values only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

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

// By the protocol level in CONNECT.
enum class Version { k31 = 3, k311 = 4, k5 = 5 };

// True for what MQTT allows to publish to: 1 to 65535 bytes of UTF-8, no wildcard, no control character.
bool is_topic(std::string_view text);

struct Will {
  std::string topic;
  Bytes payload;
  int qos = 0;  // 0 to 2
  bool retain = false;
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
  Version version = Version::k311;
  // False: the broker keeps the session, its subscriptions and what arrives for them, until the next connection.
  bool clean_session = true;
  Seconds keep_alive{30};       // 0: none; else from 5 s to 65,535 s
  Seconds connect_timeout{20};  // until CONNACK, name lookup included
  std::optional<Will> will;
  // How soon after one reading of the socket the next may follow. 0: at once. Else a stream of messages is read some at a
  // time, which saves waking up for each; what comes after a pause is read at once all the same.
  Millis read_every{0};
  // True: what is published goes out together when the caller has returned to the io_context, as much of it as the socket
  // takes, instead of being tried one by one. For clients that publish many messages in a row. A Client that is destroyed
  // before that has not written it.
  bool write_together = false;
};

}  // namespace fleet::mqtt
