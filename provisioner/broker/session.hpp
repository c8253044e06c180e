// The provisioner's own connection to its broker: the local socket, a persistent session, everything that devices send
// (with their authenticated client ids) and all that the plugin reports; and the way out to devices.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "provisioner/admission/events.hpp"

namespace fleet::provisioner {

struct BrokerSessionHandlers {
  std::function<void(Inbound, Bytes payload)> on_message;  // a publish of a device
  std::function<void(EventKind, std::vector<BrokerEvent>)> on_events;
  std::function<void(bool)> on_ready;  // subscribed (true), or the connection was lost (false)
};

// The way out to devices, for those who decide what they are told.
class DeviceLink {
 public:
  virtual ~DeviceLink() = default;
  // QoS 1 to one device, with all that is published before the caller returns to its io_context. False if there is no connection.
  // Then, and when the connection is lost before the broker has it, the message is dropped, and whoever sent it repeats it in time.
  virtual bool publish(std::string_view topic, std::string_view payload) = 0;
  // Ends the live connection of a client id, if there is one; without a session, as soon as there is one again.
  virtual void kick(std::string_view client_id) = 0;
};

// Keeps itself connected with growing pauses. Single-threaded, on the thread of `io`.
class BrokerSession final : public DeviceLink {
 public:
  BrokerSession(boost::asio::io_context& io, std::filesystem::path socket, std::string provisioner_id,
                BrokerSessionHandlers handlers);
  ~BrokerSession() override;

  // Connects soon, and again whenever the connection is lost, until stop().
  void start();
  void stop();
  bool ready() const;

  bool publish(std::string_view topic, std::string_view payload) override;
  void kick(std::string_view client_id) override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fleet::provisioner
