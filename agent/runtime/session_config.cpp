#include "agent/runtime/session_config.hpp"

#include "agent/runtime/facts.hpp"

namespace fleet::agent {

SessionConfig session_config(const Settings& settings, const Identity& identity, const Trust& trust) {
  SessionConfig config;
  config.account = settings.account_name;
  config.client_id = identity.client_id.value;
  config.username = identity.username.value;
  config.password = settings.password;
  config.activation_key = settings.activation_key;
  config.ca_authentication = settings.ca_authentication;
  config.platform_roots = trust.platform_roots;
  config.timeout = settings.timeout;
  config.retry_interval = settings.retry_interval;
  config.retry_max_attempts = settings.retry_max_attempts;
  config.owner_timeout = settings.owner_timeout;
  config.facts = device_facts(identity);
  config.build_time = build_time();
  return config;
}

SessionState initial_state(std::optional<SessionState> saved, const Settings& settings,
                           std::uint64_t generation_in_force) {
  SessionState state = saved ? std::move(*saved) : SessionState{};
  state.generation = generation_in_force;
  if (!state.provisioned) state.enabled = settings.enabled && !settings.provisioned;
  return state;
}

SessionState restarted_state(SessionState state, const Settings& settings, std::uint64_t generation_in_force) {
  if (state.attempt && state.phase != Phase::kConfirming) {
    state.attempt.reset();
    state.phase = state.owner_since ? Phase::kAwaitingOwner : Phase::kWaiting;
  }
  state.wait_until.reset();
  return initial_state(std::move(state), settings, generation_in_force);
}

}  // namespace fleet::agent
