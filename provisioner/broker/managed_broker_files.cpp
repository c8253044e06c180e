#include "provisioner/broker/managed_broker_files.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <pwd.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

#include "core/base/file.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxPluginSize = 256 * 1024 * 1024;  // a debug build is large
constexpr mode_t kSharedFile = 0640;
constexpr mode_t kSharedFolder = 0750;

// The limits are explained where they were measured: max_packet_size also keeps a huge CONNECT from being buffered; the
// two zeros keep Mosquitto from silently dropping or stalling the provisioner's queue in a storm; without
// set_tcp_nodelay a TLS 1.3 connect takes 43 ms. The unix socket comes last, so when it answers the other listeners are
// open too.
constexpr std::string_view kCommon = R"conf(user {user}
per_listener_settings false
allow_anonymous false
allow_zero_length_clientid false

plugin {folder}/provisioner_auth.so
plugin_opt_mode provision
plugin_opt_account {account}
plugin_opt_provisioner_id {provisioner_id}
plugin_opt_admission_db {admission_db}
plugin_opt_verifier_key_file {verifier_key}
plugin_opt_local_socket {socket}

max_packet_size 1048576
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
)conf";

constexpr std::string_view kListeners = R"conf(
listener {port} {address}
certfile {folder}/chain.pem
keyfile {folder}/key.pem
tls_version tlsv1.2
{plain}
listener 0 {socket}
)conf";

constexpr std::string_view kManagedHead = "# Written by the provisioner at each start: changes here are lost.\n";
constexpr std::string_view kManagedOnly = R"conf(
persistence true
persistence_location {folder}/run/
autosave_interval 60
persistent_client_expiration 7d

log_dest stderr
log_timestamp false
log_type error
log_type warning
log_type notice
connection_messages false
sys_interval 10
)conf";

constexpr std::string_view kFragmentHead =
    R"conf(# For a Mosquitto 2.0 that another supervisor runs on this host (broker.managed: false), made by
# `provisioner broker-config`: a file in its include_dir, or all of its configuration. This Mosquitto serves provisioning
# alone: the plugin judges whoever connects, on whatever listener. Persistence and logging are as you like them.
# The files that are named here are laid out by `provisioner serve`: start it first. After an upgrade, after `provisioner
# renew broker` and after a change of its settings, start it again, and then this Mosquitto.
)conf";

Result<void> check_path(const ManagedBrokerSettings& settings) {
  const std::string folder = settings.folder.string();
  if (!settings.folder.is_absolute()) {
    return fail(ErrorCode::kInvalidArgument, "{}: the broker's folder must be an absolute path", folder);
  }
  for (const char c : folder) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) {
      return fail(ErrorCode::kInvalidArgument,
                  "{}: Mosquitto takes no white space in paths: choose another data folder", folder);
    }
  }
  constexpr std::size_t limit = sizeof(sockaddr_un::sun_path) - 1;
  if (const std::size_t size = settings.socket().string().size(); size > limit) {
    return fail(ErrorCode::kInvalidArgument,
                "{}: too long for a unix socket by {} bytes: choose a data folder with a shorter path",
                settings.socket().string(), size - limit);
  }
  return {};
}

// The broker's user must be able to pass through every folder above its own.
Result<void> check_reachable(const ManagedBrokerSettings& settings, const BrokerUser& user) {
  for (fs::path path = settings.folder.parent_path();; path = path.parent_path()) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return fail(errno_error(errno, path.string()));
    mode_t needed = S_IXOTH;
    if (info.st_gid == user.gid) needed = S_IXGRP;
    if (info.st_uid == user.uid) needed = S_IXUSR;
    if ((info.st_mode & needed) == 0) {
      return fail(ErrorCode::kPermissionDenied, "{}: the broker's user {} cannot pass through it: chmod a+x {}",
                  path.string(), settings.user, path.string());
    }
    if (path == path.root_path()) return {};
  }
}

Result<void> give(const fs::path& path, uid_t uid, gid_t gid, mode_t mode) {
  if (::chown(path.c_str(), uid, gid) != 0 || ::chmod(path.c_str(), mode) != 0) {
    return fail(errno_error(errno, path.string()));
  }
  return {};
}

Result<void> make_folders(const ManagedBrokerSettings& settings, const BrokerUser& user) {
  const fs::path run = settings.socket().parent_path();
  TRY(make_folder(settings.folder, user.other ? kSharedFolder : kPrivateFolder));
  if (user.other) {
    TRY(give(settings.folder, ::geteuid(), user.gid, kSharedFolder));
    TRY(check_reachable(settings, user));
  }
  TRY(make_folder(run, kPrivateFolder));
  if (user.other) TRY(give(run, user.uid, user.gid, kPrivateFolder));
  return {};
}

Result<void> install(const ManagedBrokerSettings& settings, const char* name, std::string_view bytes) {
  TRY(write_file(settings.folder / name, bytes, kPrivateFile));
  return share_with_broker(settings.folder / name, settings);
}

std::string fill(std::string_view text, const ManagedBrokerSettings& settings, const std::string& user) {
  using namespace fmt::literals;
  const std::string plain = settings.plain_listen ? fmt::format("\nlistener {} {}\n", settings.plain_listen->port,
                                                                settings.plain_listen->address)
                                                  : "";
  return fmt::format(fmt::runtime(text), "user"_a = user, "folder"_a = settings.folder.string(),
                     "account"_a = settings.account, "provisioner_id"_a = settings.provisioner_id,
                     "admission_db"_a = settings.admission_db().string(),
                     "verifier_key"_a = settings.verifier_key_file().string(), "socket"_a = settings.socket().string(),
                     "port"_a = settings.listen.port, "address"_a = settings.listen.address, "plain"_a = plain);
}

std::string configuration(const ManagedBrokerSettings& settings) {
  std::string text(kManagedHead);
  for (const std::string_view part : {kCommon, kManagedOnly, kListeners}) text += fill(part, settings, settings.user);
  return text;
}

// As whom the other supervisor must run its Mosquitto, so that it may read our files and we may reach its socket.
std::string user_of_fragment(const ManagedBrokerSettings& settings) {
  if (::geteuid() == 0) return settings.user;
  std::array<char, 16384> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(::geteuid(), &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? settings.user : found->pw_name;
}

Result<bool> install_if_other(const ManagedBrokerSettings& settings, const char* name, std::string_view bytes) {
  const auto there = read_file(settings.folder / name, kMaxPluginSize);
  const bool other = !there || *there != bytes;
  TRY(install(settings, name, bytes));
  return other;
}

}  // namespace

Result<BrokerUser> broker_user(const ManagedBrokerSettings& settings) {
  if (::geteuid() != 0) return BrokerUser{::geteuid(), ::getegid(), false};
  std::array<char, 16384> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  ::getpwnam_r(settings.user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    return fail(ErrorCode::kNotFound, "broker user {}: no such user: install the package mosquitto, or set another one",
                settings.user);
  }
  return BrokerUser{found->pw_uid, found->pw_gid, found->pw_uid != 0};
}

Result<void> share_with_broker(const fs::path& path, const ManagedBrokerSettings& settings) {
  TRY_ASSIGN(const BrokerUser user, broker_user(settings));
  if (user.other) return give(path, ::geteuid(), user.gid, kSharedFile);
  if (::chmod(path.c_str(), kPrivateFile) != 0) return fail(errno_error(errno, path.string()));
  return {};
}

Result<void> write_broker_files(const ManagedBrokerSettings& settings) {
  TRY(check_path(settings));
  TRY_ASSIGN(const BrokerUser user, broker_user(settings));
  TRY(make_folders(settings, user));
  TRY_ASSIGN(const Bytes plugin, read_file(settings.plugin, kMaxPluginSize));
  TRY(install(settings, "provisioner_auth.so", plugin));
  TRY(install(settings, "chain.pem", settings.certificate_chain));
  TRY(install(settings, "key.pem", settings.private_key.reveal()));
  TRY(install(settings, "mosquitto.conf", configuration(settings)));
  return share_with_broker(settings.verifier_key_file(), settings);
}

Result<bool> write_unmanaged_broker_files(const ManagedBrokerSettings& settings) {
  TRY(check_path(settings));
  TRY_ASSIGN(const BrokerUser user, broker_user(settings));
  TRY(make_folders(settings, user));
  TRY_ASSIGN(const Bytes plugin, read_file(settings.plugin, kMaxPluginSize));
  TRY_ASSIGN(const bool other_plugin, install_if_other(settings, "provisioner_auth.so", plugin));
  TRY_ASSIGN(const bool other_chain, install_if_other(settings, "chain.pem", settings.certificate_chain));
  TRY_ASSIGN(const bool other_key, install_if_other(settings, "key.pem", settings.private_key.reveal()));
  TRY(share_with_broker(settings.verifier_key_file(), settings));
  return other_plugin || other_chain || other_key;
}

std::string broker_fragment(const ManagedBrokerSettings& settings) {
  const std::string user = user_of_fragment(settings);
  return std::string(kFragmentHead) + fill(kCommon, settings, user) + fill(kListeners, settings, user);
}

Result<fs::path> find_mosquitto(const ManagedBrokerSettings& settings) {
  std::vector<fs::path> candidates;
  if (settings.mosquitto.find('/') != std::string::npos) {
    candidates.emplace_back(settings.mosquitto);
  } else {
    const char* const path = std::getenv("PATH");
    std::istringstream folders(std::string(path != nullptr ? path : "") + ":/usr/sbin:/usr/local/sbin");
    for (std::string folder; std::getline(folders, folder, ':');) {
      if (folder.starts_with('/')) candidates.push_back(fs::path(folder) / settings.mosquitto);
    }
  }
  for (const fs::path& candidate : candidates) {
    std::error_code error;  // a folder of PATH that we may not enter is one without it
    if (!fs::is_regular_file(candidate, error) || ::access(candidate.c_str(), X_OK) != 0) continue;
    fs::path program = fs::canonical(candidate, error);
    if (!error) return program;
  }
  return fail(ErrorCode::kNotFound, "{}: no such program: install the package mosquitto", settings.mosquitto);
}

}  // namespace fleet::provisioner
