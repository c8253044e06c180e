// The running agent: one thread, one session, two brokers.
#pragma once

#include "agent/identity/identity.hpp"
#include "agent/settings/settings.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

enum class Ending {
  kStopped,   // SIGTERM or SIGINT
  kDisabled,  // nothing to do: enabled is false
  kGaveUp,    // retry-max-attempts is used up
};

// Runs until a signal, or until there is nothing left to do; leaves both brokers in order (DC, DISCONNECT). Tells the
// service manager READY, STATUS and STOPPING. Errors: the state folder (kConflict: another agent has it; kCorrupt;
// kNoSpace), the files of trust anchors.
Result<Ending> run_daemon(const Settings& settings, const Identity& identity);

}  // namespace fleet::agent
