#include "agent/cli/cli.hpp"

#include <deque>
#include <exception>
#include <sstream>
#include <sysexits.h>

#include <CLI/CLI.hpp>

#include "agent/cli/commands.hpp"
#include "core/base/console.hpp"
#include "core/cli/usage.hpp"

namespace fleet::agent {
namespace {

struct Command {
  std::string_view name;
  std::string_view help;
  bool has_output;
  Result<int> (*run)(const Invocation&);
};
constexpr std::array<Command, 5> kCommands{{
    {"run", "Provision this device, then stay connected to its owner's broker", false, run_agent},
    {"status", "Show how far this device is (exit code 3: not provisioned)", true, show_status},
    {"identity", "Show client id and username, and where they come from", true, show_identity},
    {"rollback", "Go back to the configuration, applications and keys before", false, roll_back},
    {"reset", "Forget the outcome, so that the next run provisions anew", false, reset_agent},
}};

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kPermissionDenied:
      return EX_NOPERM;
    case ErrorCode::kConflict:
    case ErrorCode::kNoSpace:
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimedOut:
      return EX_TEMPFAIL;
    case ErrorCode::kIo:
      return EX_IOERR;
    case ErrorCode::kInternal:
      return EX_SOFTWARE;
    default:
      return EX_CONFIG;
  }
}

// Whether all problems are ones of what stands on the command line.
bool is_only_about_options(std::string_view message) {
  while (!message.empty()) {
    if (!message.starts_with("command line:")) return false;
    const std::size_t end = message.find('\n');
    message.remove_prefix(end == std::string_view::npos ? message.size() : end + 1);
  }
  return true;
}

// "" where nothing is sure to help, or where the error itself says what does.
std::string hint(const Error& error, const std::filesystem::path& settings_file) {
  const bool about_settings = !settings_file.empty() && error.message.starts_with(settings_file.string());
  switch (error.code) {
    case ErrorCode::kPermissionDenied:
      return about_settings ? "run it as root, or as a user who may read that file"
                            : "run it as root, or give a --state-dir of your own";
    case ErrorCode::kConflict:
      return "stop the running agent first, e.g. systemctl stop provision-agent";
    case ErrorCode::kInvalidArgument:
      if (is_only_about_options(error.message)) return "`provision-agent run --help` explains every option";
      return "every setting is explained in the sample agent.yaml and by `provision-agent run --help`";
    case ErrorCode::kNotFound:
      return about_settings ? "name the settings file with --config, or give the settings as options" : "";
    case ErrorCode::kNoSpace:
      return "make room on the device and try again";
    default:
      return {};
  }
}

int report(const Error& error, const std::filesystem::path& settings_file = {}) {
  // several problems: each on a line of its own, each an error
  std::string_view rest = error.message;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    print_error(fmt::format("error: {}", rest.substr(0, end)));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  if (const std::string advice = hint(error, settings_file); !advice.empty()) print_error("hint: " + advice);
  return exit_code(error.code);
}

// Nothing is done whose result did not get out. That the reader has gone is quite all right.
int finish(int code) {
  const auto shown = flush_output();
  return shown || shown.error().code == ErrorCode::kUnavailable ? code : report(shown.error());
}

// Where CLI11 puts what it reads. A deque: the addresses stay.
struct Inputs {
  std::string settings_file;
  std::string output = "table";
  bool new_key = false;
  std::deque<std::pair<std::string, std::string>> settings;
};

void add_settings(CLI::App& command, Inputs& inputs) {
  command
      .add_option("-c,--config", inputs.settings_file,
                  fmt::format("settings file (default {} if it is there)", kDefaultSettingsFile))
      ->type_name("FILE");
  for (const SettingOption& option : setting_options()) {
    auto& [name, value] = inputs.settings.emplace_back(option.name, "");
    command.add_option("--" + name, value, std::string(option.help))
        ->type_name(std::string(option.value))
        ->group("Settings");
  }
}

Invocation to_invocation(const CLI::App& command, const Inputs& inputs) {
  Invocation invocation;
  invocation.output = inputs.output == "json" ? OutputFormat::kJson : OutputFormat::kTable;
  invocation.new_key = inputs.new_key;
  invocation.settings_file = inputs.settings_file;
  std::error_code ignored;
  if (command.count("--config") == 0 && std::filesystem::exists(kDefaultSettingsFile, ignored)) {
    invocation.settings_file = kDefaultSettingsFile;
  }
  for (const auto& [name, value] : inputs.settings) {
    if (command.count("--" + name) > 0) invocation.overrides.emplace_back(name, value);
  }
  return invocation;
}

struct Asked {
  const Command* command;
  Invocation invocation;
};

// What the command line asks for; or, where it has been answered already, the exit code.
tl::expected<Asked, int> parse(int argc, const char* const* argv) {
  CLI::App app("Provisions this device over MQTT and keeps it connected to its owner's broker.", "provision-agent");
  app.set_version_flag("--version", "provision-agent " FLEET_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Example:\n  provision-agent run --broker-url mqtts://provision.example.org:8883 --broker-ca-file root.crt "
      "--platform-root-file root.crt --password-file password");
  std::deque<Inputs> inputs;
  std::vector<CLI::App*> commands;
  for (const Command& command : kCommands) {
    Inputs& own = inputs.emplace_back();
    CLI::App* parser = app.add_subcommand(std::string(command.name), std::string(command.help));
    add_settings(*parser, own);
    if (command.has_output) {
      parser->add_option("-o,--output", own.output, "table or json")->check(CLI::IsMember({"table", "json"}));
    }
    if (command.name == "reset") parser->add_flag("--new-key", own.new_key, "drop the device key too");
    commands.push_back(parser);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      std::ostringstream help;  // or the version
      app.exit(error, help, help);
      print(help.str());
      return tl::unexpected(finish(EX_OK));
    }
    print_error("error: " + cli::usage_error(app, error));
    print_error("hint: see `provision-agent --help`");
    return tl::unexpected(EX_USAGE);
  }
  for (std::size_t i = 0; i < kCommands.size(); ++i) {
    if (commands[i]->parsed()) return Asked{&kCommands[i], to_invocation(*commands[i], inputs[i])};
  }
  return tl::unexpected(EX_USAGE);
}

// The parser, which takes an eighth of the agent's heap, is gone before the command runs: that may be for years.
int run(int argc, const char* const* argv) {
  const auto asked = parse(argc, argv);
  if (!asked) return asked.error();
  const auto result = asked->command->run(asked->invocation);
  return result ? finish(*result) : report(result.error(), asked->invocation.settings_file);
}

}  // namespace

int run_cli(int argc, const char* const* argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& exception) {
    return report(Error{ErrorCode::kInternal, fmt::format("internal error: {}", exception.what())});
  }
}

}  // namespace fleet::agent
