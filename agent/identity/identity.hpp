// Who the device is (edc §1): client id and username, by hand or from the main interface's MAC and the machine's
// serial.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/base/result.hpp"

namespace fleet::agent {

// A fact and where it came from: "setting `serial`", "/sys/class/net/eth0/address". Both empty: not known, not needed.
struct Found {
  std::string value;
  std::string source;
};

struct Identity {
  Found interface;  // name of the main network interface
  Found mac;        // upper case, no colons: "0050C2A1B2C3"
  Found serial;
  Found client_id;
  Found username;
};

// What the settings fix; empty: find out.
struct IdentityInput {
  std::string interface = {};
  std::string serial = {};
  std::string client_id = {};
  std::string username = {};
};

// The device's names. MAC and serial are demanded only as far as a name is made of them. Main interface: the one given;
// else that of the default route if it is a physical one; else the first physical one (a device behind it, a permanent
// address); else the first that is not the loopback. Serial: the one given; else device tree; else DMI product, then
// board. Factory junk ("To Be Filled By O.E.M.", all zeros, …) is no serial. `/ + # .` become `-`. kInvalidArgument
// says which setting to give. `root` stands in for "/" in tests; reads below its sys/ and proc/ only.
Result<Identity> identify(const IdentityInput& input, const std::filesystem::path& root = "/");

// True if `serial` is one of the fillers that manufacturers leave behind.
bool is_junk_serial(std::string_view serial);

}  // namespace fleet::agent
