// What differs between two versions of the settings.
#include <algorithm>
#include <array>

#include "agent/settings/settings.hpp"

namespace fleet::agent {
namespace {

struct Comparison {
  std::string_view name;
  bool (*same)(const Settings&, const Settings&);
};

template <auto Member>
bool same(const Settings& a, const Settings& b) {
  return a.*Member == b.*Member;
}

bool same_brokers(const Settings& a, const Settings& b) {
  const auto same_url = [](const mqtt::BrokerUrl& one, const mqtt::BrokerUrl& other) {
    return one.str() == other.str();
  };
  return std::equal(a.broker_urls.begin(), a.broker_urls.end(), b.broker_urls.begin(), b.broker_urls.end(), same_url);
}

// A secret goes by one name, whether it stands in the settings or in a file of its own.
constexpr auto kComparisons = std::to_array<Comparison>({
    {"enabled", same<&Settings::enabled>},
    {"provisioned", same<&Settings::provisioned>},
    {"ca-authentication", same<&Settings::ca_authentication>},
    {"broker-url", same_brokers},
    {"account-name", same<&Settings::account_name>},
    {"username", same<&Settings::username>},
    {"client-id", same<&Settings::client_id>},
    {"password", same<&Settings::password>},
    {"activation-key", same<&Settings::activation_key>},
    {"timeout", same<&Settings::timeout>},
    {"retry-interval", same<&Settings::retry_interval>},
    {"retry-max-attempts", same<&Settings::retry_max_attempts>},
    {"broker-ca-file", same<&Settings::broker_ca_file>},
    {"platform-root-file", same<&Settings::platform_root_file>},
    {"state-dir", same<&Settings::state_dir>},
    {"interface", same<&Settings::interface>},
    {"serial", same<&Settings::serial>},
    {"hook", same<&Settings::hook>},
    {"package-allow-file", same<&Settings::package_allow_file>},
    {"package-max-size", same<&Settings::package_max_size>},
    {"package-max-unpacked", same<&Settings::package_max_unpacked>},
    {"package-max-entries", same<&Settings::package_max_entries>},
    {"owner-timeout", same<&Settings::owner_timeout>},
    {"log-level", same<&Settings::log_level>},
});

}  // namespace

std::vector<std::string_view> changed_settings(const Settings& before, const Settings& after) {
  std::vector<std::string_view> names;
  for (const Comparison& comparison : kComparisons) {
    if (!comparison.same(before, after)) names.push_back(comparison.name);
  }
  return names;
}

}  // namespace fleet::agent
