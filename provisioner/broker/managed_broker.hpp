// The Mosquitto that belongs to the provisioner: started, watched, started again with growing pauses, stopped in order.
#pragma once

#include <functional>
#include <memory>
#include <sys/types.h>

#include <boost/asio/io_context.hpp>

#include "core/base/result.hpp"
#include "provisioner/broker/managed_broker_files.hpp"

namespace fleet::provisioner {

// Called on the io_context's thread, never from inside a call to ManagedBroker and never after it was destroyed.
struct ManagedBrokerHandlers {
  // All listeners are open: the provisioner's client may connect to `settings.socket()`. After each start.
  std::function<void()> on_ready;
  // It ended without having been asked; another start follows by itself. The message holds its last words. If this
  // comes before the first on_ready, the configuration is probably at fault.
  std::function<void(Error)> on_down;
};

// One broker. Single-threaded: every call on the thread of the io_context, and the broker gets SIGTERM when that thread
// ends, so also when the provisioner is killed. What the broker writes goes to the log as "broker".
class ManagedBroker {
 public:
  ManagedBroker(boost::asio::io_context& io, ManagedBrokerSettings settings, ManagedBrokerHandlers handlers);
  ~ManagedBroker();  // SIGKILL, and waits for the end
  ManagedBroker(const ManagedBroker&) = delete;
  ManagedBroker& operator=(const ManagedBroker&) = delete;

  // Writes the files, stops a broker that was left behind (blocks up to a few seconds then), and starts. The admission
  // database must exist. The caller holds the lock on the data folder. Errors: those of write_broker_files,
  // find_mosquitto and check_listener; kNotFound without an admission database. Once.
  Result<void> start();

  // SIGTERM, SIGKILL after five seconds, then `on_stopped`. It is not started again.
  void stop(std::function<void()> on_stopped);

  // Of the running process, or -1.
  pid_t pid() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace fleet::provisioner
