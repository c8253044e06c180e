// The connection to the provision broker, as events of the session; with several brokers to the one whose turn it is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "agent/runtime/broker_turn.hpp"
#include "agent/session/session.hpp"
#include "core/crypto/tls.hpp"
#include "core/mqtt/client.hpp"

namespace fleet::agent {

// As whom to connect.
struct ProvisionUser {
  std::string account, client_id, username;
  Secret password;
};

// Carries out the session's provision effects. On the thread of the io_context.
class ProvisionLink {
 public:
  // `urls` is not empty. `feed` takes the events; `on_idle` is called when a connection that was left is closed.
  ProvisionLink(boost::asio::io_context& io, std::vector<mqtt::BrokerUrl> urls, std::function<void(Event)> feed,
                std::function<void()> on_idle);

  // Other brokers from the next connect() on; the first of them has the turn.
  void set_brokers(std::vector<mqtt::BrokerUrl> urls) { turn_ = BrokerTurn(std::move(urls)); }

  // The TLS context for a broker, empty for one that is not TLS.
  using MakeTls = std::function<Result<crypto::TlsContext>(const mqtt::BrokerUrl&)>;

  // Errors come as ProvisionUnreachable, with kUnauthenticated if the broker's certificate is not trusted.
  void connect(ProvisionUser user, const MakeTls& make_tls);
  void subscribe(const std::string& filter);
  void publish(const std::string& topic, std::string_view payload);
  // After this no event of the connection comes any more. `goodbye`: DC first (edc §4).
  void leave(bool goodbye);

  // Grows with each connect() and leave(): tells events of an earlier connection.
  const std::uint64_t& epoch() const { return epoch_; }
  bool idle() const { return !open_; }
  // In use: being connected, or connected.
  bool in_use() const { return open_ && !leaving_; }
  // We may read our topics there.
  bool subscribed() const { return in_use() && subscribed_; }
  const BrokerTurn& brokers() const { return turn_; }

 private:
  Result<void> begin(const MakeTls& make_tls);
  void on_connect(const Result<bool>& result);
  void on_disconnect(const Result<void>& result);
  void on_subscribed(bool granted);
  void closed();
  std::string explain_tls_failure();

  BrokerTurn turn_;
  ProvisionUser user_;
  std::function<void(Event)> feed_;
  std::function<void()> on_idle_;
  std::uint64_t epoch_ = 0;
  bool open_ = false;  // connecting, connected or leaving
  bool leaving_ = false;
  bool untrusted_ = false;  // the broker's certificate was refused while connecting
  bool subscribed_ = false;
  bool turn_passed_ = false;  // on to the next broker, though this connection is still in use
  int subscription_ = -1;
  mqtt::Client client_;
};

}  // namespace fleet::agent
