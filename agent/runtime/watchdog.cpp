#include "agent/runtime/watchdog.hpp"

#include "core/base/log.hpp"
#include "core/base/notify.hpp"

namespace fleet::agent {

void Watchdog::start() {
  const auto limit = watchdog_limit();
  if (!limit) return;
  pause_ = std::max(*limit / 2, Millis(1));
  ping();
}

void Watchdog::ping() {
  if (const auto told = notify_service_manager("WATCHDOG=1"); !told) log::warn("agent", told.error().message);
  timer_.expires_after(pause_);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) ping();
  });
}

}  // namespace fleet::agent
