// The settings of the agent (edc §7): one immutable value, from a YAML file and the command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/log.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/mqtt/client.hpp"

namespace fleet::agent {

inline constexpr std::string_view kDefaultSettingsFile = "/etc/provision-agent/agent.yaml";

// Names and defaults as in edc §7, dashes for underscores. Paths are absolute; an empty path or text was not given.
struct Settings {
  bool enabled = true;
  bool provisioned = false;
  bool ca_authentication = true;
  std::vector<mqtt::BrokerUrl> broker_urls;  // tried in turn; no two the same
  std::string account_name = "provision";
  std::string username;
  std::string client_id;
  Secret password;
  std::optional<Secret> activation_key;
  Millis timeout{120'000};
  Millis retry_interval{60'000};
  int retry_max_attempts = -1;  // -1: until it succeeds
  std::filesystem::path broker_ca_file;
  std::filesystem::path platform_root_file;
  std::filesystem::path state_dir = "/var/lib/provision-agent";
  std::string interface;
  std::string serial;
  std::filesystem::path hook;
  bool package_allow_file = false;
  std::uint64_t package_max_size = 256 * 1024 * 1024;       // bytes, of its file
  std::uint64_t package_max_unpacked = 1024 * 1024 * 1024;  // bytes, of all files in it
  std::uint64_t package_max_entries = 20'000;               // files and folders in it
  Millis owner_timeout{900'000};
  log::Level log_level = log::Level::kInfo;
};

// What the command line offers: one entry a setting, from the table that also drives the decoder. `password` and
// `activation-key` are not among them, since arguments are visible to every user of the machine; their files are.
struct SettingOption {
  std::string_view name;
  std::string_view value;  // what stands for the value in a help text: "URL"
  std::string_view help;
};
std::span<const SettingOption> setting_options();

// name → text, as given on the command line; wins over the file.
using Overrides = std::vector<std::pair<std::string, std::string>>;

// kRun demands everything that provisioning needs and reads the secrets; kInspect takes what is there, reads no secret
// and does not touch the files that settings name.
enum class Purpose { kRun, kInspect };

struct LoadedSettings {
  Settings settings;
  std::vector<std::string> warnings;  // a line each, for the log
};

// Reads `file` (empty: no file) and applies `overrides`. kInvalidArgument holds every problem of both, a line each:
// "file:line:column: key: why". kNotFound if there is no such file. Relative paths are relative to the file's folder,
// on the command line to the working folder.
Result<LoadedSettings> load_settings(const std::filesystem::path& file, const Overrides& overrides,
                                     Purpose purpose = Purpose::kRun);

// The names of the settings that differ, in the order of the options; secrets by their content.
std::vector<std::string_view> changed_settings(const Settings& before, const Settings& after);

// A secret kept in a file of its own: not readable by group or others, one trailing line break stripped, not empty,
// UTF-8 without control characters. The error says what to do and never quotes the content.
Result<Secret> read_secret_file(const std::filesystem::path& file);

}  // namespace fleet::agent
