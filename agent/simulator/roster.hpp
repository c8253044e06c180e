// The devices of a fleet as the operator's tool writes them down: the file of `provisioner apply --secrets-out`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"

namespace fleet::agent {

struct RosterEntry {
  std::string name;
  std::string client_id;
  std::string username;
  Secret password;
  std::optional<Secret> activation_key;
};

// CSV (RFC 4180) whose first line names the columns: name, clientId, username, password and, if there are any,
// activationKey; others are ignored. kMalformed names the line; kInvalidArgument for a device that comes twice.
Result<std::vector<RosterEntry>> parse_roster(std::string_view csv);
Result<std::vector<RosterEntry>> read_roster(const std::filesystem::path& file);

}  // namespace fleet::agent
