// Telling the service manager that the event loop turns (systemd's WatchdogSec).
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/base/time.hpp"

namespace fleet::agent {

// Says WATCHDOG=1 twice within the limit that the service manager has set, from the io_context itself: one that is
// stuck says nothing. Does nothing if nobody asked.
class Watchdog {
 public:
  explicit Watchdog(boost::asio::io_context& io) : timer_(io) {}
  void start();

 private:
  void ping();

  boost::asio::steady_timer timer_;
  Millis pause_{0};
};

}  // namespace fleet::agent
