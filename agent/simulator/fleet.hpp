// A fleet of simulated devices, from the first arrival to the last end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/runtime/trust.hpp"
#include "agent/simulator/device.hpp"
#include "agent/simulator/plan.hpp"
#include "agent/simulator/roster.hpp"
#include "agent/simulator/tally.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

struct FleetOptions {
  mqtt::BrokerUrl broker;
  Trust trust;
  std::string account;
  Arrival arrival;
  Mix mix;
  std::size_t concurrency = 500;  // devices on their way at a time; those that come meanwhile wait
  std::uint64_t seed = 1;
  std::size_t key_pool = 0;  // device keys made in advance and used in turn; 0: each device makes its own
  bool connect_owner = true;
  Millis slow_by{2'000};
  Millis timeout{120'000};
  Millis retry_interval{60'000};
  int retry_max_attempts = -1;
  Seconds time_limit{0};  // 0: until all devices have ended
  std::vector<Watched> watched;
};

struct FleetOutcome {
  Tally tally;
  SteadyTime begun;
  Millis took{0};
  bool interrupted = false;  // by a signal, or by the time limit
  struct Cpu {
    std::string name;
    std::chrono::microseconds used;
  };
  std::vector<Cpu> cpu;                // this process as "simulator", then those that were watched
  std::vector<TracedMessage> trace;    // of the first proper device
};

// What a progress bar shows.
struct FleetProgress {
  std::size_t devices = 0, arrived = 0, provisioned = 0, stopped = 0;
  std::uint64_t attempts_failed = 0;
  Millis elapsed{0};
};

// Runs until all devices of the roster have ended, SIGINT or SIGTERM. `show` is called four times a second.
// kLimitExceeded if the process may not have enough files open, kInvalidArgument for options that cannot be used.
Result<FleetOutcome> run_fleet(const FleetOptions& options, const std::vector<RosterEntry>& roster,
                               const std::function<void(const FleetProgress&)>& show);

// Lets this process open as many files as its hard limit allows. kLimitExceeded if `connections` at a time are more than
// that is good for.
Result<void> make_room_for_connections(std::size_t connections);

// CPU time of this process so far.
std::chrono::microseconds own_cpu_time();

}  // namespace fleet::agent
