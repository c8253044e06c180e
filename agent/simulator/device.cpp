#include "agent/simulator/device.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include <boost/asio/post.hpp>

namespace fleet::agent {
namespace {

// In the middle of an attempt: the first request is answered, the others are on their way.
constexpr int kMessagesBeforeLoss = 2;
// As the platform sees all devices of a simulation, none of which has a serial number of its own.
const std::string kNoInterface;

SessionConfig config_of(const FleetGround& ground, const RosterEntry& entry, Behaviour behaviour) {
  SessionConfig config = ground.pattern;
  config.client_id = entry.client_id;
  config.username = entry.username;
  config.password = entry.password;
  config.activation_key = entry.activation_key;
  if (behaviour == Behaviour::kWrongPassword) config.password = random_password();
  if (behaviour == Behaviour::kWrongKey) config.activation_key = random_password();
  return config;
}

}  // namespace

SimulatedDevice::SimulatedDevice(FleetGround& ground, const RosterEntry& entry, std::size_t number,
                                 Behaviour behaviour, std::function<void()> on_end)
    : ground_(ground),
      behaviour_(behaviour),
      on_end_(std::move(on_end)),
      config_(config_of(ground, entry, behaviour)),
      session_(config_, SessionState{}),
      events_(ground.io, [this](const Event& event) { handle(event); }),
      owner_(
          ground.io, [this](Event event) { events_.feed(std::move(event), &owner_.epoch()); }, [this] { end_if_idle(); }),
      wake_(ground.io),
      slow_timer_(ground.io),
      trace_(ground.trace) {
  if (!ground_.keys.empty()) key_ = ground_.keys[number % ground_.keys.size()];
  make_provision_link();
}

void SimulatedDevice::make_provision_link() {
  provision_ = std::make_unique<ProvisionLink>(
      ground_.io, std::vector{ground_.broker}, [this](Event event) { on_provision_event(std::move(event)); },
      [this] { end_if_idle(); });
}

Result<void> SimulatedDevice::start() {
  times_[static_cast<std::size_t>(Stretch::kTotal)] = std::chrono::steady_clock::now();
  if (!key_) {
    TRY_ASSIGN(key_, crypto::PrivateKey::generate());
  }
  TRY_ASSIGN(Bytes csr, crypto::Csr::create(*key_, config_.client_id));
  ++ground_.tally.arrived;
  events_.feed(Started{std::move(csr)});
  return {};
}

void SimulatedDevice::handle(const Event& event) {
  if (finished_) return;
  const Phase before = session_.state().phase;
  const int failed_before = session_.state().attempts_failed;
  const Effects effects = session_.handle(event, {wall_now(), std::chrono::steady_clock::now(), ground_.random()});
  for (const Effect& effect : effects) {
    std::visit([this](const auto& e) { carry_out(e); }, effect);
  }
  if (std::holds_alternative<ProvisionSubscribed>(event)) mark(Stretch::kConnect);
  const SessionState& state = session_.state();
  if (state.attempts_failed > failed_before) {
    ground_.tally.add_failure(state.last_failure ? state.last_failure->what : "no reason given");
    // One try shows what becomes of it; a device would go on, since a refusal may be anybody's.
    if (!arrives(behaviour_)) return finish(false);
  } else if (state.phase == Phase::kWaiting && before != Phase::kWaiting) {
    ground_.tally.add_setback(state.last_failure ? state.last_failure->what : "no reason given");
  }
  if (const auto* unreachable = std::get_if<ProvisionUnreachable>(&event)) ground_.tally.add_setback(unreachable->error.message);
  if (const auto* lost = std::get_if<ProvisionLost>(&event)) ground_.tally.add_setback(lost->error.message);
  if (state.phase != before) watch(before);
}

void SimulatedDevice::watch(Phase before) {
  switch (session_.state().phase) {
    case Phase::kInstalling:
      return mark(Stretch::kHello);
    case Phase::kConfirming:
      return mark(Stretch::kInstall);
    case Phase::kAwaitingOwner:
      if (before == Phase::kConfirming) mark(Stretch::kRecord);
      return;
    case Phase::kProvisioned:
      mark(Stretch::kOwner);
      return finish(true);
    case Phase::kGaveUp:
      return finish(false);
    default:
      return;
  }
}

// The last time counts: a device that begins again goes its way again.
void SimulatedDevice::mark(Stretch stretch) {
  times_[static_cast<std::size_t>(stretch)] = std::chrono::steady_clock::now();
}

void SimulatedDevice::finish(bool provisioned) {
  finished_ = true;
  events_.stop();
  wake_.cancel();
  slow_timer_.cancel();
  if (provisioned) {
    ground_.tally.add_provisioned(times_, behaviour_, std::chrono::steady_clock::now());
  } else {
    ground_.tally.add_stopped(behaviour_);
  }
  provision_->leave(true);
  owner_.leave();
  end_if_idle();
}

void SimulatedDevice::end_if_idle() {
  if (!finished_ || ended_ || !provision_->idle() || !owner_.idle()) return;
  ended_ = true;
  boost::asio::post(ground_.io, on_end_);
}

// --- effects

void SimulatedDevice::carry_out(const ConnectProvision&) {
  provision_->connect({config_.account, config_.client_id, config_.username, config_.password},
                      [this](const mqtt::BrokerUrl&) { return Result<crypto::TlsContext>(ground_.tls); });
}

void SimulatedDevice::carry_out(const PublishProvision& effect) {
  const int times = behaviour_ == Behaviour::kDuplicate ? 2 : 1;
  for (int i = 0; i < times; ++i) provision_->publish(effect.topic, effect.payload);
  ground_.tally.sent += static_cast<std::uint64_t>(times);
  trace(true, effect.topic, effect.payload);
}

void SimulatedDevice::carry_out(const InstallGeneration& effect) {
  installed_ = effect.content;
  events_.feed(Installed{effect.generation, std::nullopt});
}

void SimulatedDevice::carry_out(const FetchPackage& effect) {
  events_.feed(PackageDone{effect.key, false});
}

void SimulatedDevice::carry_out(const ConnectOwner&) {
  if (!ground_.connect_owner) return events_.feed(OwnerBorn{});
  if (const auto connecting = connect_owner(); !connecting) events_.feed(OwnerFailed{connecting.error()});
}

void SimulatedDevice::carry_out(const WakeAt& effect) {
  wake_.expires_at(effect.at);
  wake_.async_wait([this](boost::system::error_code error) {
    if (!error) events_.feed(TimerFired{});
  });
}

void SimulatedDevice::carry_out(const Report&) {}

// --- what comes from the provision broker

void SimulatedDevice::on_provision_event(Event event) {
  const auto* message = std::get_if<ProvisionMessage>(&event);
  if (message == nullptr) return events_.feed(std::move(event), &provision_->epoch());
  ++received_;
  ++ground_.tally.received;
  trace(false, message->topic, message->payload);
  if (behaviour_ == Behaviour::kSilent) return;
  if (behaviour_ == Behaviour::kSlow) {
    unread_.push_back(std::move(event));
    if (unread_.size() == 1) take_messages();
    return;
  }
  events_.feed(std::move(event), &provision_->epoch());
  if (behaviour_ == Behaviour::kDisconnect && !lost_ && received_ == kMessagesBeforeLoss) {
    lost_ = true;
    boost::asio::post(ground_.io, [this] { lose_connection(); });
  }
}

void SimulatedDevice::take_messages() {
  slow_timer_.expires_after(ground_.slow_by);
  slow_timer_.async_wait([this](boost::system::error_code error) {
    if (error || unread_.empty()) return;
    events_.feed(std::move(unread_.front()), &provision_->epoch());
    unread_.pop_front();
    if (!unread_.empty()) take_messages();
  });
}

// Without a DISCONNECT, as when the power or the network goes.
void SimulatedDevice::lose_connection() {
  if (finished_) return;
  events_.drop(&provision_->epoch());
  make_provision_link();
  events_.feed(ProvisionLost{Error{ErrorCode::kUnavailable, "the simulation cut the connection"}});
}

void SimulatedDevice::trace(bool from_device, const std::string& topic, const Bytes& payload) {
  if (trace_ != nullptr) trace_->push_back({from_device, topic.size(), payload.size()});
}

// --- the owner's broker

Result<void> SimulatedDevice::connect_owner() {
  if (!installed_) return fail(ErrorCode::kInternal, "no configuration was installed");
  TRY_ASSIGN(OwnerConnection owner, parse_owner_connection(installed_->configurations));
  if (!owner.username) {
    for (const std::string& pem : installed_->device_chain_pem) {
      TRY_ASSIGN(crypto::Certificate certificate, crypto::Certificate::from_pem(pem));
      owner.chain.push_back(std::move(certificate));
    }
    owner.key = key_;
  }
  for (const auto& [alias, pem] : installed_->trusted_pem) {
    auto [known, fresh] = ground_.owner_roots.try_emplace(pem);
    if (fresh) {
      TRY_ASSIGN(known->second, crypto::Certificate::chain_from_pem(pem, 500));
    }
    owner.roots.insert(owner.roots.end(), known->second.begin(), known->second.end());
  }
  TRY_ASSIGN(crypto::TlsContext tls, owner_context(owner));
  const std::string& client_id = owner.client_id.empty() ? config_.client_id : owner.client_id;
  owner_.connect(owner, client_id, std::move(tls), config_.facts, kNoInterface);
  return {};
}

Result<crypto::TlsContext> SimulatedDevice::owner_context(const OwnerConnection& owner) {
  if (!owner.chain.empty()) return owner_tls(owner, ground_.trust, wall_now());
  std::string name = owner.broker_url.str();
  for (const auto& root : owner.roots) name += root.sha256();
  auto [known, fresh] = ground_.owner_contexts.try_emplace(name);
  if (fresh) {
    TRY_ASSIGN(known->second, owner_tls(owner, ground_.trust, wall_now()));
  }
  return known->second;
}

}  // namespace fleet::agent
