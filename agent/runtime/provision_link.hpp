// The connection to the provision broker, as events of the session.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "agent/session/session.hpp"
#include "core/crypto/tls.hpp"
#include "core/mqtt/client.hpp"

namespace fleet::agent {

struct ProvisionTarget {
  mqtt::BrokerUrl url;
  std::string account, client_id, username;
  Secret password;
};

// Carries out the session's provision effects. On the thread of the io_context.
class ProvisionLink {
 public:
  // `feed` takes the events; `on_idle` is called when a connection that was left is closed.
  ProvisionLink(boost::asio::io_context& io, ProvisionTarget target, std::function<void(Event)> feed,
                std::function<void()> on_idle);

  // An empty context for a broker without TLS. Errors come as ProvisionUnreachable, with kUnauthenticated if
  // the broker's certificate is not trusted.
  void connect(crypto::TlsContext tls);
  void subscribe(const std::string& filter);
  void publish(const std::string& topic, std::string_view payload);
  // After this no event of the connection comes any more. `goodbye`: DC first (edc §4).
  void leave(bool goodbye);

  // Grows with each connect() and leave(): tells events of an earlier connection.
  const std::uint64_t& epoch() const { return epoch_; }
  bool idle() const { return !open_; }

 private:
  void on_connect(const Result<bool>& result);
  void on_disconnect(const Result<void>& result);
  void closed();
  std::string explain_tls_failure();

  ProvisionTarget target_;
  std::function<void(Event)> feed_;
  std::function<void()> on_idle_;
  std::uint64_t epoch_ = 0;
  bool open_ = false;  // connecting, connected or leaving
  bool leaving_ = false;
  bool untrusted_ = false;  // the broker's certificate was refused while connecting
  int subscription_ = -1;
  mqtt::Client client_;
};

}  // namespace fleet::agent
