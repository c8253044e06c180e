// What comes of a simulated fleet.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/simulator/tally.hpp"
#include "core/base/time.hpp"

namespace fleet::agent {

// A message as the platform and a device exchanged it.
struct TracedMessage {
  bool from_device = true;
  std::size_t topic_size = 0;
  std::size_t payload_size = 0;
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

}  // namespace fleet::agent
