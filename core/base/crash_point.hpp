// Named points at which the kill -9 tests stop a process. Programs call crash_point() after each persisted state; the
// shipped binaries link core_crash_points_off, where it does nothing, and only the test binaries link
// core_crash_points_on, where FLEET_CRASH_AT=name[:n] makes the n-th pass (default 1) send SIGKILL to itself.
#pragma once

#include <string_view>

namespace fleet {

// Marks a state from which the process must be able to go on after `kill -9`. Thread-safe.
void crash_point(std::string_view name);

}  // namespace fleet
