#include "agent/simulator/fleet.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <sys/resource.h>
#include <unordered_map>
#include <utility>

#include <boost/asio/steady_timer.hpp>

#include "agent/simulator/device.hpp"
#include "agent/simulator/device_queue.hpp"

namespace fleet::agent {
namespace {

// Of one connection: libmosquitto's socket, its pair of wake-up sockets, and our copy of the first.
constexpr std::size_t kFilesPerConnection = 4;
constexpr std::size_t kFilesPerThread = 4;  // what an io_context waits with
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

// What all parts of a fleet read, and the queue that they take devices from.
struct Orders {
  const FleetOptions& options;
  const std::vector<RosterEntry>& roster;
  const std::vector<Millis> arrivals;       // by place in the roster
  const std::vector<Behaviour> behaviours;  // likewise
  const std::size_t traced;                 // the first proper device; behind the roster if there is none
  SteadyTime begun;
  DeviceQueue queue;
};

// The devices of one thread: whoever is next when it has a place.
class Squad {
 public:
  Squad(Crew& crew, std::size_t part, Orders& orders, const crypto::TlsContext& tls,
        const std::vector<crypto::PrivateKey>& keys)
      : crew_(crew),
        part_(part),
        orders_(orders),
        concurrency_(share_of(orders.options.concurrency, part, crew.parts())),
        ground_{.io = crew.io(part),
                .broker = orders.options.broker,
                .tls = tls,
                .trust = orders.options.trust,
                .pattern = pattern_of(orders.options),
                .connect_owner = orders.options.connect_owner,
                .slow_by = orders.options.slow_by,
                .keys = keys,
                .random = std::mt19937_64(orders.options.seed + part),
                .tally = crew.tally(part),
                .owner_roots = {},
                .owner_contexts = {}},
        arrival_timer_(crew.io(part)) {}

  void begin() { next_arrival(); }

  // Of the traced device, if it is here.
  std::vector<TracedMessage> take_trace() { return std::move(trace_); }

 private:
  // Lets in who has come and has a place, and waits for the next one.
  void next_arrival() {
    while (active_.size() < concurrency_) {  // or on_end comes here again
      const auto now = std::chrono::steady_clock::now();
      const auto has_come = [&](std::size_t number) { return orders_.begun + orders_.arrivals[number] <= now; };
      if (const auto number = orders_.queue.take_if(has_come)) {
        if (!let_in(*number)) return;
        continue;
      }
      const auto next = orders_.queue.next();
      if (!next) {
        if (active_.empty()) crew_.ended(part_);
        return;
      }
      // another part may be faster
      arrival_timer_.expires_at(orders_.begun + orders_.arrivals[*next]);
      arrival_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) next_arrival();
      });
      return;
    }
  }

  bool let_in(std::size_t number) {
    ground_.trace = number == orders_.traced ? &trace_ : nullptr;
    auto device = std::make_unique<SimulatedDevice>(ground_, orders_.roster[number], number, orders_.behaviours[number],
                                                    [this, number] { on_end(number); });
    SimulatedDevice& entered = *active_.emplace(number, std::move(device)).first->second;
    if (const auto started = entered.start(); !started) {
      crew_.stop(started.error());
      return false;
    }
    return true;
  }

  void on_end(std::size_t number) {
    active_.erase(number);
    next_arrival();
  }

  Crew& crew_;
  const std::size_t part_;
  Orders& orders_;
  const std::size_t concurrency_;
  FleetGround ground_;
  boost::asio::steady_timer arrival_timer_;
  std::unordered_map<std::size_t, std::unique_ptr<SimulatedDevice>> active_;
  std::vector<TracedMessage> trace_;
};

}  // namespace

Result<FleetOutcome> run_fleet(const FleetOptions& options, const std::vector<RosterEntry>& roster,
                               const std::function<void(const FleetProgress&)>& show) {
  if (options.concurrency == 0) return fail(ErrorCode::kInvalidArgument, "--concurrency: at least 1");
  TRY(options.mix.check());
  const CrewOptions crew_options = with_use_for(options.crew, roster.size(), options.concurrency);
  TRY(make_room_for_connections(options.concurrency * 2, crew_options.threads));
  TRY_ASSIGN(const crypto::TlsContext tls, provision_tls(options.broker, options.trust, wall_now()));
  std::vector<crypto::PrivateKey> keys;
  for (std::size_t i = 0; i < options.key_pool; ++i) {
    TRY_ASSIGN(crypto::PrivateKey key, crypto::PrivateKey::generate());
    keys.push_back(std::move(key));
  }
  std::vector<Behaviour> behaviours = assign(options.mix, roster.size(), options.seed + 1);
  const auto proper = std::find(behaviours.begin(), behaviours.end(), Behaviour::kProper);
  const auto traced = static_cast<std::size_t>(proper - behaviours.begin());
  Orders orders{options, roster, arrival_times(options.arrival, roster.size(), options.seed), std::move(behaviours), traced, {},
                DeviceQueue(roster.size())};

  Crew crew(crew_options, show);
  std::vector<std::unique_ptr<Squad>> squads;
  for (std::size_t i = 0; i < crew.parts(); ++i) squads.push_back(std::make_unique<Squad>(crew, i, orders, tls, keys));
  Tally& whole = crew.tally(0);  // of which devices there are; what becomes of each is in the tally of who took it
  whole.devices = roster.size();
  for (const Behaviour behaviour : orders.behaviours) ++whole.by_behaviour[static_cast<std::size_t>(behaviour)];
  orders.begun = std::chrono::steady_clock::now();
  TRY_ASSIGN(FleetOutcome outcome, crew.run([&](std::size_t part) { squads[part]->begin(); }));
  for (const auto& squad : squads) {
    if (outcome.trace.empty()) outcome.trace = squad->take_trace();
  }
  return outcome;
}

CrewOptions with_use_for(CrewOptions options, std::size_t devices, std::size_t concurrency) {
  options.threads = std::clamp<std::size_t>(options.threads, 1, std::max<std::size_t>(1, std::min(devices, concurrency)));
  return options;
}

Result<void> make_room_for_connections(std::size_t connections, std::size_t threads) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail(errno_error(errno, "the limit of open files"));
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return fail(errno_error(errno, "the limit of open files"));
  const std::size_t needed = connections * kFilesPerConnection + threads * kFilesPerThread + kOtherFiles;
  if (limit.rlim_max != RLIM_INFINITY && needed > limit.rlim_max) {
    return fail(ErrorCode::kLimitExceeded,
                "{} connections need {} open files and this process may have {}: raise `ulimit -n` or lower --concurrency",
                connections, needed, limit.rlim_max);
  }
  return {};
}

}  // namespace fleet::agent
