#include "agent/runtime/daemon.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "agent/apply/state_folder.hpp"
#include "agent/runtime/facts.hpp"
#include "agent/runtime/hook.hpp"
#include "agent/runtime/owner_link.hpp"
#include "agent/runtime/package_worker.hpp"
#include "agent/runtime/provision_link.hpp"
#include "agent/runtime/trust.hpp"
#include "agent/session/session.hpp"
#include "core/base/crash_point.hpp"
#include "core/base/log.hpp"
#include "core/base/notify.hpp"

namespace fleet::agent {
namespace {

// How long the brokers may take for an orderly end. A hook has its own limit.
constexpr Seconds kStopLimit{3};

// Events of the hook.
const std::string kApply = "apply";
const std::string kRollback = "rollback";
const std::string kProvisioned = "provisioned";

std::uint64_t random_number() {
  std::uint64_t number = 0;
  const Bytes bytes = random_bytes(sizeof number);
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

void notify(const std::string& state) {
  if (const auto told = notify_service_manager(state); !told) log::debug("agent", told.error().message);
}

SessionConfig session_config(const Settings& settings, const Identity& identity, const Trust& trust) {
  SessionConfig config;
  config.account = settings.account_name;
  config.client_id = identity.client_id.value;
  config.username = identity.username.value;
  config.password = settings.password;
  config.activation_key = settings.activation_key;
  config.ca_authentication = settings.ca_authentication;
  config.platform_roots = trust.platform_roots;
  config.timeout = settings.timeout;
  config.retry_interval = settings.retry_interval;
  config.retry_max_attempts = settings.retry_max_attempts;
  config.owner_timeout = settings.owner_timeout;
  config.facts = device_facts(identity);
  config.build_time = build_time();
  return config;
}

// The state to begin with. The flags in the settings count until the agent has set its own (edc §7).
SessionState initial_state(std::optional<SessionState> saved, const Settings& settings,
                           std::uint64_t generation_in_force) {
  SessionState state = saved ? std::move(*saved) : SessionState{};
  state.generation = generation_in_force;
  if (!state.provisioned) state.enabled = settings.enabled && !settings.provisioned;
  return state;
}

PackageWorkerSettings package_settings(const Settings& settings, const std::filesystem::path& state_folder,
                                       const Trust& trust) {
  PackageWorkerSettings packages;
  packages.state_folder = state_folder;
  packages.roots = trust.broker_roots;
  packages.allow_file = settings.package_allow_file;
  // So short that a stalled package has failed, and its failure is told, before the attempt runs out of time.
  packages.download.stall = std::clamp(settings.timeout / 4, Millis(1'000), packages.download.stall);
  return packages;
}

class Daemon {
 public:
  Daemon(const Settings& settings, const Identity& identity, StateFolder folder, Trust trust, SessionState state)
      : identity_(identity),
        broker_url_(settings.broker_url),
        folder_(std::move(folder)),
        trust_(std::move(trust)),
        config_(session_config(settings, identity, trust_)),
        session_(config_, std::move(state)),
        signals_(io_, SIGTERM, SIGINT),
        wake_(io_),
        stop_timer_(io_),
        hook_(io_, settings.hook, folder_.path(),
              {.on_end = [this](const std::string& event, std::uint64_t number) { hook_ended(event, number); },
               .on_idle = [this] { stop_if_idle(); }}),
        provision_(
            io_, {settings.broker_url, config_.account, config_.client_id, config_.username, config_.password},
            [this](Event event) { feed(std::move(event), &provision_.epoch()); }, [this] { stop_if_idle(); }),
        owner_(
            io_, [this](Event event) { feed(std::move(event), &owner_.epoch()); }, [this] { stop_if_idle(); }),
        packages_(io_, package_settings(settings, folder_.path(), trust_),
                  [this](Event event) { feed(std::move(event)); }) {}

  Result<Ending> run() {
    // A provisioned device asks for nothing and needs no pending key, which a full disk would not let it make.
    Bytes csr;
    if (session_.state().provisioned) {
      finish_provisioning();
    } else {
      TRY_ASSIGN(const crypto::PrivateKey key, folder_.device_key());
      TRY_ASSIGN(csr, crypto::Csr::create(key, config_.client_id));
    }
    if (folder_.reverted()) tell_of_rollback(*folder_.reverted());
    wait_for_signal();
    notify("READY=1");
    feed(Started{std::move(csr)});
    io_.run();
    return ending_;
  }

 private:
  // What a crash may have left undone behind the state that says "provisioned".
  void finish_provisioning() {
    carry_out(NewKey{});
    if (!folder_.is_announced(session_.state().generation)) hook_.run(kProvisioned, session_.state().generation);
  }

  void hook_ended(const std::string& event, std::uint64_t generation) {
    if (event != kProvisioned) return;
    if (const auto noted = folder_.set_announced(generation); !noted) {
      log::warn("hook", "that it was told of the provisioning cannot be noted; it is told again at the next start",
                {{"error", noted.error().message}});
    }
  }

  // An event with the connection that it came from; void once that connection is gone.
  struct Pending {
    Event event;
    const std::uint64_t* epoch = nullptr;
    std::uint64_t born = 0;

    bool stale() const { return epoch != nullptr && *epoch != born; }
  };

  // Events are never handled inside the call that brought them: effects may destroy what the caller still stands on.
  void feed(Event event, const std::uint64_t* epoch = nullptr) {
    pending_.push_back({std::move(event), epoch, epoch != nullptr ? *epoch : 0});
    schedule();
  }
  void schedule() {
    if (scheduled_) return;
    scheduled_ = true;
    boost::asio::post(io_, [this] { handle_pending(); });
  }

  void handle_pending() {
    scheduled_ = false;
    while (!pending_.empty() && !stopping_) {
      const Pending next = std::move(pending_.front());
      pending_.pop_front();
      if (!next.stale()) handle(next.event);
    }
  }

  void handle(const Event& event) {
    const bool was_provisioned = session_.state().provisioned;
    const int failed_before = session_.state().attempts_failed;
    const Effects effects = session_.handle(event, {wall_now(), std::chrono::steady_clock::now(), random_number()});
    for (const Effect& effect : effects) {
      if (!std::visit([this](const auto& e) { return carry_out(e); }, effect)) break;
    }
    const SessionState& state = session_.state();
    show(state);
    if (state.provisioned && !was_provisioned) hook_.run(kProvisioned, state.generation);
    if (state.attempts_failed > failed_before) hook_.run("failed", state.generation);
    if (state.phase == Phase::kDisabled) stop(Ending::kDisabled);
    if (state.phase == Phase::kGaveUp) stop(Ending::kGaveUp);
  }

  void show(const SessionState& state) {
    if (shown_ == state.phase) return;
    shown_ = state.phase;
    log::info("agent", "phase", {{"phase", to_string(state.phase)}, {"client_id", config_.client_id}});
    notify(fmt::format("STATUS={}", to_string(state.phase)));
  }

  // --- effects: false drops those behind it
  bool carry_out(const SaveState&) {
    const auto saved = folder_.save_state(session_.state());
    if (saved) return true;
    pending_.push_front({SaveFailed{saved.error()}});
    schedule();
    return false;
  }
  bool carry_out(const ConnectProvision&) {
    auto tls = provision_tls(broker_url_, trust_, verification_time());
    if (tls) {
      provision_.connect(std::move(*tls));
    } else {
      feed(ProvisionUnreachable{tls.error()});
    }
    return true;
  }
  bool carry_out(const SubscribeProvision& effect) {
    provision_.subscribe(effect.filter);
    return true;
  }
  bool carry_out(const PublishProvision& effect) {
    provision_.publish(effect.topic, effect.payload);
    return true;
  }
  bool carry_out(const LeaveProvision& effect) {
    provision_.leave(effect.goodbye);
    return true;
  }
  // In force on trial: the hook has the last word.
  bool carry_out(const InstallGeneration& effect) {
    const auto installed = folder_.install(effect.generation, effect.content);
    if (!installed) {
      feed(Installed{effect.generation, installed.error()});
      return true;
    }
    crash_point("agent.hook-begins");
    hook_.run(kApply, effect.generation, [this, generation = effect.generation](const Result<void>& applied) {
      const Result<void> final = applied ? folder_.confirm() : applied;
      if (!final) return take_back(generation, final.error());
      log::info("apply", "configuration is in force", {{"generation", generation}});
      feed(Installed{generation, std::nullopt});
    });
    return true;
  }
  void take_back(std::uint64_t generation, Error why) {
    if (const auto back = folder_.revert()) {
      tell_of_rollback(back->value_or(0));
    } else {
      log::error("apply", "a generation that was refused cannot be taken back; the next start tries again",
                 {{"generation", generation}, {"error", back.error().message}});
    }
    feed(Installed{generation, std::move(why)});
  }
  void tell_of_rollback(std::uint64_t in_force) {
    log::warn("apply", "back to the configuration before", {{"generation", in_force}});
    hook_.run(kRollback, in_force);
  }
  bool carry_out(const FetchPackage& effect) {
    packages_.fetch(effect, verification_time());
    return true;
  }
  bool carry_out(const CancelPackages&) {
    packages_.cancel();
    return true;
  }
  bool carry_out(const ConnectOwner&) {
    if (const auto connecting = connect_owner(); !connecting) feed(OwnerFailed{connecting.error()});
    return true;
  }
  bool carry_out(const WakeAt& effect) {
    wake_.expires_at(effect.at);
    wake_.async_wait([this](boost::system::error_code error) {
      if (!error) feed(TimerFired{});
    });
    return true;
  }
  bool carry_out(const Report& effect) {
    log::write(effect.problem ? log::Level::kWarn : log::Level::kInfo, "agent", effect.text);
    return true;
  }
  bool carry_out(const NewKey&) {
    // Made by the next start; the generation has its own copy.
    if (const auto dropped = folder_.drop_device_key(); !dropped) log::warn("agent", dropped.error().message);
    return true;
  }

  Result<void> connect_owner() {
    TRY_ASSIGN(const OwnerConnection owner, folder_.owner_connection());
    TRY_ASSIGN(crypto::TlsContext tls, owner_tls(owner, trust_, verification_time()));
    const std::string& client_id = owner.client_id.empty() ? config_.client_id : owner.client_id;
    owner_.connect(owner, client_id, std::move(tls), config_.facts, identity_.interface.value);
    return {};
  }

  WallTime verification_time() const {
    return std::max({wall_now(), config_.build_time, session_.state().last_time.value_or(config_.build_time)});
  }

  // --- the end
  void wait_for_signal() {
    signals_.async_wait([this](boost::system::error_code error, int number) {
      if (error) return;
      log::info("agent", "stopping", {{"signal", number}});
      if (std::exchange(signalled_, true)) return io_.stop();
      hook_.stop();
      stop(Ending::kStopped);
      wait_for_signal();
    });
  }

  void stop(Ending ending) {
    if (stopping_) return;
    stopping_ = true;
    ending_ = ending;
    notify("STOPPING=1");
    wake_.cancel();
    packages_.cancel();
    provision_.leave(true);
    owner_.leave();
    stop_timer_.expires_after(kStopLimit);
    stop_timer_.async_wait([this](boost::system::error_code error) {
      if (error) return;
      brokers_had_their_time_ = true;
      stop_if_idle();
    });
    stop_if_idle();
  }
  void stop_if_idle() {
    const bool left = brokers_had_their_time_ || (provision_.idle() && owner_.idle());
    if (stopping_ && left && hook_.idle()) io_.stop();
  }

  const Identity& identity_;
  mqtt::BrokerUrl broker_url_;
  StateFolder folder_;
  Trust trust_;
  SessionConfig config_;
  Session session_;

  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer wake_;
  boost::asio::steady_timer stop_timer_;
  HookRunner hook_;
  ProvisionLink provision_;
  OwnerLink owner_;
  PackageWorker packages_;

  std::deque<Pending> pending_;
  bool scheduled_ = false;
  std::optional<Phase> shown_;
  bool stopping_ = false;
  bool signalled_ = false;
  bool brokers_had_their_time_ = false;
  Ending ending_ = Ending::kStopped;
};

}  // namespace

Result<Ending> run_daemon(const Settings& settings, const Identity& identity) {
  TRY_ASSIGN(Trust trust, load_trust(settings));
  TRY_ASSIGN(StateFolder folder, StateFolder::open(settings.state_dir));
  TRY_ASSIGN(std::optional<SessionState> saved, folder.load_state());
  SessionState state = initial_state(std::move(saved), settings, current_generation(folder.path()).value_or(0));
  Daemon daemon(settings, identity, std::move(folder), std::move(trust), std::move(state));
  return daemon.run();
}

}  // namespace fleet::agent
