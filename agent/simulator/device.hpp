// One simulated device: the agent's session and its connections, without a disk.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "agent/runtime/event_queue.hpp"
#include "agent/runtime/owner_link.hpp"
#include "agent/runtime/provision_link.hpp"
#include "agent/runtime/trust.hpp"
#include "agent/session/session.hpp"
#include "agent/simulator/outcome.hpp"
#include "agent/simulator/plan.hpp"
#include "agent/simulator/roster.hpp"
#include "agent/simulator/tally.hpp"
#include "core/crypto/key.hpp"

namespace fleet::agent {

// What all devices of a thread share. On the thread of the io_context.
struct FleetGround {
  boost::asio::io_context& io;
  mqtt::BrokerUrl broker;
  crypto::TlsContext tls;  // to the provision broker; empty without TLS
  Trust trust;
  SessionConfig pattern;   // of all devices; who they are is filled in
  bool connect_owner = true;
  Millis slow_by{2'000};   // how long a slow device takes over a message
  std::vector<crypto::PrivateKey> keys;  // of the devices, in turn; empty: each makes its own
  std::mt19937_64 random;
  Tally& tally;
  std::map<std::string, std::vector<crypto::Certificate>> owner_roots;  // by their PEM: parsed once
  // By address and trust: contexts without a client certificate are shared.
  std::map<std::string, crypto::TlsContext> owner_contexts;
  std::vector<TracedMessage>* trace = nullptr;  // given to the device that is made next
};

class SimulatedDevice {
 public:
  // `entry` and `ground` outlive it. `on_end`: it is provisioned or has given up, and its connections are closed; never
  // called inside a call to it. `number`: in the roster.
  SimulatedDevice(FleetGround& ground, const RosterEntry& entry, std::size_t number, Behaviour behaviour,
                  std::function<void()> on_end);

  // Comes: kInternal if no key can be made.
  Result<void> start();

 private:
  void handle(const Event& event);
  void watch(Phase before);
  void mark(Stretch stretch);
  // --- effects
  void carry_out(const SaveState&) {}
  void carry_out(const ConnectProvision&);
  void carry_out(const SubscribeProvision& effect) { provision_->subscribe(effect.filter); }
  void carry_out(const PublishProvision& effect);
  void carry_out(const LeaveProvision& effect) { provision_->leave(effect.goodbye); }
  void carry_out(const InstallGeneration& effect);
  void carry_out(const FetchPackage& effect);
  void carry_out(const CancelPackages&) {}
  void carry_out(const ConnectOwner&);
  void carry_out(const WakeAt& effect);
  void carry_out(const Report& effect);
  void carry_out(const NewKey&) {}

  Result<void> connect_owner();
  Result<crypto::TlsContext> owner_context(const OwnerConnection& owner);
  void make_provision_link();
  void on_provision_event(Event event);
  void take_messages();
  void lose_connection();
  void finish(bool provisioned);
  void end_if_idle();
  void trace(bool from_device, const std::string& topic, const Bytes& payload);

  FleetGround& ground_;
  const Behaviour behaviour_;
  std::function<void()> on_end_;
  SessionConfig config_;
  Session session_;
  EventQueue events_;
  std::unique_ptr<ProvisionLink> provision_;
  OwnerLink owner_;
  boost::asio::steady_timer wake_;
  boost::asio::steady_timer slow_timer_;
  std::deque<Event> unread_;  // messages that a slow device has yet to look at
  std::optional<crypto::PrivateKey> key_;
  std::optional<Staged> installed_;
  std::vector<TracedMessage>* const trace_;
  Times times_{};
  int received_ = 0;
  bool lost_ = false;
  bool finished_ = false;
  bool ended_ = false;
};

}  // namespace fleet::agent
