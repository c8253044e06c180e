// What `status` finds out and how it shows it. Private to agent/cli.
#pragma once

#include <string>

#include "agent/identity/identity.hpp"
#include "agent/runtime/status.hpp"
#include "agent/settings/settings.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

struct SeenStatus {
  AgentStatus status;
  std::string source;  // for a person: who says so
};

// Asks the agent that runs; if none does, or it does not answer, reads what it has left on the disk. Whatever cannot be
// found out beside the state stays empty: the state is the point.
Result<SeenStatus> look(const Settings& settings, IdentityInput identity);

void print_status(const SeenStatus& seen);

}  // namespace fleet::agent
