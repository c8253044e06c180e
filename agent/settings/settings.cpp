#include "agent/settings/settings.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>
#include <sys/stat.h>

#include "core/base/file.hpp"
#include "core/base/size.hpp"
#include "core/config/decoder.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxBrokers = 10;
constexpr Millis kLongestPause = std::chrono::hours(24 * 30);
constexpr std::uint64_t kSmallestSize = 1024;
constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 40;
constexpr std::int64_t kMostEntries = 10'000'000;

// One place that settings come from: the file, or the command line.
class Source {
 public:
  Source(const config::Node& node, config::Problems& problems, fs::path folder, Purpose purpose,
         std::set<std::string_view> overridden)
      : object_(node, "", problems),
        problems_(problems),
        folder_(std::move(folder)),
        purpose_(purpose),
        overridden_(std::move(overridden)) {}

  config::Object& object() { return object_; }
  // For a value inside of a list.
  void problem_at(const config::Node& node, std::string path, std::string why) {
    problems_.add(node.mark, std::move(path), std::move(why));
  }
  bool runs() const { return purpose_ == Purpose::kRun; }
  bool has(std::string_view name) {
    const config::Node* node = object_.child(name);
    return node != nullptr && node->kind != config::Node::Kind::kNull;
  }
  bool overridden(std::string_view name) const { return overridden_.contains(name); }

  // A text that `accepts`, or a problem that says `otherwise`.
  template <typename Accepts>
  void text(std::string_view name, std::string& target, Accepts accepts, std::string_view otherwise) {
    std::string value;
    if (!object_.optional(name, value)) return;
    if (accepts(value)) {
      target = std::move(value);
    } else {
      object_.problem(name, fmt::format("'{}': {}", value, otherwise));
    }
  }

  void pause(std::string_view name, Millis& target) {
    Millis value{};
    if (!object_.optional(name, value)) return;
    if (value >= Seconds(1) && value <= kLongestPause) {
      target = value;
    } else {
      object_.problem(name, "must lie between 1s and 30d");
    }
  }

  void size(std::string_view name, std::uint64_t& target) {
    std::string text;
    if (!object_.optional(name, text)) return;
    const auto value = parse_size(text);
    if (!value) return object_.problem(name, value.error().message);
    if (*value >= kSmallestSize && *value <= kLargestSize) {
      target = *value;
    } else {
      object_.problem(name, "must lie between 1KiB and 1TiB");
    }
  }

  // The absolute form of a path; empty if it was not given.
  fs::path path(std::string_view name) {
    std::string value;
    if (!object_.optional(name, value)) return {};
    if (value.empty()) {
      object_.problem(name, "is empty; leave it out instead");
      return {};
    }
    return (folder_ / value).lexically_normal();
  }

  void readable_file(std::string_view name, fs::path& target) {
    const fs::path file = path(name);
    if (file.empty()) return;
    if (runs() && !overridden(name)) {
      if (const auto content = read_file(file, 1024 * 1024); !content) object_.problem(name, content.error().message);
    }
    target = file;
  }

  // A secret written here (`inline_name`) or in a file of its own (`file_name`); not both.
  void secret(std::string_view inline_name, std::string_view file_name, std::optional<Secret>& target) {
    std::string value;
    const bool written = object_.optional(inline_name, value);
    const fs::path file = path(file_name);
    if (overridden(inline_name) || overridden(file_name)) {
      wipe(value);
      return;
    }
    if (written && !file.empty()) {
      object_.problem(file_name, fmt::format("give `{}` or `{}`, not both", inline_name, file_name));
    } else if (written) {
      if (value.empty()) {
        object_.problem(inline_name, "is empty");
      } else {
        target = Secret(value);
      }
    } else if (!file.empty() && runs()) {
      if (auto content = read_secret_file(file)) {
        target = std::move(*content);
      } else {
        object_.problem(file_name, content.error().message);
      }
    }
    wipe(value);
  }

 private:
  config::Object object_;
  config::Problems& problems_;
  fs::path folder_;
  Purpose purpose_;
  std::set<std::string_view> overridden_;
};

// What is being put together. The secrets are optional here to tell "not given" from "given wrongly".
struct Draft {
  Settings settings;
  std::optional<Secret> password;
};

bool is_username(std::string_view text) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  return !text.empty() && text.size() <= 256 && is_utf8(text) && std::none_of(text.begin(), text.end(), is_control);
}

bool is_interface(std::string_view text) {
  return !text.empty() && text.size() < 16 && text != "." && text != ".." && text.find('/') == std::string_view::npos;
}

// One URL, or several: a list, or on the command line a text with commas.
void read_broker_urls(Source& source, std::string_view name, Draft& draft) {
  std::vector<std::string> texts;
  const config::Node* node = source.object().child(name);
  const bool list = node != nullptr && node->kind == config::Node::Kind::kSequence;
  if (list) {
    if (!source.object().optional_list(name, texts)) return;
  } else {
    std::string value;
    if (!source.object().optional(name, value)) return;
    std::istringstream parts(value);
    for (std::string part; std::getline(parts, part, ',');) texts.push_back(part);
    if (texts.empty()) texts.push_back(value);
  }
  const auto problem = [&](std::size_t index, std::string why) {
    if (list) return source.problem_at(node->items[index], fmt::format("{}[{}]", name, index), std::move(why));
    source.object().problem(name, std::move(why));
  };
  if (texts.empty() || texts.size() > kMaxBrokers) {
    return source.object().problem(name, fmt::format("must be one URL or a list of 1 to {}", kMaxBrokers));
  }
  std::vector<mqtt::BrokerUrl> urls;
  bool good = true;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    auto url = mqtt::BrokerUrl::parse(texts[i]);
    const auto is_same = [&](const mqtt::BrokerUrl& other) { return other.str() == url->str(); };
    if (!url) {
      problem(i, url.error().message);
    } else if (std::any_of(urls.begin(), urls.end(), is_same)) {
      problem(i, fmt::format("{} is given twice", url->str()));
    } else {
      urls.push_back(std::move(*url));
      continue;
    }
    good = false;
  }
  if (good) draft.settings.broker_urls = std::move(urls);
}

void read_attempts(Source& source, std::string_view name, Draft& draft) {
  int value = 0;
  if (!source.object().optional(name, value)) return;
  if (value == -1 || value >= 1) {
    draft.settings.retry_max_attempts = value;
  } else {
    source.object().problem(name, "must be 1 or more, or -1 to try until it succeeds");
  }
}

void read_entries(Source& source, std::string_view name, Draft& draft) {
  std::int64_t value = 0;
  if (!source.object().optional(name, value)) return;
  if (value >= 1 && value <= kMostEntries) {
    draft.settings.package_max_entries = static_cast<std::uint64_t>(value);
  } else {
    source.object().problem(name, fmt::format("must lie between 1 and {}", kMostEntries));
  }
}

void read_hook(Source& source, std::string_view name, Draft& draft) {
  std::string value;
  if (!source.object().optional(name, value)) return;
  const fs::path hook(value);
  if (!hook.is_absolute()) {
    source.object().problem(name,
                            fmt::format("'{}': must be the absolute path of a program, without arguments", value));
    return;
  }
  struct stat status {};
  if (source.runs() && !source.overridden(name) &&
      (::stat(hook.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || ::access(hook.c_str(), X_OK) != 0)) {
    source.object().problem(name, fmt::format("'{}': no such program, or it is not executable", value));
    return;
  }
  draft.settings.hook = hook;
}

void read_log_level(Source& source, std::string_view name, Draft& draft) {
  std::string value;
  if (!source.object().optional(name, value)) return;
  if (const auto level = log::parse_level(value)) {
    draft.settings.log_level = *level;
  } else {
    source.object().problem(name, level.error().message);
  }
}

using Read = void (*)(Source&, std::string_view, Draft&);

struct Entry {
  SettingOption option;
  bool on_command_line;
  Read read;
};

// The second of a pair (password, password-file) is read together with the first.
void read_with_its_pair(Source&, std::string_view, Draft&) {}

constexpr auto kEntries = std::to_array<Entry>({
    {{"enabled", "BOOL", "try to provision (default true)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.object().optional(n, d.settings.enabled); }},
    {{"provisioned", "BOOL", "the device is provisioned already (default false)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.object().optional(n, d.settings.provisioned); }},
    {{"ca-authentication", "BOOL", "demand that the platform's chain ends in a trusted root (default true)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.object().optional(n, d.settings.ca_authentication); }},
    {{"broker-url", "URL[,URL…]", "the provision broker, e.g. mqtts://provision.example.com:8883; several: tried in turn"},
     true,
     read_broker_urls},
    {{"account-name", "NAME", "the provision account (default provision)"},
     true,
     [](Source& s, std::string_view n, Draft& d) {
       s.text(n, d.settings.account_name, protocol::is_account, "must be 1 to 64 of A-Z a-z 0-9 _ -");
     }},
    {{"username", "NAME", "the provision user (default MAC-serial)"},
     true,
     [](Source& s, std::string_view n, Draft& d) {
       s.text(n, d.settings.username, is_username, "must be 1 to 256 bytes of UTF-8 without control characters");
     }},
    {{"client-id", "ID", "the MQTT client id (default the main interface's MAC)"},
     true,
     [](Source& s, std::string_view n, Draft& d) {
       s.text(n, d.settings.client_id, protocol::is_client_id, "must be 1 to 64 of A-Z a-z 0-9 _ : @ = -");
     }},
    {{"password", "TEXT", "the provision user's password"},
     false,
     [](Source& s, std::string_view n, Draft& d) { s.secret(n, "password-file", d.password); }},
    {{"password-file", "FILE", "a file with the provision user's password, mode 0600"}, true, read_with_its_pair},
    {{"activation-key", "TEXT", "the activation key of the provision request"},
     false,
     [](Source& s, std::string_view n, Draft& d) { s.secret(n, "activation-key-file", d.settings.activation_key); }},
    {{"activation-key-file", "FILE", "a file with the activation key, mode 0600"}, true, read_with_its_pair},
    {{"timeout", "DURATION", "how long an attempt may take (default 120s)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.pause(n, d.settings.timeout); }},
    {{"retry-interval", "DURATION", "pause after a failed attempt, ±20 % (default 60s)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.pause(n, d.settings.retry_interval); }},
    {{"retry-max-attempts", "N", "failed attempts before giving up, -1: never (default -1)"}, true, read_attempts},
    {{"broker-ca-file", "FILE", "CAs of the provision broker, PEM (default platform-root-file, else the system's)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.readable_file(n, d.settings.broker_ca_file); }},
    {{"platform-root-file", "FILE", "roots of the platform's signing chain, PEM (default broker-ca-file)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.readable_file(n, d.settings.platform_root_file); }},
    {{"state-dir", "FOLDER", "where state, keys and configurations are kept (default /var/lib/provision-agent)"},
     true,
     [](Source& s, std::string_view n, Draft& d) {
       if (auto folder = s.path(n); !folder.empty()) d.settings.state_dir = std::move(folder);
     }},
    {{"interface", "NAME", "the network interface whose MAC names the device (default: found)"},
     true,
     [](Source& s, std::string_view n, Draft& d) {
       s.text(n, d.settings.interface, is_interface, "is not a network interface's name");
     }},
    {{"serial", "TEXT", "the device's serial number (default: found)"},
     true,
     [](Source& s, std::string_view n, Draft& d) {
       s.text(n, d.settings.serial, is_username, "must be 1 to 256 bytes of UTF-8 without control characters");
     }},
    {{"hook", "PROGRAM", "called with apply, rollback, provisioned or failed"}, true, read_hook},
    {{"package-allow-file", "BOOL", "packages may come from file: URIs too (default false)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.object().optional(n, d.settings.package_allow_file); }},
    {{"package-max-size", "SIZE", "the largest file of a package that is taken (default 256MiB)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.size(n, d.settings.package_max_size); }},
    {{"package-max-unpacked", "SIZE", "how much all files in a package may take together (default 1GiB)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.size(n, d.settings.package_max_unpacked); }},
    {{"package-max-entries", "N", "how many files and folders a package may have (default 20000)"}, true, read_entries},
    {{"owner-timeout", "DURATION", "how long the owner's broker may refuse before the platform is asked (default 15m)"},
     true,
     [](Source& s, std::string_view n, Draft& d) { s.pause(n, d.settings.owner_timeout); }},
    {{"log-level", "LEVEL", "debug, info, warn or error (default info)"}, true, read_log_level},
});

void read_all(Source& source, Draft& draft) {
  for (const Entry& entry : kEntries) {
    entry.read(source, entry.option.name, draft);
    // read_with_its_pair does not ask for its key if the pair's other half was a problem: make it known in any case
    source.object().child(entry.option.name);
  }
  source.object().finish();
}

config::Node to_node(const Overrides& overrides) {
  config::Node node;
  node.kind = config::Node::Kind::kMapping;
  for (const auto& [name, text] : overrides) {
    config::Node value;
    value.kind = config::Node::Kind::kScalar;
    value.text = text;
    node.entries.push_back({name, {}, std::move(value)});
  }
  return node;
}

// True if both halves of `name`'s source are missing everywhere.
bool missing(Source& file, Source& line, std::initializer_list<std::string_view> names) {
  return std::none_of(names.begin(), names.end(), [&](std::string_view n) { return file.has(n) || line.has(n); });
}

void check_complete(Source& file, Source& line, config::Problems& problems) {
  if (missing(file, line, {"broker-url"})) {
    problems.add({}, "broker-url", "must be given, e.g. mqtts://provision.example.com:8883");
  }
  if (missing(file, line, {"password", "password-file"})) {
    problems.add({}, "password-file", "must be given (or `password`): the password of the provision request");
  }
}

bool others_can_read(const fs::path& file) {
  struct stat status {};
  return ::stat(file.c_str(), &status) == 0 && (status.st_mode & 077) != 0;
}

std::vector<std::string> find_warnings(const fs::path& path, Source& file, const Settings& settings) {
  std::vector<std::string> warnings;
  if ((file.has("password") || file.has("activation-key")) && others_can_read(path)) {
    warnings.push_back(
        fmt::format("{0}: holds a secret that other users can read; run `chmod 600 {0}`", path.string()));
  }
  const auto is_open = [](const mqtt::BrokerUrl& url) { return url.scheme == mqtt::BrokerUrl::Scheme::kMqtt; };
  if (std::any_of(settings.broker_urls.begin(), settings.broker_urls.end(), is_open)) {
    warnings.push_back("broker-url: mqtt:// sends the password unprotected; use mqtts://");
  }
  if (!settings.ca_authentication) {
    warnings.push_back("ca-authentication: false: whoever answers first is taken for the platform");
  }
  return warnings;
}

}  // namespace

std::span<const SettingOption> setting_options() {
  static const std::vector<SettingOption> options = [] {
    std::vector<SettingOption> list;
    for (const Entry& entry : kEntries) {
      if (entry.on_command_line) list.push_back(entry.option);
    }
    return list;
  }();
  return options;
}

Result<LoadedSettings> load_settings(const fs::path& path, const Overrides& overrides, Purpose purpose) {
  config::Node file_node;
  file_node.kind = config::Node::Kind::kMapping;
  if (!path.empty()) {
    TRY_ASSIGN(Bytes text, read_file(path, 1024 * 1024));
    auto parsed = config::parse_yaml(text);
    wipe(text);
    if (!parsed) return fail(ErrorCode::kInvalidArgument, "{}:{}", path.string(), parsed.error().message);
    file_node = std::move(*parsed);
  }
  const config::Node line_node = to_node(overrides);

  std::error_code ignored;
  const fs::path working_folder = fs::current_path(ignored);
  std::set<std::string_view> overridden;
  for (const auto& [name, text] : overrides) overridden.insert(name);

  config::Problems file_problems(path.string());
  config::Problems line_problems("command line");
  Source file(file_node, file_problems, fs::absolute(path, ignored).parent_path(), purpose, std::move(overridden));
  Source line(line_node, line_problems, working_folder, purpose, {});
  Draft draft;
  read_all(file, draft);
  read_all(line, draft);

  Settings& settings = draft.settings;
  if (draft.password) settings.password = std::move(*draft.password);
  if (purpose == Purpose::kRun) {
    check_complete(file, line, file_problems);
    if (settings.ca_authentication && missing(file, line, {"platform-root-file", "broker-ca-file"})) {
      file_problems.add({}, "platform-root-file",
                        "must be given (or `broker-ca-file`), or the platform cannot be told from an impostor "
                        "(`ca-authentication: false` takes the first one that answers)");
    }
  }
  std::string message;
  for (const config::Problems* problems : {&file_problems, &line_problems}) {
    for (const config::Problem& problem : problems->list()) {
      if (!message.empty()) message += '\n';
      message += problem.str();
    }
  }
  if (!message.empty()) return fail(Error{ErrorCode::kInvalidArgument, std::move(message)});
  return LoadedSettings{settings, find_warnings(path, file, settings)};
}

}  // namespace fleet::agent
