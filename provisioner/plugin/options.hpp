// The plugin's settings: the `plugin_opt_…` lines of mosquitto.conf.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/result.hpp"

namespace fleet::provisioner::plugin {

// mode provision: the broker that devices are provisioned on (edc §1).
struct ProvisionOptions {
  std::string account;            // {acc}
  std::string provisioner_id;     // reserved client id
  std::string admission_db;       // path of the admission projection
  std::string verifier_key_file;  // 32 raw bytes
  std::string local_socket;       // path of the unix socket listener, exactly as in `listener 0 PATH`
};

// mode owner: the broker of an owner account (edc §5), with certificates or passwords as credentials.
struct OwnerOptions {
  std::string account;
  bool strict = true;        // `credentials strict`: the certificate's CN, or the password, is bound to the client id
  std::string password_db;   // path of the password projection; empty: certificates
  std::string local_socket;  // may be empty: nobody has full rights then
};

using Options = std::variant<ProvisionOptions, OwnerOptions>;
using OptionList = std::vector<std::pair<std::string_view, std::string_view>>;

// kInvalidArgument, naming every option that is unknown, missing, given twice or malformed.
Result<Options> parse_options(const OptionList& list);

}  // namespace fleet::provisioner::plugin
