// A fleet of simulated devices, from the first arrival to the last end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/runtime/trust.hpp"
#include "agent/simulator/crew.hpp"
#include "agent/simulator/outcome.hpp"
#include "agent/simulator/plan.hpp"
#include "agent/simulator/roster.hpp"
#include "core/base/result.hpp"
#include "core/mqtt/options.hpp"

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
  CrewOptions crew;  // no more threads are used than devices are on their way
};

// Runs until all devices of the roster have ended, SIGINT or SIGTERM. `show` is called four times a second.
// kLimitExceeded if the process may not have enough files open, kInvalidArgument for options that cannot be used.
Result<FleetOutcome> run_fleet(const FleetOptions& options, const std::vector<RosterEntry>& roster,
                               const std::function<void(const FleetProgress&)>& show);

// Of `whole` things that are dealt out to `parts`, how many the part gets: the first ones get those that are left over.
constexpr std::size_t share_of(std::size_t whole, std::size_t part, std::size_t parts) {
  return whole / parts + (part < whole % parts ? 1 : 0);
}

// `options` with no more threads than `devices` and than `concurrency`.
CrewOptions with_use_for(CrewOptions options, std::size_t devices, std::size_t concurrency);

// Lets this process open as many files as its hard limit allows. kLimitExceeded if `connections` at a time, of so many
// threads, are more than that is good for.
Result<void> make_room_for_connections(std::size_t connections, std::size_t threads);

}  // namespace fleet::agent
