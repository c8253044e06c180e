// The outcome of a simulated fleet, for people and for scripts.
#pragma once

#include <string>

#include "agent/simulator/outcome.hpp"

namespace fleet::agent {

// A few lines: what became of the devices, how fast, how long each stretch took, whose CPU it cost, why attempts failed.
std::string summary(const FleetOutcome& outcome);

// One JSON object, one line: devices, provisioned, stopped, unexpected, attemptsFailed, seconds, devicesPerSecond,
// firstHalfPerSecond, lastHalfPerSecond, messagesSent, messagesReceived, latencyMs {stretch: {p50, p90, p99, max}},
// cpuMicrosPerDevice {process: n}, behaviours {name: {devices, provisioned}}, reasons {text: n}, interrupted.
std::string to_json(const FleetOutcome& outcome);

// "  12,345 of 100,000 provisioned   1,020/s …", with a bar as wide as fits into `width` columns.
std::string progress_line(const FleetProgress& progress, std::size_t width);

}  // namespace fleet::agent
