#include "provisioner/service/settings.hpp"

#include <charconv>

#include "core/base/file.hpp"
#include "core/base/log.hpp"
#include "core/config/decoder.hpp"
#include "core/config/node.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::provisioner {

Result<ListenAddress> parse_listen_address(std::string_view text) {
  const auto bad = [&] {
    return fail(ErrorCode::kInvalidArgument, "'{}' is not ADDRESS:PORT; write it as 0.0.0.0:8883 or [::]:8883", text);
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view address = text.substr(0, colon);
  if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
    address = address.substr(1, address.size() - 2);
  } else if (address.find(':') != std::string_view::npos) {
    return bad();
  }
  // what is allowed here is written into mosquitto.conf
  if (address.empty() || address.find_first_not_of("0123456789abcdefABCDEF.:") != std::string_view::npos) return bad();
  const std::string_view digits = text.substr(colon + 1);
  int port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port < 1 || port > 65535) return bad();
  return ListenAddress{std::string(address), port};
}

namespace {

void read_listen(config::Object& object, std::string_view key, ListenAddress& target) {
  std::string text;
  if (!object.optional(key, text)) return;
  if (auto parsed = parse_listen_address(text)) {
    target = *parsed;
  } else {
    object.problem(key, parsed.error().message);
  }
}

void read_id(config::Object& object, std::string_view key, std::string& target) {
  if (object.optional(key, target) && !protocol::is_account(target)) {
    object.problem(key, "must be 1 to 64 of A-Z a-z 0-9 _ -");
  }
}

void read_broker(const config::Node& node, const std::string& path, config::Problems& problems, Settings& settings) {
  config::Object broker(node, path, problems);
  read_listen(broker, "listen", settings.listen);
  if (broker.child("plainListen") != nullptr) {
    ListenAddress plain;
    read_listen(broker, "plainListen", plain);
    if (plain.port != 0) settings.plain_listen = plain;
  }
  broker.optional("managed", settings.broker_managed);
  broker.optional("user", settings.broker_user);
  broker.optional("mosquitto", settings.mosquitto);
  std::string plugin;
  if (broker.optional("plugin", plugin)) settings.plugin = plugin;
  broker.finish();
}

void read_packages(const config::Node& node, const std::string& path, config::Problems& problems, Settings& settings) {
  config::Object packages(node, path, problems);
  read_listen(packages, "listen", settings.packages_listen);
  if (packages.optional("url", settings.packages_url)) {
    while (settings.packages_url.ends_with('/')) settings.packages_url.pop_back();
    if (!settings.packages_url.starts_with("https://") && !settings.packages_url.starts_with("http://")) {
      packages.problem("url", "must begin with https:// (or http://, behind a proxy of your own)");
    }
  }
  packages.finish();
}

void read_store(config::Object& object, Settings& settings) {
  if (object.optional("store", settings.store) && settings.store != "sqlite" && !settings.store.starts_with("postgresql://") &&
      !settings.store.starts_with("postgres://")) {
    object.problem("store", "must be sqlite, or the URL of a PostgreSQL database: postgresql://USER@HOST/DATABASE");
  }
  if (settings.store == "sqlite") settings.store.clear();
  if (object.optional("cell", settings.cell) && !protocol::is_account(settings.cell)) {
    object.problem("cell", "must be 1 to 64 of A-Z a-z 0-9 _ -");
  }
}

}  // namespace

Result<Settings> parse_settings(std::string_view yaml, const std::string& file) {
  auto node = config::parse_yaml(yaml);
  if (!node) return fail(with_context(std::move(node).error(), file));
  Settings settings;
  config::Problems problems(file);
  config::Object object(*node, "", problems);
  read_id(object, "account", settings.account);
  read_id(object, "provisionerId", settings.provisioner_id);
  read_store(object, settings);
  if (object.optional("logLevel", settings.log_level)) {
    if (auto level = log::parse_level(settings.log_level); !level) object.problem("logLevel", level.error().message);
  }
  if (const config::Node* broker = object.child("broker")) read_broker(*broker, object.path("broker"), problems, settings);
  if (const config::Node* packages = object.child("packages")) {
    read_packages(*packages, object.path("packages"), problems, settings);
  }
  object.finish();
  TRY(problems.result());
  return settings;
}

Result<Settings> load_settings(const std::filesystem::path& file) {
  TRY_ASSIGN(const std::string text, read_file(file, 1024 * 1024));
  return parse_settings(text, file.string());
}

}  // namespace fleet::provisioner
