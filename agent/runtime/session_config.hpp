// From settings to what a session is made of.
#pragma once

#include <cstdint>
#include <optional>

#include "agent/identity/identity.hpp"
#include "agent/runtime/trust.hpp"
#include "agent/session/session.hpp"
#include "agent/settings/settings.hpp"

namespace fleet::agent {

SessionConfig session_config(const Settings& settings, const Identity& identity, const Trust& trust);

// The state to begin with. The flags in the settings count until the agent has set its own (edc §7).
SessionState initial_state(std::optional<SessionState> saved, const Settings& settings,
                           std::uint64_t generation_in_force);

// The state to go on with when the settings that an attempt depends on have changed: another attempt at once, unless
// the configuration is installed already and only the platform's word is missing.
SessionState restarted_state(SessionState state, const Settings& settings, std::uint64_t generation_in_force);

}  // namespace fleet::agent
