#include "agent/simulator/fleet.hpp"

#include <algorithm>
#include <chrono>
#include <signal.h>
#include <sys/resource.h>
#include <unordered_map>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <fmt/format.h>

#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

constexpr Millis kShowEvery{250};
// Of one connection: libmosquitto's socket, its pair of wake-up sockets, and our copy of the first.
constexpr std::size_t kFilesPerConnection = 4;
constexpr std::size_t kOtherFiles = 64;

SessionConfig pattern_of(const FleetOptions& options) {
  SessionConfig config;
  config.account = options.account;
  config.platform_roots = options.trust.platform_roots;
  config.timeout = options.timeout;
  config.retry_interval = options.retry_interval;
  config.retry_max_attempts = options.retry_max_attempts;
  config.build_time = build_time();
  config.facts = {{"display_name", "fleet-sim"}, {"device_name", "fleet-sim"},   {"model_name", "simulated"},
                  {"model_id", "simulated"},     {"part_number", ""},            {"serial_number", ""},
                  {"firmware", ""},              {"firmware_version", ""},       {"bios", ""},
                  {"bios_version", ""},          {"os", "Linux"},                {"os_version", ""},
                  {"os_arch", ""},               {"available_processors", "1"},  {"total_memory", "0"}};
  return config;
}

class Fleet {
 public:
  Fleet(const FleetOptions& options, const std::vector<RosterEntry>& roster,
        const std::function<void(const FleetProgress&)>& show)
      : options_(options),
        roster_(roster),
        show_(show),
        ground_{.io = io_,
                .broker = options.broker,
                .tls = {},
                .trust = options.trust,
                .pattern = pattern_of(options),
                .connect_owner = options.connect_owner,
                .slow_by = options.slow_by,
                .keys = {},
                .random = std::mt19937_64(options.seed),
                .tally = {},
                .owner_roots = {},
                .owner_contexts = {}},
        arrivals_(arrival_times(options.arrival, roster.size(), options.seed)),
        behaviours_(assign(options.mix, roster.size(), options.seed + 1)),
        arrival_timer_(io_),
        show_timer_(io_),
        limit_timer_(io_),
        signals_(io_, SIGINT, SIGTERM) {}

  Result<FleetOutcome> run() {
    TRY(prepare());
    begun_ = std::chrono::steady_clock::now();
    std::vector<std::optional<std::chrono::microseconds>> before;
    for (const Watched& one : options_.watched) before.push_back(cpu_time_of(one.pid));
    const auto own_before = own_cpu_time();
    wait_for_signal();
    wait_for_limit();
    show_progress();
    next_arrival();
    io_.run();
    if (failure_) return fail(*failure_);
    FleetOutcome outcome;
    outcome.begun = begun_;
    outcome.took = std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - begun_);
    outcome.interrupted = interrupted_;
    outcome.cpu.push_back({"simulator", own_cpu_time() - own_before});
    for (std::size_t i = 0; i < options_.watched.size(); ++i) {
      const auto now = cpu_time_of(options_.watched[i].pid);
      if (now && before[i]) outcome.cpu.push_back({options_.watched[i].name, *now - *before[i]});
    }
    outcome.tally = std::move(ground_.tally);
    outcome.trace = std::move(trace_);
    return outcome;
  }

 private:
  Result<void> prepare() {
    TRY(make_room_for_connections(options_.concurrency * 2));
    TRY_ASSIGN(ground_.tls, provision_tls(options_.broker, options_.trust, wall_now()));
    for (std::size_t i = 0; i < options_.key_pool; ++i) {
      TRY_ASSIGN(crypto::PrivateKey key, crypto::PrivateKey::generate());
      ground_.keys.push_back(std::move(key));
    }
    ground_.tally.devices = roster_.size();
    for (const Behaviour behaviour : behaviours_) ++ground_.tally.by_behaviour[static_cast<std::size_t>(behaviour)];
    ground_.tally.done_at.reserve(roster_.size());
    return {};
  }

  // Lets in who has come and has a place, and waits for the next one.
  void next_arrival() {
    const auto now = std::chrono::steady_clock::now();
    while (next_ < roster_.size() && active_.size() < options_.concurrency && begun_ + arrivals_[next_] <= now) {
      if (!let_in(next_++)) return;
    }
    if (next_ == roster_.size()) {
      if (active_.empty()) end();
      return;
    }
    if (active_.size() >= options_.concurrency) return;  // on_end comes here again
    arrival_timer_.expires_at(begun_ + arrivals_[next_]);
    arrival_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) next_arrival();
    });
  }

  bool let_in(std::size_t number) {
    const Behaviour behaviour = behaviours_[number];
    if (behaviour == Behaviour::kProper && !traced_) {
      traced_ = number;
      ground_.trace = &trace_;
    }
    auto device = std::make_unique<SimulatedDevice>(ground_, roster_[number], number, behaviour,
                                                    [this, number] { on_end(number); });
    if (traced_ == number) ground_.trace = nullptr;
    SimulatedDevice& entered = *active_.emplace(number, std::move(device)).first->second;
    if (const auto started = entered.start(); !started) {
      failure_ = started.error();
      io_.stop();
      return false;
    }
    return true;
  }

  void on_end(std::size_t number) {
    active_.erase(number);
    next_arrival();
  }

  void end() {
    show_timer_.cancel();
    limit_timer_.cancel();
    arrival_timer_.cancel();
    signals_.cancel();
    show_(progress());
  }

  FleetProgress progress() const {
    const Tally& tally = ground_.tally;
    return {tally.devices, tally.arrived, tally.provisioned, tally.stopped, tally.attempts_failed,
            std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - begun_)};
  }

  void show_progress() {
    show_(progress());
    show_timer_.expires_after(kShowEvery);
    show_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) show_progress();
    });
  }

  void wait_for_signal() {
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (!error) interrupt();
    });
  }
  void wait_for_limit() {
    if (options_.time_limit == Seconds(0)) return;
    limit_timer_.expires_after(options_.time_limit);
    limit_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) interrupt();
    });
  }
  void interrupt() {
    interrupted_ = true;
    io_.stop();
  }

  const FleetOptions& options_;
  const std::vector<RosterEntry>& roster_;
  const std::function<void(const FleetProgress&)>& show_;
  boost::asio::io_context io_{1};
  FleetGround ground_;
  const std::vector<Millis> arrivals_;
  const std::vector<Behaviour> behaviours_;
  boost::asio::steady_timer arrival_timer_;
  boost::asio::steady_timer show_timer_;
  boost::asio::steady_timer limit_timer_;
  boost::asio::signal_set signals_;
  SteadyTime begun_;
  std::size_t next_ = 0;  // in the roster
  std::unordered_map<std::size_t, std::unique_ptr<SimulatedDevice>> active_;
  std::optional<std::size_t> traced_;
  std::vector<TracedMessage> trace_;
  std::optional<Error> failure_;
  bool interrupted_ = false;
};

}  // namespace

Result<FleetOutcome> run_fleet(const FleetOptions& options, const std::vector<RosterEntry>& roster,
                               const std::function<void(const FleetProgress&)>& show) {
  if (options.concurrency == 0) return fail(ErrorCode::kInvalidArgument, "--concurrency: at least 1");
  TRY(options.mix.check());
  Fleet fleet(options, roster, show);
  return fleet.run();
}

Result<void> make_room_for_connections(std::size_t connections) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail(errno_error(errno, "the limit of open files"));
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return fail(errno_error(errno, "the limit of open files"));
  const std::size_t needed = connections * kFilesPerConnection + kOtherFiles;
  if (limit.rlim_max != RLIM_INFINITY && needed > limit.rlim_max) {
    return fail(ErrorCode::kLimitExceeded,
                "{} connections need {} open files and this process may have {}: raise `ulimit -n` or lower --concurrency",
                connections, needed, limit.rlim_max);
  }
  return {};
}

std::chrono::microseconds own_cpu_time() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto micros = [](const timeval& time) {
    return std::chrono::microseconds(std::int64_t{time.tv_sec} * 1'000'000 + time.tv_usec);
  };
  return micros(usage.ru_utime) + micros(usage.ru_stime);
}

}  // namespace fleet::agent
