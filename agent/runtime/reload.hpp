// What other settings mean for an agent that runs.
#pragma once

#include <string>

#include "agent/identity/identity.hpp"
#include "agent/runtime/trust.hpp"
#include "agent/session/session.hpp"
#include "agent/settings/settings.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

struct SetupView {
  const Settings& settings;
  const Identity& identity;
  const Trust& trust;
};

struct Changes {
  std::string names;     // of the settings, for the log: "broker-url, timeout"; "" if nothing is different
  bool brokers = false;  // other provision brokers
  bool restart = false;  // what the session is doing in `state` depends on a change: it has to begin again
};

// Files of certificates count by their content. A provisioned device does not care for the provision broker.
Changes compare(const SetupView& before, const SetupView& after, const SessionState& state);

// Every problem on a line of its own, and that nothing has changed.
void report_bad_settings(const Error& error);

}  // namespace fleet::agent
