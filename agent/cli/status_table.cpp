#include "agent/cli/status_table.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "agent/apply/state_folder.hpp"
#include "agent/runtime/control_socket.hpp"
#include "core/base/console.hpp"

namespace fleet::agent {
namespace {

using Rows = std::vector<std::pair<std::string, std::string>>;

// Lines of "name  value", the values under one another.
void print_table(const Rows& rows) {
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  for (const auto& [name, value] : rows) print(fmt::format("{:{}}  {}\n", name, width, value.empty() ? "-" : value));
}

Result<AgentStatus> read_from_disk(const Settings& settings, IdentityInput identity) {
  TRY_ASSIGN(const auto state, read_state(settings.state_dir));
  AgentStatus status = status_of(state.value_or(SessionState{}));
  if (!state) {
    status.phase = "not started";
    status.next = "provisioning, once the agent is started";
  }
  if (identity.username.empty()) identity.username = "-";  // not shown, so a machine without a serial number will do
  if (const auto found = identify(identity)) status.client_id = found->client_id.value;
  if (const auto owner = load_owner_connection(settings.state_dir)) {
    status.owner_broker = owner->broker_url.str();
    if (!owner->client_id.empty()) status.client_id = owner->client_id;
  }
  if (auto record = read_generation_record(settings.state_dir)) status.packages = std::move(record->packages);
  for (const mqtt::BrokerUrl& url : settings.broker_urls) status.brokers.push_back({url.str(), "", std::nullopt});
  return status;
}

std::string packages_text(const std::vector<Package>& packages) {
  std::string text;
  for (const Package& package : packages) {
    if (!text.empty()) text += ", ";
    text += package.id.name + " " + package.id.version;
  }
  return text;
}

std::string with_age(const Failure& failure, WallTime now) {
  return fmt::format("{} ({} ago)", failure.what, format_age(std::max(now - failure.at, Millis(0))));
}

std::string connection_text(const std::string& url, const std::string& connection,
                            const std::optional<Failure>& failure, WallTime now) {
  std::string text = url;
  if (!connection.empty()) text += ": " + connection;
  if (failure) text += (connection.empty() ? ": " : "; ") + fmt::format("last try: {}", with_age(*failure, now));
  return text;
}

}  // namespace

Result<SeenStatus> look(const Settings& settings, IdentityInput identity) {
  auto live = ask_agent(settings.state_dir);
  if (live) {
    std::string source = fmt::format("the running agent (pid {})", live->pid.value_or(0));
    return SeenStatus{std::move(*live), std::move(source)};
  }
  TRY_ASSIGN(AgentStatus status, read_from_disk(settings, std::move(identity)));
  const bool none_runs = live.error().code == ErrorCode::kNotFound;
  std::string source = none_runs ? "the state file; no agent runs here"
                                 : fmt::format("the state file; {}", live.error().message);
  return SeenStatus{std::move(status), std::move(source)};
}

void print_status(const SeenStatus& seen) {
  const AgentStatus& status = seen.status;
  const WallTime now = wall_now();
  std::string next_text;
  if (status.next_try) next_text = *status.next_try > now ? "in " + format_age(*status.next_try - now) : "now";
  Rows rows{{"source", seen.source},
            {"phase", status.phase},
            {"provisioned", status.provisioned ? "yes" : "no"},
            {"client id", status.client_id},
            {"generation", status.generation == 0 ? "" : std::to_string(status.generation)},
            {"packages", packages_text(status.packages)}};
  for (const AgentStatus::Broker& broker : status.brokers) {
    rows.emplace_back("provision broker", connection_text(broker.url, broker.connection, broker.failure, now));
  }
  rows.insert(rows.end(),
              {{"owner broker",
                connection_text(status.owner_broker, status.owner_connection, status.owner_failure, now)},
               {"failed attempts", std::to_string(status.attempts_failed)},
               {"last failure", status.last_failure ? with_age(*status.last_failure, now) : ""},
               {"next try", next_text},
               {"next", status.next}});
  print_table(rows);
}

}  // namespace fleet::agent
