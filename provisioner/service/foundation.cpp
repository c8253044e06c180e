#include "provisioner/service/foundation.hpp"

#include <system_error>

#include "core/base/file.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;
namespace {

Result<fs::path> find_plugin(const Settings& settings) {
  std::error_code error;
  fs::path plugin = settings.plugin;
  if (plugin.empty()) {
    const fs::path program = fs::read_symlink("/proc/self/exe", error);
    plugin = program.parent_path().parent_path() / "lib" / "provisioner_auth.so";
  }
  if (!fs::exists(plugin, error)) {
    return fail(ErrorCode::kNotFound, "{}: the broker's plugin is not there; name it as broker.plugin in the settings",
                plugin.string());
  }
  return plugin;
}

// Empty: there is no host that devices could get packages from.
std::string packages_url(const Settings& settings, const Pki& pki) {
  if (!settings.packages_url.empty()) return settings.packages_url;
  const std::vector<std::string> hosts = pki.broker.host_names();
  return hosts.empty() ? "" : packages_url_of(hosts.front(), settings.packages_listen.port);
}

}  // namespace

std::string packages_url_of(const std::string& host, int port) {
  const bool ipv6 = host.find(':') != std::string::npos;
  return ipv6 ? fmt::format("https://[{}]:{}", host, port) : fmt::format("https://{}:{}", host, port);
}

Result<Foundation> load_foundation(const DataLayout& layout) {
  std::error_code error;
  if (!fs::exists(layout.settings(), error)) {
    return fail(ErrorCode::kNotFound, "{}: not there; make a data folder with: provisioner init --data {} --host NAME",
                layout.settings().string(), layout.folder.string());
  }
  TRY_ASSIGN(Settings settings, load_settings(layout.settings()));
  TRY_ASSIGN(Pki pki, load_pki(layout.pki(), wall_now()));
  TRY_ASSIGN(Bytes verifier_key, read_file(layout.verifier_key(), 1024));
  if (verifier_key.size() != 32) {
    return fail(ErrorCode::kCorrupt, "{}: must hold 32 bytes, has {}; restore it from a backup: without it no password fits",
                layout.verifier_key().string(), verifier_key.size());
  }
  ManagedBrokerSettings broker;
  broker.folder = layout.broker();
  broker.listen = {settings.listen.address, settings.listen.port};
  if (settings.plain_listen) broker.plain_listen = BrokerListener{settings.plain_listen->address, settings.plain_listen->port};
  broker.certificate_chain = pki.broker_chain_pem;
  broker.private_key = pki.broker_key_pem;
  broker.account = settings.account;
  broker.provisioner_id = settings.provisioner_id;
  TRY_ASSIGN(broker.plugin, find_plugin(settings));
  broker.mosquitto = settings.mosquitto;
  broker.user = settings.broker_user;
  if (settings.broker_managed) TRY(find_mosquitto(broker));
  TRY(broker_user(broker));
  std::string url = packages_url(settings, pki);
  return Foundation{std::move(settings), std::move(pki), std::move(verifier_key), std::move(broker), std::move(url)};
}

}  // namespace fleet::provisioner
