// The two places that an identity is read from. Private to agent/identity.
#pragma once

#include "agent/identity/identity.hpp"

namespace fleet::agent {

// The main interface and its MAC; see identify(). kInvalidArgument names the setting to give.
struct MainInterface {
  Found name;
  Found mac;
};
Result<MainInterface> find_interface(std::string_view wanted, const std::filesystem::path& root);

// The first serial that is not junk. kInvalidArgument lists what was seen.
Result<Found> find_serial(const std::filesystem::path& root);

// The content of a small file of the kernel, trimmed of white space and NULs at both ends; empty if it cannot be read.
std::string read_fact(const std::filesystem::path& file);

}  // namespace fleet::agent
