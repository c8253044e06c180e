// The commands behind the command line. Private to provisioner/cli.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/base/result.hpp"
#include "provisioner/service/service.hpp"

namespace fleet::provisioner {

enum class OutputFormat { kTable, kJson };

struct ApplyArguments {
  std::vector<std::string> sources;  // files, folders, or "-"
  bool dry_run = false;
  bool allow_weak = false;
  std::filesystem::path secrets_out;  // empty: to stdout
};

struct ListArguments {
  std::string status;
  std::vector<std::string> labels;  // "name=value"
  std::string text;
};

struct AuditArguments {
  std::string since;  // a duration, "" for all
  std::string client_id, kind;
  std::size_t limit = 100;
};

// Each returns the exit code of what is no error of the program itself (see cli.hpp). They print to stdout; problems of
// documents and of single requests go to stderr as they are found.
Result<int> run_init(const InitOptions& options);
Result<int> run_service(const DataLayout& layout, bool only_check);
Result<int> renew_signing_leaf(const DataLayout& layout);
Result<int> renew_broker_leaf(const DataLayout& layout, const std::vector<std::string>& hosts);
Result<int> apply_documents(const DataLayout& layout, const ApplyArguments& arguments);
Result<int> get_requests(const DataLayout& layout, const ListArguments& arguments, OutputFormat format);
Result<int> get_profiles(const DataLayout& layout, OutputFormat format);
Result<int> get_accounts(const DataLayout& layout, OutputFormat format);
Result<int> describe_request(const DataLayout& layout, const std::string& name, OutputFormat format);
// `act`: "retry", "enable", "disable" or "delete". All are tried; names that there are not are told first.
Result<int> change_requests(const DataLayout& layout, const std::string& act, const std::vector<std::string>& names);
Result<int> show_audit(const DataLayout& layout, const AuditArguments& arguments, OutputFormat format);
Result<int> show_status(const DataLayout& layout, OutputFormat format);

}  // namespace fleet::provisioner
