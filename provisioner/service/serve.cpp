#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <optional>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include "core/base/file.hpp"
#include "core/base/log.hpp"
#include "core/base/notify.hpp"
#include "provisioner/admin/server.hpp"
#include "provisioner/broker/managed_broker.hpp"
#include "provisioner/broker/managed_broker_child.hpp"
#include "provisioner/broker/session.hpp"
#include "provisioner/edc/dialect.hpp"
#include "provisioner/service/conductor.hpp"
#include "provisioner/service/foundation.hpp"
#include "provisioner/service/handover_desk.hpp"
#include "provisioner/service/package_desk.hpp"
#include "provisioner/service/run_handlers.hpp"
#include "provisioner/service/service.hpp"
#include "provisioner/store/store.hpp"
#include "provisioner/store_postgres/store.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kLog = "provisioner";
// A broker that has never come up and dies this often has a fault that waiting does not cure.
constexpr int kStartsBeforeGivingUp = 5;
// How often errands of cells that have died are looked for.
constexpr Millis kLookAfterDeadCells{5000};

void notify(std::string_view state) {
  if (auto sent = notify_service_manager(state); !sent) log::warn(kLog, "service manager not told", {{"why", sent.error().message}});
}

// Both leaves are renewed by hand, so that whoever runs the service must hear of it in time.
void warn_of_expiry(const Pki& pki) {
  static constexpr std::chrono::days kWarnBefore{30};
  const auto warn = [](const crypto::Certificate& certificate, std::string_view command) {
    if (certificate.not_after() - wall_now() > kWarnBefore) return;
    log::warn(kLog, "a certificate expires soon; renew it and restart the service",
              {{"certificate", certificate.subject_cn()}, {"expires", format_time(certificate.not_after())}, {"with", std::string(command)}});
  };
  warn(pki.signing.certificate, "provisioner renew signing");
  warn(pki.broker, "provisioner renew broker --host NAME");
}

Result<std::string> cell_name(const Settings& settings) {
  if (!settings.cell.empty()) return settings.cell;
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return fail(errno_error(errno, "host name"));
  return std::string(name);
}

Result<std::unique_ptr<Store>> open_store(const DataLayout& layout, const Settings& service, const ManagedBrokerSettings& broker,
                                          boost::asio::io_context& io) {
  TRY_ASSIGN(const BrokerUser user, broker_user(broker));
  StoreSettings settings;
  settings.database = layout.database();
  settings.admission = layout.admission();
  settings.admission_mode = user.other ? 0640 : 0600;
  settings.share_admission = [broker](const std::filesystem::path& path) { return share_with_broker(path, broker); };
  const auto post = [&io](std::function<void()> done) { boost::asio::post(io, std::move(done)); };
  if (service.store.empty()) return Store::open(std::move(settings), post);
  TRY_ASSIGN(std::string cell, cell_name(service));
  return open_postgres_store({.url = service.store, .cell = std::move(cell)}, std::move(settings), post);
}

ExecutorSettings executor_settings(const Foundation& foundation, const PackageDesk& packages) {
  ExecutorSettings settings;
  settings.verifier_key = foundation.verifier_key;
  settings.signing_chain_pem = foundation.pki.signing_chain_pem;
  settings.device_ca_chain_pem = foundation.pki.device_chain_pem;
  settings.issue = [device_ca = foundation.pki.device_ca](const std::string& client_id, const crypto::PublicKey& key,
                                                          Millis validity, WallTime now) {
    return issue_device_certificate(device_ca, client_id, key, validity, now);
  };
  packages.equip(settings);
  return settings;
}

ConductorSettings conductor_settings(const Settings& of) {
  ConductorSettings settings;
  settings.account = of.account;
  settings.provisioner_id = of.provisioner_id;
  settings.broker_runs_alone = !of.broker_managed;
  return settings;
}

// With the serials, so that the audit shows since when a renewed leaf is in use.
void audit_start(Store& store, const Pki& pki) {
  AuditEntry entry{.at = wall_now(), .source = AuditSource::kOperator, .kind = "start", .who = "provisioner"};
  entry.text = fmt::format("version {}, signing certificate {}, broker certificate {}", FLEET_VERSION,
                           pki.signing.certificate.serial(), pki.broker.serial());
  store.submit([entry](Transaction& tx) { return tx.add_audit(entry); },
               [](Result<void> done) {
                 if (!done) log::warn(kLog, "start not recorded", {{"why", done.error().message}});
               });
}

// The running service: everything that lives on the one io_context, wired together, and its orderly end.
class Service {
 public:
  Service(const DataLayout& layout, Foundation foundation, boost::asio::io_context& io, Store& store,
          PackageDesk& packages)
      : io_(io),
        packages_(packages),
        shared_store_(!foundation.settings.store.empty()),
        dialect_(foundation.settings.account, foundation.settings.provisioner_id, foundation.pki.signing.key),
        executor_(executor_settings(foundation, packages), dialect_),
        conductor_(io, conductor_settings(foundation.settings), store, executor_, dialect_),
        session_(io, foundation.broker.socket(), foundation.settings.provisioner_id, session_handlers()),
        admin_(io, admin_settings(layout, foundation), store, executor_),
        broker_settings_(foundation.broker),
        handover_(io, store, executor_, [this](Outcome outcome) { conductor_.deliver(std::move(outcome)); }),
        signals_(io, SIGINT, SIGTERM) {
    conductor_.connect(session_, {[this](std::int64_t attempt_id) { handover_.hand_over(attempt_id); },
                                  [this](std::int64_t login_id) { handover_.take_back(login_id); }});
    if (foundation.settings.broker_managed) broker_.emplace(io, foundation.broker, broker_handlers());
    store.hear_other_cells([this](const Tidings& tidings) { on_tidings(tidings); });
  }

  Result<void> run() {
    signals_.async_wait([this](boost::system::error_code cancelled, int number) {
      if (cancelled) return;
      log::info(kLog, "stopping", {{"signal", number}});
      stop();
    });
    TRY(packages_.start());
    TRY(broker_ ? broker_->start() : await_broker());
    TRY(admin_.start());
    TRY(handover_.start(shared_store_ ? kLookAfterDeadCells : Millis(0)));
    // whoever starts that broker may wait for us
    if (!broker_) notify("READY=1\nSTATUS=waiting for the broker");
    auto ran = run_handlers(io_, [this] { stop(); });
    if (failure_) return fail(*failure_);
    return ran;
  }

 private:
  BrokerSessionHandlers session_handlers() {
    BrokerSessionHandlers handlers;
    handlers.on_message = [this](Inbound inbound, Bytes payload) { conductor_.on_message(std::move(inbound), std::move(payload)); };
    handlers.on_events = [this](EventKind kind, const std::vector<BrokerEvent>& events) { conductor_.on_events(kind, events); };
    handlers.on_ready = [this](bool ready) {
      broker_state_ = ready ? "running" : broker_ ? "restarting" : "away: another supervisor runs it";
      conductor_.on_session(ready);
      if (!ready) return;
      log::info(kLog, "ready: devices are admitted");
      notify("READY=1\nSTATUS=devices are admitted");
    };
    return handlers;
  }

  // What an operator did through another cell takes effect here as if it had been done here.
  void on_tidings(const Tidings& tidings) {
    if (stopping_) return;
    conductor_.deliver({.kick = tidings.kick, .forgiven = tidings.forgiven});
    if (tidings.applied) packages_.on_applied({});
  }

  AdminSettings admin_settings(const DataLayout& layout, const Foundation& foundation) {
    AdminSettings settings;
    settings.socket = layout.admin_socket();
    settings.verifier_key = foundation.verifier_key;
    settings.provisioner_id = foundation.settings.provisioner_id;
    settings.deliver = [this](Outcome outcome) { conductor_.deliver(std::move(outcome)); };
    settings.broker_state = [this] { return broker_state_; };
    settings.packages = packages_.folder();
    settings.on_applied = [this](std::vector<std::string> dropped) { packages_.on_applied(std::move(dropped)); };
    return settings;
  }

  // A broker that is somebody else's to start and to stop: it finds its files, and we its socket.
  Result<void> await_broker() {
    const std::string socket = broker_settings_.socket().string();
    TRY_ASSIGN(const bool changed, write_unmanaged_broker_files(broker_settings_));
    if (changed && socket_accepts(broker_settings_.socket())) {
      log::warn(kLog, "the broker's certificate or plugin has changed: restart that broker", {{"socket", socket}});
    }
    log::info(kLog, "waiting for the broker, which another supervisor runs with what `provisioner broker-config` prints",
              {{"socket", socket}});
    broker_state_ = "away: another supervisor runs it";
    session_.start();
    return {};
  }

  ManagedBrokerHandlers broker_handlers() {
    ManagedBrokerHandlers handlers;
    handlers.on_ready = [this] {
      broker_was_up_ = true;
      if (!std::exchange(session_started_, true)) session_.start();
    };
    handlers.on_down = [this](const Error& error) {
      broker_state_ = "restarting";
      if (broker_was_up_ || ++failed_starts_ < kStartsBeforeGivingUp) return;
      failure_ = with_context(error, "the provision broker does not start");
      stop();
    };
    return handlers;
  }

  // Nothing new from operators, nothing more to devices, then the broker; what is queued in the store still commits.
  void stop() {
    if (std::exchange(stopping_, true)) return;
    notify("STOPPING=1");
    signals_.cancel();
    admin_.stop();
    packages_.stop();
    handover_.stop();
    conductor_.stop();
    session_.stop();
    if (broker_) return broker_->stop([this] { io_.stop(); });
    boost::asio::post(io_, [this] { io_.stop(); });
  }

  boost::asio::io_context& io_;
  PackageDesk& packages_;
  bool shared_store_;  // with other cells
  EdcDialect dialect_;
  Executor executor_;
  Conductor conductor_;
  BrokerSession session_;
  AdminServer admin_;
  ManagedBrokerSettings broker_settings_;
  std::optional<ManagedBroker> broker_;  // none: another supervisor runs it
  HandoverDesk handover_;
  boost::asio::signal_set signals_;
  std::string broker_state_ = "starting";
  std::optional<Error> failure_;
  int failed_starts_ = 0;
  bool broker_was_up_ = false;
  bool session_started_ = false;
  bool stopping_ = false;
};

}  // namespace

Result<BrokerConfiguration> broker_configuration(const DataLayout& layout) {
  TRY_ASSIGN(const Foundation foundation, load_foundation(layout));
  return BrokerConfiguration{broker_fragment(foundation.broker), foundation.settings.broker_managed};
}

Result<void> check(const DataLayout& layout) {
  TRY(load_foundation(layout));
  return {};
}

Result<void> serve(const DataLayout& layout) {
  TRY_ASSIGN(Foundation foundation, load_foundation(layout));
  TRY_ASSIGN(const log::Level level, log::parse_level(foundation.settings.log_level));
  log::set_level(level);
  warn_of_expiry(foundation.pki);
  TRY_ASSIGN(const FileLock lock, FileLock::acquire(layout.lock()));
  boost::asio::io_context io(1);
  TRY_ASSIGN(std::unique_ptr<Store> store, open_store(layout, foundation.settings, foundation.broker, io));
  audit_start(*store, foundation.pki);
  TRY_ASSIGN(const std::unique_ptr<PackageDesk> packages, PackageDesk::open(layout, foundation, io, *store));
  Service service(layout, std::move(foundation), io, *store, *packages);
  auto result = service.run();
  packages->stop();  // it asks the store
  // Work that is still queued uses the service's executor: it commits before the service goes.
  store.reset();
  log::info(kLog, "stopped");
  return result;
}

}  // namespace fleet::provisioner
