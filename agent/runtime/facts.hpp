// What the device tells about itself in PROV and BIRTH (edc §4.1, §5).
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "agent/identity/identity.hpp"

namespace fleet::agent {

// The BIRTH metrics that do not change while the agent runs, all texts; what the machine does not know is "".
std::map<std::string, std::string> device_facts(const Identity& identity, const std::filesystem::path& root = "/");

// Milliseconds since the machine started, as text.
std::string uptime_millis();

// The address of a network interface, IPv4 before IPv6; "" if it has none. An empty name: of the first one that is up
// and not the loopback.
std::string interface_address(const std::string& interface);

}  // namespace fleet::agent
