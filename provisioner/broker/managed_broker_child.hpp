// Mosquitto as a child process: started as its own user, dying with the provisioner, and found again if it did not.
#pragma once

#include <filesystem>
#include <sys/types.h>

#include "core/base/fd.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/broker/managed_broker_files.hpp"

namespace fleet::provisioner {

struct BrokerChild {
  pid_t pid = -1;
  Fd process;  // pidfd: readable when the child has ended
  Fd output;   // its stdout and stderr
};

// Forks and executes `mosquitto -c {configuration}` with the user's rights. The child gets SIGTERM when the calling
// *thread* ends, however it ends: setting the user here and not by Mosquitto is what makes that last, since a process
// that changes its user loses its parent-death signal.
Result<BrokerChild> spawn_broker(const std::filesystem::path& mosquitto, const ManagedBrokerSettings& settings);

// Stops every Mosquitto that runs with our configuration file: what a provisioner that was killed may have left.
// SIGTERM, SIGKILL after `patience`. Blocks as long. The caller holds the lock on the data folder, so none of them is
// in use. `mosquitto` is what find_mosquitto gave.
Result<void> stop_stale_brokers(const std::filesystem::path& mosquitto, const ManagedBrokerSettings& settings,
                                Millis patience);

// Why the broker could not listen there, found by trying: kConflict if the port is in use, kPermissionDenied,
// kInvalidArgument for an address that is not ours.
Result<void> check_listener(const BrokerListener& listener);

// True if something accepts connections on a unix socket.
bool socket_accepts(const std::filesystem::path& socket);

}  // namespace fleet::provisioner
