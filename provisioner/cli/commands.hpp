// The commands behind the command line. Private to provisioner/cli.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/cli/output.hpp"
#include "provisioner/service/service.hpp"

namespace fleet::provisioner {

struct ApplyArguments {
  std::vector<std::string> sources;  // files, folders, or "-"
  bool dry_run = false;
  bool allow_weak = false;
  bool overwrite = false;
  std::filesystem::path secrets_out;  // empty: to stdout
  bool wait = false;                  // until nothing that was applied can move any more
  std::optional<Millis> timeout;      // of the wait
};

// Which requests a command is about.
struct Selection {
  std::vector<std::string> names;
  std::vector<std::string> labels;  // "name=value"
  std::vector<std::string> statuses;
  std::string search;
};

struct ListArguments {
  Selection selection;
  std::optional<std::size_t> limit;  // so many; none: as the format has it
  bool all = false;
  bool show_secrets = false;  // in manifests
};

struct CertificateArguments {
  std::string client_id;
  std::string expires_before;  // a time, or "30d" from now
  std::optional<std::size_t> limit;
  bool all = false;
};

struct WatchArguments {
  Selection selection;  // no statuses
  bool wait = false;
  std::optional<Millis> timeout;
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
Result<int> print_broker_config(const DataLayout& layout);
Result<int> renew_signing_leaf(const DataLayout& layout);
Result<int> renew_broker_leaf(const DataLayout& layout, const std::vector<std::string>& hosts);
Result<int> apply_documents(const DataLayout& layout, const ApplyArguments& arguments);
Result<int> get_requests(const DataLayout& layout, const ListArguments& arguments, OutputFormat format);
Result<int> get_profiles(const DataLayout& layout, const ListArguments& arguments, OutputFormat format);
Result<int> get_accounts(const DataLayout& layout, const ListArguments& arguments, OutputFormat format);
Result<int> get_certificates(const DataLayout& layout, const CertificateArguments& arguments, OutputFormat format);
Result<int> describe_request(const DataLayout& layout, const std::string& name, OutputFormat format);
Result<int> describe_certificate(const DataLayout& layout, const std::string& serial, bool only_pem,
                                 OutputFormat format);
// Until Ctrl-C ends the program, or `wait` is over.
Result<int> watch_requests(const DataLayout& layout, const WatchArguments& arguments, OutputFormat format);
// Shows how requests come on until each is COMPLETED or cannot be: 0, or see cli.hpp.
Result<int> wait_for_requests(const DataLayout& layout, std::vector<std::string> names, std::optional<Millis> timeout);
// `act`: "retry", "enable", "disable" or "delete". All are tried; names that there are not are told first.
Result<int> change_requests(const DataLayout& layout, const std::string& act, const std::vector<std::string>& names);
Result<int> show_audit(const DataLayout& layout, const AuditArguments& arguments, OutputFormat format);
Result<int> show_status(const DataLayout& layout, OutputFormat format);

}  // namespace fleet::provisioner
