#include "agent/runtime/daemon.hpp"

#include <algorithm>
#include <cstring>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>

#include "agent/apply/state_folder.hpp"
#include "agent/runtime/announcer.hpp"
#include "agent/runtime/control_socket.hpp"
#include "agent/runtime/event_queue.hpp"
#include "agent/runtime/owner_link.hpp"
#include "agent/runtime/package_worker.hpp"
#include "agent/runtime/provision_link.hpp"
#include "agent/runtime/reload.hpp"
#include "agent/runtime/session_config.hpp"
#include "agent/runtime/trust.hpp"
#include "agent/runtime/watchdog.hpp"
#include "agent/session/session.hpp"
#include "core/base/crash_point.hpp"
#include "core/base/log.hpp"
#include "core/base/notify.hpp"

namespace fleet::agent {
namespace {

// How long the brokers may take for an orderly end. A hook has its own limit.
constexpr Seconds kStopLimit{3};

std::uint64_t random_number() {
  std::uint64_t number = 0;
  const Bytes bytes = random_bytes(sizeof number);
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

void notify(const std::string& state) {
  if (const auto told = notify_service_manager(state); !told) log::debug("agent", told.error().message);
}

PackageWorkerSettings package_settings(const Settings& settings, const std::filesystem::path& state_folder,
                                       const Trust& trust) {
  PackageWorkerSettings packages;
  packages.state_folder = state_folder;
  packages.roots = trust.broker_roots;
  packages.allow_file = settings.package_allow_file;
  packages.download.max_size = settings.package_max_size;
  packages.unpack.max_size = settings.package_max_unpacked;
  packages.unpack.max_entries = settings.package_max_entries;
  // So short that a stalled package has failed, and its failure is told, before the attempt runs out of time.
  packages.download.stall = std::clamp(settings.timeout / 4, Millis(1'000), packages.download.stall);
  return packages;
}

class Daemon {
 public:
  Daemon(Setup setup, ReadSetup read_setup, StateFolder folder, Trust trust, SessionState state)
      : setup_(std::move(setup)),
        read_setup_(std::move(read_setup)),
        folder_(std::move(folder)),
        trust_(std::move(trust)),
        config_(session_config(setup_.settings, setup_.identity, trust_)),
        session_(config_, std::move(state)),
        events_(io_, [this](const Event& event) { handle(event); }),
        signals_(io_, SIGTERM, SIGINT, SIGHUP),
        wake_(io_),
        stop_timer_(io_),
        watchdog_(io_),
        control_(io_, folder_.path(),
                 {.status = [this] { return status(); },
                  .roll_back = [this](ControlServer::RolledBackTo answer) { roll_back(std::move(answer)); }}),
        hook_(io_, folder_.path(), setup_.settings.hook, [this] { stop_if_idle(); }),
        provision_(
            io_, setup_.settings.broker_urls,
            [this](Event event) { feed(std::move(event), &provision_.epoch()); }, [this] { stop_if_idle(); }),
        owner_(
            io_, [this](Event event) { feed(std::move(event), &owner_.epoch()); }, [this] { stop_if_idle(); }),
        packages_(io_, package_settings(setup_.settings, folder_.path(), trust_),
                  [this](Event event) { feed(std::move(event)); }) {}

  Result<Ending> run() {
    TRY_ASSIGN(Bytes csr, signing_request(config_.client_id));
    if (session_.state().provisioned) carry_out(NewKey{});  // a crash may have left it undone
    if (const auto owner = folder_.owner_connection()) owner_url_ = owner->broker_url.str();
    hook_.catch_up(session_.state());
    wait_for_signal();
    if (const auto heard = control_.start(); !heard) {
      log::warn("agent", "`status` can only tell what is on the disk, and `rollback` needs a stop first",
                {{"error", heard.error().message}});
    }
    watchdog_.start();
    notify("READY=1");
    feed(Started{std::move(csr)});
    io_.run();
    return ending_;
  }

 private:
  // A provisioned device asks for nothing and needs no pending key, which a full disk would not let it make.
  Result<Bytes> signing_request(const std::string& client_id) const {
    if (session_.state().provisioned) return Bytes();
    TRY_ASSIGN(const crypto::PrivateKey key, folder_.device_key());
    return crypto::Csr::create(key, client_id);
  }

  void feed(Event event, const std::uint64_t* epoch = nullptr) { events_.feed(std::move(event), epoch); }

  void handle(const Event& event) {
    const bool was_provisioned = session_.state().provisioned;
    const int failed_before = session_.state().attempts_failed;
    const Effects effects = session_.handle(event, {wall_now(), std::chrono::steady_clock::now(), random_number()});
    for (const Effect& effect : effects) {
      if (!std::visit([this](const auto& e) { return carry_out(e); }, effect)) break;
    }
    const SessionState& state = session_.state();
    note_owner(event);
    show(state);
    if (state.provisioned && !was_provisioned) hook_.provisioned(state.generation);
    if (state.attempts_failed > failed_before) hook_.failed(state.generation, state.attempts_failed);
    if (state.phase == Phase::kDisabled) stop(Ending::kDisabled);
    if (state.phase == Phase::kGaveUp) stop(Ending::kGaveUp);
  }

  void show(const SessionState& state) {
    if (shown_ == state.phase) return;
    shown_ = state.phase;
    log::info("agent", "phase", {{"phase", to_string(state.phase)}, {"client_id", config_.client_id}});
    notify(fmt::format("STATUS={}", to_string(state.phase)));
  }

  // --- what `status` is told
  void note_owner(const Event& event) {
    if (std::holds_alternative<OwnerBorn>(event)) {
      owner_born_ = true;
      owner_failure_.reset();
    } else if (const auto* failed = std::get_if<OwnerFailed>(&event)) {
      owner_born_ = false;
      owner_failure_ = Failure{wall_now(), failed->error.message};
    }
  }

  AgentStatus status() const {
    AgentStatus status = status_of(session_.state());
    status.pid = ::getpid();
    status.client_id = config_.client_id;
    status.owner_broker = owner_url_;
    if (!owner_.idle()) status.owner_connection = owner_born_ ? "connected" : "connecting";
    status.owner_failure = owner_failure_;
    if (auto record = read_generation_record(folder_.path())) status.packages = std::move(record->packages);
    if (const auto until = session_.pause_until()) {
      status.next_try = wall_now() + std::chrono::duration_cast<Millis>(*until - std::chrono::steady_clock::now());
    }
    const BrokerTurn& turn = provision_.brokers();
    for (const BrokerTurn::Broker& broker : turn.brokers()) {
      status.brokers.push_back({broker.url.str(), "", broker.failure});
    }
    std::string& connection = status.brokers[turn.index()].connection;
    if (provision_.in_use()) {
      connection = provision_.subscribed() ? "connected" : "connecting";
    } else if (!status.provisioned) {
      connection = "next";
    }
    return status;
  }

  // --- effects: false drops those behind it
  bool carry_out(const SaveState&) {
    const auto saved = folder_.save_state(session_.state());
    if (saved) return true;
    events_.feed_first(SaveFailed{saved.error()});
    return false;
  }
  bool carry_out(const ConnectProvision&) {
    provision_.connect({config_.account, config_.client_id, config_.username, config_.password},
                       [this](const mqtt::BrokerUrl& url) { return provision_tls(url, trust_, verification_time()); });
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
      feed(Installed{effect.generation, installed.error(), in_force()});
      return true;
    }
    crash_point("agent.hook-begins");
    on_trial_ = true;
    hook_.apply(effect.generation, [this, generation = effect.generation](const Result<void>& applied) {
      end_trial(generation, applied ? folder_.confirm() : applied);
      on_trial_ = false;
      // behind the outcome that was just fed: the session goes on from there
      if (std::exchange(reload_wanted_, false)) boost::asio::post(io_, [this] { reload(); });
    });
    return true;
  }
  void end_trial(std::uint64_t generation, const Result<void>& outcome) {
    if (!outcome) return take_back(generation, outcome.error());
    log::info("apply", "configuration is in force", {{"generation", generation}});
    packages_.remove(folder_.retire());
    feed(Installed{generation, std::nullopt});
  }
  void take_back(std::uint64_t generation, Error why) {
    // No hook begins any more that could be told: the next start takes it back, and tells.
    if (stopping_) return;
    const auto back = folder_.revert();
    if (!back) {
      log::error("apply", "a generation that was refused cannot be taken back; the next start tries again",
                 {{"generation", generation}, {"error", back.error().message}});
    } else if (!*back) {
      log::error("apply", "a generation stays in force: what was in force before it is not known any more",
                 {{"generation", generation}, {"error", why.message}});
    } else {
      hook_.rolled_back(**back);
    }
    feed(Installed{generation, std::move(why), in_force()});
  }
  std::uint64_t in_force() const { return current_generation(folder_.path()).value_or(0); }
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
    owner_.leave();  // after a rollback the generation that is not in force any more
    TRY_ASSIGN(const OwnerConnection owner, folder_.owner_connection());
    TRY_ASSIGN(crypto::TlsContext tls, owner_tls(owner, trust_, verification_time()));
    const std::string& client_id = owner.client_id.empty() ? config_.client_id : owner.client_id;
    owner_.connect(owner, client_id, std::move(tls), config_.facts, setup_.identity.interface.value);
    owner_url_ = owner.broker_url.str();
    owner_born_ = false;
    return {};
  }

  WallTime verification_time() const {
    return std::max({wall_now(), config_.build_time, session_.state().last_time.value_or(config_.build_time)});
  }

  // --- what a person asks for
  void roll_back(ControlServer::RolledBackTo answer) {
    if (stopping_) return answer(fail(ErrorCode::kConflict, "the agent is stopping; try again when it has ended"));
    if (const auto why = session_.why_no_rollback()) {
      return answer(fail(ErrorCode::kConflict, "cannot roll back now: {}; try again when that has ended", *why));
    }
    const auto back = folder_.roll_back();
    if (!back) return answer(fail(back.error()));
    if (const auto owner = folder_.owner_connection()) owner_url_ = owner->broker_url.str();
    hook_.rolled_back(*back, [answer = std::move(answer), generation = *back](const Result<void>& told) {
      if (told) return answer(generation);
      answer(fail(with_context(told.error(), in_force_again(generation) + ", but")));
    });
    feed(RolledBack{*back});
  }

  // --- other settings
  void reload() {
    if (stopping_) return;
    if (on_trial_) {
      // Beginning again now would lose the outcome, and with it the generation to go back to.
      log::info("settings", "read anew as soon as the hook has decided on the configuration");
      reload_wanted_ = true;
      return;
    }
    auto fresh = read_setup_();
    auto trust = fresh ? load_trust(fresh->settings) : Result<Trust>(fail(fresh.error()));
    auto csr = trust ? signing_request(fresh->identity.client_id.value) : Result<Bytes>(fail(trust.error()));
    if (!csr) return report_bad_settings(csr.error());
    if (fresh->settings.state_dir != setup_.settings.state_dir) {
      log::warn("settings", "state-dir: another folder takes effect at the next start");
      fresh->settings.state_dir = setup_.settings.state_dir;
    }
    const Changes changes = compare({setup_.settings, setup_.identity, trust_},
                                    {fresh->settings, fresh->identity, *trust}, session_.state());
    log::info("settings", "read anew", {{"changed", changes.names.empty() ? "nothing" : changes.names}});
    setup_ = std::move(*fresh);
    trust_ = std::move(*trust);
    config_ = session_config(setup_.settings, setup_.identity, trust_);
    log::set_level(setup_.settings.log_level);
    hook_.set_program(setup_.settings.hook);
    packages_.set_settings(package_settings(setup_.settings, folder_.path(), trust_));
    // before the list that its turn is about becomes another one
    if (changes.restart) provision_.leave(true);
    if (changes.brokers) provision_.set_brokers(setup_.settings.broker_urls);
    if (changes.restart) restart(std::move(*csr));
  }

  // The provision broker has been left.
  void restart(Bytes csr) {
    log::info("agent", "beginning again with the new settings");
    packages_.cancel();
    owner_.leave();
    wake_.cancel();
    session_ = Session(config_, restarted_state(session_.state(), setup_.settings, in_force()));
    carry_out(SaveState{});
    feed(Started{std::move(csr)});
  }

  // --- the end
  void wait_for_signal() {
    signals_.async_wait([this](boost::system::error_code error, int number) {
      if (error) return;
      if (number == SIGHUP) {
        reload();
        return wait_for_signal();
      }
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
    events_.stop();
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

  Setup setup_;
  ReadSetup read_setup_;
  StateFolder folder_;
  Trust trust_;
  SessionConfig config_;
  Session session_;

  boost::asio::io_context io_{1};
  EventQueue events_;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer wake_;
  boost::asio::steady_timer stop_timer_;
  Watchdog watchdog_;
  ControlServer control_;
  Announcer hook_;
  ProvisionLink provision_;
  OwnerLink owner_;
  PackageWorker packages_;

  std::optional<Phase> shown_;
  std::string owner_url_;  // of the last connection to the owner's broker
  bool owner_born_ = false;
  std::optional<Failure> owner_failure_;
  bool on_trial_ = false;  // a generation is in force, and the hook has not decided yet
  bool reload_wanted_ = false;  // once it has
  bool stopping_ = false;
  bool signalled_ = false;
  bool brokers_had_their_time_ = false;
  Ending ending_ = Ending::kStopped;
};

}  // namespace

Result<Ending> run_daemon(Setup setup, ReadSetup read_setup) {
  TRY_ASSIGN(Trust trust, load_trust(setup.settings));
  TRY_ASSIGN(StateFolder folder, StateFolder::open(setup.settings.state_dir));
  TRY_ASSIGN(std::optional<SessionState> saved, folder.load_state());
  SessionState state =
      initial_state(std::move(saved), setup.settings, current_generation(folder.path()).value_or(0));
  Daemon daemon(std::move(setup), std::move(read_setup), std::move(folder), std::move(trust), std::move(state));
  return daemon.run();
}

}  // namespace fleet::agent
