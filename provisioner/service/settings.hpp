// The provisioner's settings: DATA/provisioner.yaml, one immutable struct.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"

namespace fleet::provisioner {

inline constexpr std::string_view kDefaultDataFolder = "/var/lib/provisioner";

// Where everything lies below the data folder.
struct DataLayout {
  std::filesystem::path folder;
  std::filesystem::path settings() const { return folder / "provisioner.yaml"; }
  std::filesystem::path pki() const { return folder / "pki"; }
  std::filesystem::path database() const { return folder / "provisioner.db"; }
  std::filesystem::path lock() const { return folder / "provisioner.lock"; }
  std::filesystem::path admin_socket() const { return folder / "admin.sock"; }
  std::filesystem::path packages() const { return folder / "packages"; }
  std::filesystem::path packages_key() const { return folder / "packages.key"; }
  // Everything that the broker's user may read, and nothing else.
  std::filesystem::path broker() const { return folder / "broker"; }
  std::filesystem::path admission() const { return broker() / "admission.db"; }
  std::filesystem::path verifier_key() const { return broker() / "verifier.key"; }
};

struct ListenAddress {
  std::string address;  // IP address
  int port = 0;         // 1..65535
};

// "0.0.0.0:8883", "[::]:8883"; kInvalidArgument otherwise.
Result<ListenAddress> parse_listen_address(std::string_view text);

struct Settings {
  std::string account = "provision";
  std::string provisioner_id = "provisioner";
  ListenAddress listen{"0.0.0.0", 8883};
  std::optional<ListenAddress> plain_listen;  // off unless given
  bool broker_managed = true;                 // false: another supervisor runs the Mosquitto, on this host
  std::string broker_user = "mosquitto";      // when started as root
  std::string mosquitto = "mosquitto";        // looked up in PATH, /usr/sbin, /usr/local/sbin
  std::filesystem::path plugin;               // empty: ../lib/provisioner_auth.so beside the program
  std::string log_level = "info";
  std::string store;  // postgresql://… of the database that cells share; empty: SQLite in the data folder
  std::string cell;   // this cell's name among them; empty: the host's
  ListenAddress packages_listen{"0.0.0.0", 8885};  // HTTPS, once a profile or request has a package with a file
  std::string packages_url;  // how devices reach it; empty: https://, the broker certificate's first host, and the port
};

// All problems at once, each with file:line:column and the nearest key.
Result<Settings> parse_settings(std::string_view yaml, const std::string& file);
Result<Settings> load_settings(const std::filesystem::path& file);

}  // namespace fleet::provisioner
