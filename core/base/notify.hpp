// Telling the service manager how we are (sd_notify(3)), without libsystemd.
#pragma once

#include <optional>
#include <string_view>

#include "core/base/result.hpp"
#include "core/base/time.hpp"

namespace fleet {

// Sends `state`, lines such as "READY=1" or "STATUS=text", as one datagram to the socket that $NOTIFY_SOCKET names (a
// path, or
// "@name" for the abstract namespace). Ok without doing anything if the variable is not set: nobody asked. Never
// blocks.
Result<void> notify_service_manager(std::string_view state);

// How often at least the service manager wants to hear WATCHDOG=1, by $WATCHDOG_USEC; nullopt if it does not, or if the
// variable is meant for another process ($WATCHDOG_PID).
std::optional<Millis> watchdog_limit();

}  // namespace fleet
