// What the broker alone can do: the conversations of a fleet without a platform. Each device connects, subscribes and sends
// and gets as many messages, as long, as a real one did; the simulator answers itself.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <vector>

#include "agent/simulator/fleet.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

// The trace of a device as a file (JSON), to be played again by run_floor(). kMalformed or kInvalidArgument: no trace of a
// whole provisioning.
Result<void> write_trace(const std::filesystem::path& file, const std::vector<TracedMessage>& trace);
Result<std::vector<TracedMessage>> read_trace(const std::filesystem::path& file);

struct FloorOptions {
  mqtt::BrokerUrl broker;    // of the devices
  mqtt::BrokerUrl platform;  // of the one who answers: a plain or a unix socket listener of the same broker
  Trust trust;
  std::size_t devices = 0;
  std::size_t concurrency = 500;
  std::vector<TracedMessage> trace;
  CrewOptions crew;  // no more threads are used than devices are on their way
};

// As run_fleet; kUnavailable if a device is not let in.
Result<FleetOutcome> run_floor(const FloorOptions& options, const std::function<void(const FleetProgress&)>& show);

}  // namespace fleet::agent
