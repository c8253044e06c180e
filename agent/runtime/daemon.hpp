// The running agent: one thread, one session, two brokers.
#pragma once

#include <functional>

#include "agent/identity/identity.hpp"
#include "agent/settings/settings.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

enum class Ending {
  kStopped,   // SIGTERM or SIGINT
  kDisabled,  // nothing to do: enabled is false
  kGaveUp,    // retry-max-attempts is used up
};

// What the daemon runs with.
struct Setup {
  Settings settings;
  Identity identity;
};
// Reads the settings anew and finds out who the device is, as at the start. The error has a line for each problem.
using ReadSetup = std::function<Result<Setup>()>;

// Runs until SIGTERM or SIGINT, or until there is nothing left to do; leaves both brokers in order (DC, DISCONNECT).
// SIGHUP reads the settings anew: good ones are applied, and an attempt under way begins again only if it depends on
// what has changed; of bad ones the log tells every problem, and those in force stay. Tells the service manager READY,
// STATUS, STOPPING and, if it asks for that, WATCHDOG; answers `provision-agent status` and `rollback` through the state
// folder. Errors: the state folder (kConflict: another agent has it; kCorrupt; kNoSpace), the files of trust anchors.
Result<Ending> run_daemon(Setup setup, ReadSetup read_setup);

}  // namespace fleet::agent
