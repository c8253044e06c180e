// The connection to the owner's broker (edc §5): BIRTH, then its own topics; DC at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "agent/session/owner_connection.hpp"
#include "agent/session/session.hpp"
#include "core/crypto/tls.hpp"
#include "core/mqtt/client.hpp"

namespace fleet::agent {

// Feeds OwnerBorn at the PUBACK of BIRTH, OwnerFailed when that does not come or refuses it (MQTT 5), or when the
// connection ends. On the thread of the io_context.
class OwnerLink {
 public:
  OwnerLink(boost::asio::io_context& io, std::function<void(Event)> feed, std::function<void()> on_idle);

  // `facts`: the BIRTH metrics besides uptime and connection_ip. `interface`: whose address connection_ip is.
  void connect(const OwnerConnection& owner, const std::string& client_id, crypto::TlsContext tls,
               const std::map<std::string, std::string>& facts, const std::string& interface);
  // DC, then DISCONNECT; no event comes any more.
  void leave();

  // Grows with each connect() and leave(): tells events of an earlier connection.
  const std::uint64_t& epoch() const { return epoch_; }
  bool idle() const { return !open_; }

 private:
  void on_connect(const Result<bool>& result);
  void on_disconnect(const Result<void>& result);
  void on_born();
  void on_birth_refused(const std::string& why);
  void publish_birth();
  void wait_for_birth();
  void failed(Error error);
  void closed();
  std::string lifecycle_topic(std::string_view event) const;

  std::function<void(Event)> feed_;
  std::function<void()> on_idle_;
  std::uint64_t epoch_ = 0;
  bool open_ = false;
  bool leaving_ = false;
  std::string account_, client_id_, url_, interface_;
  std::map<std::string, std::string> facts_;
  int birth_ = -1;         // packet id of BIRTH until its PUBACK
  int subscription_ = -1;  // packet id of SUBSCRIBE until its SUBACK
  boost::asio::steady_timer birth_timer_;
  mqtt::Client client_;
};

}  // namespace fleet::agent
