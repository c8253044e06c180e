// The files of the provision broker's Mosquitto: its configuration, certificate and plugin, and who may read them. It is
// managed by the provisioner, or runs under another supervisor (broker.managed: false).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"

namespace fleet::provisioner {

// An IP address and a TCP port that the broker listens on.
struct BrokerListener {
  std::string address;
  int port = 0;
};

struct ManagedBrokerSettings {
  // DATA/broker: everything that the broker's user may read, and nothing else. Already holds `verifier.key`; the store
  // makes `admission.db` in it. No white space in the path, and short enough for a unix socket below it.
  std::filesystem::path folder;
  BrokerListener listen;                       // TLS
  std::optional<BrokerListener> plain_listen;  // off unless given
  std::string certificate_chain;               // PEM, leaf first
  Secret private_key;                          // PEM
  std::string account;
  std::string provisioner_id;
  std::filesystem::path plugin;         // provisioner_auth.so as built or installed; copied into `folder`
  std::string mosquitto = "mosquitto";  // a path, or a name looked up in PATH, /usr/sbin and /usr/local/sbin
  std::string user = "mosquitto";       // whom the broker runs as, if the provisioner runs as root

  std::filesystem::path configuration_file() const { return folder / "mosquitto.conf"; }
  std::filesystem::path admission_db() const { return folder / "admission.db"; }
  std::filesystem::path verifier_key_file() const { return folder / "verifier.key"; }
  // Where the provisioner connects. Entering its folder takes the broker's own user, or root.
  std::filesystem::path socket() const { return folder / "run" / "mqtt.sock"; }
};

// Whom the broker runs as: another user only when the provisioner is root.
struct BrokerUser {
  uid_t uid = 0;
  gid_t gid = 0;
  bool other = false;  // not the provisioner's own
};
// kNotFound if there is no such user.
Result<BrokerUser> broker_user(const ManagedBrokerSettings& settings);

// Makes `path`, an existing file in the folder, readable for the broker: 0640 and its group if it runs as another user,
// else 0600. For the store's admission.db: SQLite then gives -wal and -shm the same owner and mode.
Result<void> share_with_broker(const std::filesystem::path& path, const ManagedBrokerSettings& settings);

// Lays out the folder; safe to repeat. kInvalidArgument for a path that cannot work, kNotFound for a missing plugin,
// verifier key or user, kPermissionDenied if the broker's user cannot reach the folder.
Result<void> write_broker_files(const ManagedBrokerSettings& settings);

// The same for a Mosquitto under another supervisor: all but a configuration, which is broker_fragment(). True if
// something differs from what was there, so that a broker that runs must be started again to take it.
Result<bool> write_unmanaged_broker_files(const ManagedBrokerSettings& settings);

// What such a Mosquitto needs in its configuration: plugin, limits, listeners. Nothing that a configuration with which
// Debian's package comes has too, since Mosquitto takes many options only once.
std::string broker_fragment(const ManagedBrokerSettings& settings);

// The Mosquitto program, as an absolute path without links; kNotFound says what to install.
Result<std::filesystem::path> find_mosquitto(const ManagedBrokerSettings& settings);

}  // namespace fleet::provisioner
