// What a simulated fleet has come to: counts, times and CPU.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/simulator/plan.hpp"
#include "core/base/time.hpp"

namespace fleet::agent {

// The parts of a device's way, each from the end of the one before it.
enum class Stretch : std::size_t {
  kConnect,  // from its arrival until it may read its topics on the provision broker
  kHello,    // until the platform's first request was accepted
  kInstall,  // until CONF-V1 has been carried out
  kRecord,   // until the platform has recorded it
  kOwner,    // until the owner's broker has acknowledged BIRTH
  kTotal,    // from the arrival to the end of all that
};
inline constexpr std::size_t kStretches = 6;
std::string_view to_string(Stretch stretch);

// A device that was provisioned: when it was done with each stretch; kTotal is its arrival here.
using Times = std::array<SteadyTime, kStretches>;

// Durations in microseconds, at most 71 minutes each.
class Samples {
 public:
  void add(SteadyTime::duration duration);
  void add(const Samples& others);
  std::size_t count() const { return values_.size(); }
  // In milliseconds, of all added so far; 0 without any. `share`: 0.5 for the median.
  double percentile(double share) const;

 private:
  mutable std::vector<std::uint32_t> values_;
  mutable bool sorted_ = true;
};

struct Tally {
  std::size_t devices = 0;
  std::size_t arrived = 0;      // have begun
  std::size_t provisioned = 0;
  std::size_t stopped = 0;      // gave up, as their behaviour or the platform had it
  std::size_t unexpected = 0;   // provisioned though they should not have been, or the other way round
  std::uint64_t attempts_failed = 0;
  std::uint64_t sent = 0, received = 0;  // MQTT messages to and from the platform
  std::array<std::size_t, kBehaviours> by_behaviour{};
  std::array<std::size_t, kBehaviours> provisioned_by_behaviour{};
  std::array<Samples, kStretches> stretches;
  std::vector<SteadyTime> done_at;                  // of each provisioned device, ascending
  std::map<std::string, std::size_t> reasons;       // why attempts failed → how often
  // What held devices up though no attempt failed: a broker out of reach, a lost connection, being asked to come back → how often
  std::map<std::string, std::size_t> setbacks;

  void add_provisioned(const Times& times, Behaviour behaviour, SteadyTime now);
  void add_stopped(Behaviour behaviour);
  void add_failure(const std::string& reason);
  void add_setback(const std::string& what);
  // Another part of the same fleet.
  void add(const Tally& part);
  // Devices provisioned a second in the first and the second half of them.
  std::pair<double, double> half_rates(SteadyTime begun) const;
};

// A process whose CPU time is of interest, e.g. the broker.
struct Watched {
  std::string name;
  int pid = 0;
};
// User and system time so far; nullopt if there is no such process.
std::optional<std::chrono::microseconds> cpu_time_of(int pid);

}  // namespace fleet::agent
