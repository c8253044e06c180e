#include "agent/cli/commands.hpp"

#include <algorithm>
#include <sysexits.h>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "agent/apply/state_folder.hpp"
#include "agent/identity/identity.hpp"
#include "agent/runtime/daemon.hpp"
#include "agent/runtime/hook.hpp"
#include "core/base/console.hpp"

namespace fleet::agent {
namespace {

namespace json = boost::json;

constexpr int kNotProvisioned = 3;

IdentityInput identity_input(const Settings& settings) {
  return {settings.interface, settings.serial, settings.client_id, settings.username};
}

Result<LoadedSettings> load(const Invocation& invocation, Purpose purpose) {
  std::error_code error;
  if (std::filesystem::is_directory(invocation.settings_file, error)) {
    return fail(ErrorCode::kInvalidArgument, "command line: config: {}: a folder, not a settings file",
                invocation.settings_file.string());
  }
  return load_settings(invocation.settings_file, invocation.overrides, purpose);
}

Result<StateFolder> open_stopped(const Settings& settings, std::string_view what) {
  auto folder = StateFolder::open(settings.state_dir);
  if (!folder && folder.error().code == ErrorCode::kConflict) {
    return fail(with_context(folder.error(), fmt::format("cannot {} while the agent runs", what)));
  }
  return folder;
}

// Lines of "name  value", the values under one another.
void print_table(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::size_t width = 0;
  for (const auto& row : rows) width = std::max(width, row.first.size());
  for (const auto& [name, value] : rows) print(fmt::format("{:{}}  {}\n", name, width, value.empty() ? "-" : value));
}

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

// What `status` shows. Whatever cannot be found out stays empty: the state is the point.
struct Status {
  SessionState state;
  bool started = false;  // an agent has run here
  std::string client_id;
  std::string owner_broker;
  std::optional<GenerationRecord> generation;  // the one in force
};

Result<Status> gather_status(const Settings& settings) {
  Status status;
  TRY_ASSIGN(auto state, read_state(settings.state_dir));
  status.started = state.has_value();
  if (state) status.state = std::move(*state);
  IdentityInput input = identity_input(settings);
  if (input.username.empty()) input.username = "-";  // not shown, so a machine without a serial number is no hindrance
  if (const auto identity = identify(input)) status.client_id = identity->client_id.value;
  if (const auto owner = load_owner_connection(settings.state_dir)) {
    status.owner_broker = owner->broker_url.str();
    if (!owner->client_id.empty()) status.client_id = owner->client_id;
  }
  if (auto record = read_generation_record(settings.state_dir)) status.generation = std::move(*record);
  return status;
}

std::string packages_text(const Status& status) {
  std::string text;
  if (!status.generation) return text;
  for (const Package& package : status.generation->packages) {
    if (!text.empty()) text += ", ";
    text += package.id.name + " " + package.id.version;
  }
  return text;
}

std::string phase_text(const Status& status) {
  return status.started ? std::string(to_string(status.state.phase)) : "not started";
}

void print_status(const Status& status) {
  const SessionState& state = status.state;
  const WallTime now = wall_now();
  std::string failure;
  if (state.last_failure) {
    failure = fmt::format("{} ({} ago)", state.last_failure->what,
                          format_age(std::max(now - state.last_failure->at, Millis(0))));
  }
  std::string generation;
  if (status.generation) {
    generation = fmt::format("{} (installed {})", status.generation->number, status.generation->installed_at);
  }
  std::string next_text;
  if (const auto next = next_try(state)) next_text = *next > now ? "in " + format_age(*next - now) : "now";
  print_table({{"phase", phase_text(status)},
               {"provisioned", state.provisioned ? "yes" : "no"},
               {"client id", status.client_id},
               {"generation", generation},
               {"packages", packages_text(status)},
               {"owner broker", status.owner_broker},
               {"failed attempts", std::to_string(state.attempts_failed)},
               {"last failure", failure},
               {"next try", next_text}});
}

void print_status_json(const Status& status) {
  const SessionState& state = status.state;
  json::object object{{"phase", phase_text(status)},
                      {"enabled", state.enabled},
                      {"provisioned", state.provisioned},
                      {"clientId", text_or_null(status.client_id)},
                      {"generation", state.generation},
                      {"installedAt", nullptr},
                      {"ownerBroker", text_or_null(status.owner_broker)},
                      {"attemptsFailed", state.attempts_failed},
                      {"lastFailure", nullptr},
                      {"nextTry", nullptr}};
  json::array packages;
  if (status.generation) {
    object["generation"] = status.generation->number;
    object["installedAt"] = status.generation->installed_at;
    for (const Package& package : status.generation->packages) {
      packages.push_back(
          json::object{{"name", package.id.name}, {"version", package.id.version}, {"sha256", package.sha256}});
    }
  }
  object["packages"] = std::move(packages);
  if (state.last_failure) {
    object["lastFailure"] = {{"at", format_time(state.last_failure->at)}, {"what", state.last_failure->what}};
  }
  if (const auto next = next_try(state)) object["nextTry"] = format_time(*next);
  print(json::serialize(object) + "\n");
}

}  // namespace

Result<int> run_agent(const Invocation& invocation) {
  TRY_ASSIGN(const LoadedSettings loaded, load(invocation, Purpose::kRun));
  log::set_level(loaded.settings.log_level);
  for (const std::string& warning : loaded.warnings) log::warn("settings", warning);
  TRY_ASSIGN(const Identity identity, identify(identity_input(loaded.settings)));
  log::info("agent", "provision-agent " FLEET_VERSION,
            {{"client_id", identity.client_id.value},
             {"username", identity.username.value},
             {"broker", loaded.settings.broker_url.str()},
             {"state_dir", loaded.settings.state_dir.string()}});
  TRY_ASSIGN(const Ending ending, run_daemon(loaded.settings, identity));
  return ending == Ending::kGaveUp ? EX_UNAVAILABLE : EX_OK;
}

Result<int> show_status(const Invocation& invocation) {
  TRY_ASSIGN(const LoadedSettings loaded, load(invocation, Purpose::kInspect));
  TRY_ASSIGN(const Status status, gather_status(loaded.settings));
  if (invocation.output == OutputFormat::kJson) {
    print_status_json(status);
  } else {
    print_status(status);
  }
  return status.state.provisioned ? EX_OK : kNotProvisioned;
}

Result<int> show_identity(const Invocation& invocation) {
  TRY_ASSIGN(const LoadedSettings loaded, load(invocation, Purpose::kInspect));
  TRY_ASSIGN(const Identity identity, identify(identity_input(loaded.settings)));
  const std::pair<std::string, const Found*> rows[] = {{"interface", &identity.interface},
                                                       {"mac", &identity.mac},
                                                       {"serial", &identity.serial},
                                                       {"client-id", &identity.client_id},
                                                       {"username", &identity.username}};
  if (invocation.output == OutputFormat::kJson) {
    json::object object;
    for (const auto& [name, found] : rows) {
      object[name] = {{"value", text_or_null(found->value)}, {"source", text_or_null(found->source)}};
    }
    print(json::serialize(object) + "\n");
    return EX_OK;
  }
  std::size_t width = 1;
  for (const auto& row : rows) width = std::max(width, row.second->value.size());
  for (const auto& [name, found] : rows) {
    if (found->value.empty()) {
      print(fmt::format("{:9}  -\n", name));
    } else {
      print(fmt::format("{:9}  {:{}}  {}\n", name, found->value, width, found->source));
    }
  }
  return EX_OK;
}

Result<int> roll_back(const Invocation& invocation) {
  TRY_ASSIGN(const LoadedSettings loaded, load(invocation, Purpose::kInspect));
  TRY_ASSIGN(const StateFolder folder, open_stopped(loaded.settings, "roll back"));
  TRY_ASSIGN(const std::uint64_t number, folder.roll_back());
  const auto told = run_hook(loaded.settings.hook, loaded.settings.state_dir, "rollback", number);
  if (!told) return fail(with_context(told.error(), fmt::format("generation {} is in force again, but", number)));
  print(fmt::format("generation {} is in force again; the next `provision-agent run` uses it\n", number));
  return EX_OK;
}

Result<int> reset_agent(const Invocation& invocation) {
  TRY_ASSIGN(const LoadedSettings loaded, load(invocation, Purpose::kInspect));
  TRY_ASSIGN(const StateFolder folder, open_stopped(loaded.settings, "reset"));
  TRY(folder.reset(invocation.new_key));
  print(fmt::format("{} is reset: the next `provision-agent run` provisions the device anew{}\n",
                    loaded.settings.state_dir.string(), invocation.new_key ? ", with a new key" : ""));
  return EX_OK;
}

}  // namespace fleet::agent
