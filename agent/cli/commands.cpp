#include "agent/cli/commands.hpp"

#include <algorithm>
#include <sysexits.h>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "agent/apply/hook_notes.hpp"
#include "agent/apply/state_folder.hpp"
#include "agent/cli/status_table.hpp"
#include "agent/identity/identity.hpp"
#include "agent/runtime/announcer.hpp"
#include "agent/runtime/control_socket.hpp"
#include "agent/runtime/daemon.hpp"
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

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

// A read setup, and what else the settings have to say.
Result<Setup> read_setup(const Invocation& invocation) {
  TRY_ASSIGN(LoadedSettings loaded, load(invocation, Purpose::kRun));
  for (const std::string& warning : loaded.warnings) log::warn("settings", warning);
  TRY_ASSIGN(Identity identity, identify(identity_input(loaded.settings)));
  return Setup{std::move(loaded.settings), std::move(identity)};
}

}  // namespace

Result<int> run_agent(const Invocation& invocation) {
  TRY_ASSIGN(Setup setup, read_setup(invocation));
  log::set_level(setup.settings.log_level);
  std::vector<std::string> brokers;
  for (const mqtt::BrokerUrl& url : setup.settings.broker_urls) brokers.push_back(url.str());
  log::info("agent", "provision-agent " FLEET_VERSION,
            {{"client_id", setup.identity.client_id.value},
             {"username", setup.identity.username.value},
             {"broker", fmt::format("{}", fmt::join(brokers, ","))},
             {"state_dir", setup.settings.state_dir.string()}});
  TRY_ASSIGN(const Ending ending, run_daemon(std::move(setup), [&invocation] { return read_setup(invocation); }));
  return ending == Ending::kGaveUp ? EX_UNAVAILABLE : EX_OK;
}

Result<int> show_status(const Invocation& invocation) {
  TRY_ASSIGN(const LoadedSettings loaded, load(invocation, Purpose::kInspect));
  TRY_ASSIGN(const SeenStatus seen, look(loaded.settings, identity_input(loaded.settings)));
  if (invocation.output == OutputFormat::kJson) {
    print(to_json(seen.status) + "\n");
  } else {
    print_status(seen);
  }
  return seen.status.provisioned ? EX_OK : kNotProvisioned;
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
  TRY_ASSIGN(const auto by_agent, ask_to_roll_back(loaded.settings.state_dir));
  if (by_agent) {
    print(in_force_again(*by_agent) + "; the running agent uses it from now on\n");
    return EX_OK;
  }
  TRY_ASSIGN(const StateFolder folder, open_stopped(loaded.settings, "roll back"));
  // A crash had left a generation on trial, which is taken back by now: that was the step back.
  std::uint64_t number = folder.reverted().value_or(0);
  if (!folder.reverted()) {
    TRY_ASSIGN(number, folder.roll_back());
  }
  const std::string now = in_force_again(number);
  const auto told = tell_of_rollback(loaded.settings.state_dir, loaded.settings.hook, number);
  if (!told) return fail(with_context(told.error(), now + ", but"));
  print(now + "; the next `provision-agent run` " + (number == 0 ? "provisions the device\n" : "uses it\n"));
  return EX_OK;
}

Result<int> reset_agent(const Invocation& invocation) {
  TRY_ASSIGN(const LoadedSettings loaded, load(invocation, Purpose::kInspect));
  TRY_ASSIGN(const StateFolder folder, open_stopped(loaded.settings, "reset"));
  TRY(folder.reset(invocation.new_key));
  if (HookNotes(folder.path()).owes_rollback()) {  // a crash had left a generation on trial
    const std::uint64_t number = current_generation(folder.path()).value_or(0);
    const auto told = tell_of_rollback(loaded.settings.state_dir, loaded.settings.hook, number);
    if (!told) return fail(with_context(told.error(), "the agent is reset and " + in_force_again(number) + ", but"));
  }
  print(fmt::format("{} is reset: the next `provision-agent run` provisions the device anew{}\n",
                    loaded.settings.state_dir.string(), invocation.new_key ? ", with a new key" : ""));
  return EX_OK;
}

}  // namespace fleet::agent
