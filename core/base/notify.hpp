// Telling the service manager how we are (sd_notify(3)), without libsystemd.
#pragma once

#include <string_view>

#include "core/base/result.hpp"

namespace fleet {

// Sends `state`, lines such as "READY=1" or "STATUS=text", as one datagram to the socket that $NOTIFY_SOCKET names (a
// path, or
// "@name" for the abstract namespace). Ok without doing anything if the variable is not set: nobody asked. Never
// blocks.
Result<void> notify_service_manager(std::string_view state);

}  // namespace fleet
