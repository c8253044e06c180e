#include "provisioner/plugin/options.hpp"

#include <algorithm>
#include <map>

#include "core/protocol/topic.hpp"

namespace fleet::provisioner::plugin {
namespace {

// Takes options out by name and collects everything that is wrong, so that one start shows all of it.
class Reader {
 public:
  explicit Reader(const OptionList& list) {
    for (const auto& [key, value] : list) {
      if (!values_.emplace(key, value).second) complain("{}: given twice", key);
    }
  }

  std::string optional(std::string_view key) {
    const auto found = values_.find(key);
    if (found == values_.end()) return {};
    std::string value(found->second);
    values_.erase(found);
    return value;
  }

  std::string required(std::string_view key) {
    std::string value = optional(key);
    if (value.empty()) complain("{}: missing", key);
    return value;
  }

  std::string name(std::string_view key) {
    std::string value = required(key);
    if (!value.empty() && !protocol::is_account(value)) {
      complain("{}: must have the form [A-Za-z0-9_-]{{1,64}}", key);
    }
    return value;
  }

  template <typename... Args>
  void complain(fmt::format_string<Args...> format, Args&&... args) {
    if (!complaints_.empty()) complaints_ += "; ";
    complaints_ += "plugin_opt_" + fmt::format(format, std::forward<Args>(args)...);
  }

  Result<void> finish() {
    for (const auto& [key, value] : values_) complain("{}: no such option in this mode", key);
    if (!complaints_.empty()) return fail(ErrorCode::kInvalidArgument, "{}", complaints_);
    return {};
  }

 private:
  std::map<std::string_view, std::string_view> values_;
  std::string complaints_;
};

}  // namespace

Result<Options> parse_options(const OptionList& list) {
  Reader reader(list);
  const std::string mode = reader.required("mode");
  if (mode == "provision") {
    ProvisionOptions options;
    options.account = reader.name("account");
    options.provisioner_id = reader.name("provisioner_id");
    options.admission_db = reader.required("admission_db");
    options.verifier_key_file = reader.required("verifier_key_file");
    options.local_socket = reader.required("local_socket");
    TRY(reader.finish());
    return options;
  }
  if (mode == "owner") {
    OwnerOptions options;
    options.account = reader.name("account");
    const std::string credentials = reader.required("credentials");
    if (!credentials.empty() && credentials != "strict" && credentials != "loose") {
      reader.complain("credentials: must be strict or loose");
    }
    options.strict = credentials != "loose";
    options.password_db = reader.optional("password_db");
    options.local_socket = reader.optional("local_socket");
    TRY(reader.finish());
    return options;
  }
  return fail(ErrorCode::kInvalidArgument, "plugin_opt_mode: must be provision or owner");
}

}  // namespace fleet::provisioner::plugin
