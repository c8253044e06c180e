#include "agent/runtime/reload.hpp"

#include <algorithm>
#include <array>
#include <sstream>

#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

// Who we are and whom we trust: both sides depend on it.
constexpr std::array<std::string_view, 3> kForBoth{"client-id", "broker-ca-file", "platform-root-file"};
constexpr std::array<std::string_view, 6> kForAttempt{"ca-authentication", "broker-url", "account-name",
                                                      "username",          "password",   "activation-key"};
// Count until the agent has set its own.
constexpr std::array<std::string_view, 2> kFlags{"enabled", "provisioned"};

bool same(const std::vector<crypto::Certificate>& a, const std::vector<crypto::Certificate>& b) {
  return crypto::to_pem(a) == crypto::to_pem(b);
}

void add(std::vector<std::string_view>& names, std::string_view name, bool differs) {
  if (differs && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

}  // namespace

Changes compare(const SetupView& before, const SetupView& after, const SessionState& state) {
  std::vector<std::string_view> names = changed_settings(before.settings, after.settings);
  // what follows from files and from the machine
  add(names, "broker-ca-file", !same(before.trust.broker_roots, after.trust.broker_roots));
  add(names, "platform-root-file", !same(before.trust.platform_roots, after.trust.platform_roots));
  add(names, "client-id", before.identity.client_id.value != after.identity.client_id.value);
  add(names, "username", before.identity.username.value != after.identity.username.value);

  const auto has_any = [&](const auto& wanted) {
    return std::any_of(wanted.begin(), wanted.end(), [&](std::string_view name) {
      return std::find(names.begin(), names.end(), name) != names.end();
    });
  };
  const bool with_owner = state.phase == Phase::kProvisioned || state.phase == Phase::kAwaitingOwner;
  Changes changes;
  changes.names = fmt::format("{}", fmt::join(names, ", "));
  changes.brokers = std::find(names.begin(), names.end(), "broker-url") != names.end();
  changes.restart =
      has_any(kForBoth) || (!with_owner && has_any(kForAttempt)) || (!state.provisioned && has_any(kFlags));
  return changes;
}

void report_bad_settings(const Error& error) {
  std::istringstream lines(error.message);
  for (std::string line; std::getline(lines, line);) log::error("settings", line);
  log::error("settings", "not applied: the settings in force stay");
}

}  // namespace fleet::agent
