// get: lists, page by page.
#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <sysexits.h>

#include <boost/json.hpp>

#include "core/base/bytes.hpp"
#include "core/config/node.hpp"
#include "provisioner/cli/advice.hpp"
#include "provisioner/cli/call.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/output.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

constexpr std::size_t kPage = 1000;
// So many rows a table has for a person who did not ask for more.
constexpr std::size_t kTableRows = 1000;
// Names go into an address, which has its limit.
constexpr std::size_t kNamesPerCall = 100;

// How many rows are still wanted.
class Quota {
 public:
  Quota(std::optional<std::size_t> limit, bool all, OutputFormat format)
      : left_(all ? std::nullopt : !limit && format == OutputFormat::kTable ? std::optional(kTableRows) : limit) {}

  std::size_t next_page() const { return left_ ? std::min(*left_, kPage) : kPage; }
  bool spent() const { return left_ && *left_ == 0; }
  void take(std::size_t rows) {
    if (left_) *left_ -= std::min(*left_, rows);
  }

 private:
  std::optional<std::size_t> left_;  // none: no limit
};

// What was shown of an answer, and behind what the next page begins; empty: that was the last one.
struct Page {
  std::size_t rows = 0;
  std::string next;
};
using ShowPage = std::function<Result<Page>(const std::string& body)>;

// What comes page by page from `target`, which holds a query ("/v1/requests?"), until the quota is spent. True if there
// is more. No more than a page is held at a time.
Result<bool> for_each_page(const DataLayout& layout, const std::string& target, Quota& quota,
                           const ShowPage& show) {
  std::string after;
  while (!quota.spent()) {
    const std::string page = fmt::format("{}limit={}{}", target, quota.next_page(),
                                         after.empty() ? "" : "&after=" + percent_encode(after));
    TRY_ASSIGN(const std::string body, ask_service(layout, "GET", page));
    TRY_ASSIGN(Page shown, show(body));
    quota.take(shown.rows);
    if (shown.next.empty()) return false;
    after = std::move(shown.next);
  }
  return true;
}

std::string query_of(const Selection& selection) {
  std::string query;
  for (const std::string& status : selection.statuses) query += "status=" + percent_encode(status) + "&";
  for (const std::string& label : selection.labels) query += "label=" + percent_encode(label) + "&";
  if (!selection.search.empty()) query += "search=" + percent_encode(selection.search) + "&";
  return query;
}

// The addresses that together bring what was selected: several if there are many names.
std::vector<std::string> targets_of(const std::string& path, const Selection& selection) {
  const std::string base = path + "?" + query_of(selection);
  if (selection.names.empty()) return {base};
  std::vector<std::string> names = selection.names;
  std::sort(names.begin(), names.end());
  std::vector<std::string> targets;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i % kNamesPerCall == 0) targets.push_back(base);
    targets.back() += "name=" + percent_encode(names[i]) + "&";
  }
  return targets;
}

// All pages of all addresses; tells a person if that was not all.
Result<void> fetch(const DataLayout& layout, const std::vector<std::string>& targets, Quota quota, OutputFormat format,
                   const ShowPage& show) {
  bool more = false;
  for (const std::string& target : targets) {
    TRY_ASSIGN(const bool rest, for_each_page(layout, target, quota, show));
    more = more || rest;
  }
  if (more && format == OutputFormat::kTable) print_error("there are more: --all shows them, --limit so many");
  return {};
}

Result<json::object> list_of(const std::string& body) {
  boost::system::error_code error;
  json::value answer = json::parse(body, error);
  if (error || !answer.is_object()) return fail(ErrorCode::kInternal, "the service answered what is no list");
  return std::move(answer.get_object());
}

// Documents that apply takes.
Result<Page> print_manifests(const std::string& body, std::set<std::string>& seen,
                                    const std::vector<std::string>& wanted) {
  TRY_ASSIGN(const config::Node answer, config::parse_json(body));
  const config::Node* const manifests = answer.find("manifests");
  if (manifests == nullptr) return fail(ErrorCode::kInternal, "the service answered what is no list of manifests");
  for (const config::Node& manifest : manifests->items) {
    const config::Node* const metadata = manifest.find("metadata");
    const config::Node* const name = metadata == nullptr ? nullptr : metadata->find("name");
    const std::string text = name == nullptr ? "" : name->text;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), text) == wanted.end()) continue;
    seen.insert(text);
    print("---\n" + config::to_yaml(manifest));
  }
  const config::Node* const next = answer.find("next");
  const bool has_next = next != nullptr && next->kind == config::Node::Kind::kScalar;
  return Page{manifests->items.size(), has_next ? next->text : std::string()};
}

// What is null there was hidden.
constexpr std::string_view kHiddenHint =
    "# Values of params and of Password properties are left out (null), and apply refuses them so: --show-secrets writes "
    "them.\n";

// Of requests, page by page.
Result<void> print_request_manifests(const DataLayout& layout, const ListArguments& arguments,
                                     std::set<std::string>& seen) {
  if (!arguments.show_secrets) print(kHiddenHint);
  std::vector<std::string> targets = targets_of("/v1/manifests/requests", arguments.selection);
  for (std::string& target : targets) target += arguments.show_secrets ? "secrets=true&" : "";
  return fetch(layout, targets, Quota(arguments.limit, arguments.all, OutputFormat::kYaml), OutputFormat::kYaml,
               [&](const std::string& body) { return print_manifests(body, seen, {}); });
}

// Exit code 65 if a name that was asked for is not there.
int report_missing(std::string_view kind, const std::vector<std::string>& wanted, const std::set<std::string>& seen,
                   const DataLayout& layout) {
  std::string missing;
  for (const std::string& name : wanted) {
    if (seen.count(name) == 0) missing += fmt::format("{}{} {}: no such {}", missing.empty() ? "" : "\n", kind, name, kind);
  }
  if (missing.empty()) return EX_OK;
  return complain({ErrorCode::kNotFound, missing}, EX_DATAERR,
                  fmt::format("`provisioner get {}s --data {}` lists all names", kind, layout.folder.string()));
}

// Whether the broker lets the device in, in a word.
std::string admission_word(const json::object& request, WallTime now) {
  if (!flag_at(request, "enabled")) return "disabled";
  if (const auto opens = parse_time(text_at(request, "activatesOn")); opens && *opens > now) return "not-yet";
  if (const auto closes = parse_time(text_at(request, "expiresOn")); closes && *closes <= now) return "expired";
  return "yes";
}

std::string joined(const json::array& list) {
  std::string text;
  for (const json::value& item : list) {
    if (!item.is_string()) continue;
    if (!text.empty()) text += ',';
    text += std::string_view(item.get_string());
  }
  return text;
}

// Those of the list with one of these names, or all if none is given.
json::array named(const json::array& list, const std::vector<std::string>& names, std::set<std::string>& seen) {
  json::array found;
  for (const json::value& value : list) {
    const std::string name = text_at(value.as_object(), "name");
    if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) continue;
    seen.insert(name);
    found.push_back(value);
  }
  return found;
}

// "2027-01-01", "2027-01-01T00:00:00Z", or "30d" from now.
Result<WallTime> time_or_from_now(const std::string& text) {
  if (auto time = parse_time(text)) return *time;
  if (auto span = parse_duration(text)) return wall_now() + *span;
  return fail(ErrorCode::kInvalidArgument, "'{}' is neither a time such as 2027-01-01 nor a time from now such as 30d",
              text);
}

}  // namespace

Result<int> get_requests(const DataLayout& layout, const ListArguments& arguments, OutputFormat format) {
  const Selection& selection = arguments.selection;
  std::set<std::string> seen;
  if (format == OutputFormat::kYaml) {
    TRY(print_request_manifests(layout, arguments, seen));
    return report_missing("request", selection.names, seen, layout);
  }
  ListPrinter list(format);
  TablePrinter table({"NAME", "STATUS", "ADMITTED", "FAILURES", "CLIENT ID", "PROFILE", "LABELS", "CHANGED"});
  std::size_t total = 0;
  const auto show = [&](const std::string& body) -> Result<Page> {
    TRY_ASSIGN(const json::object answer, list_of(body));
    const json::array& requests = array_at(answer, "requests");
    const WallTime now = wall_now();
    std::vector<std::vector<std::string>> rows;
    for (const json::value& value : requests) {
      const json::object& request = value.as_object();
      if (!selection.names.empty()) seen.insert(text_at(request, "name"));
      if (format == OutputFormat::kJson) {
        list.print(value);
        continue;
      }
      rows.push_back({text_at(request, "name"), text_at(request, "status"), admission_word(request, now),
                      text_at(request, "failures"), text_at(request, "clientId"), text_at(request, "profile"),
                      join_map(object_at(request, "labels")), age_of(text_at(request, "updatedAt"), now)});
    }
    if (!rows.empty()) table.print(rows);
    total += requests.size();
    return Page{requests.size(), text_at(answer, "next")};
  };
  TRY(fetch(layout, targets_of("/v1/requests", selection), Quota(arguments.limit, arguments.all, format), format, show));
  if (format == OutputFormat::kJson) list.finish();
  if (format == OutputFormat::kTable && total == 0 && selection.names.empty()) print_error("no requests");
  return report_missing("request", selection.names, seen, layout);
}

Result<int> get_certificates(const DataLayout& layout, const CertificateArguments& arguments, OutputFormat format) {
  std::string target = "/v1/certificates?";
  if (!arguments.client_id.empty()) target += "clientId=" + percent_encode(arguments.client_id) + "&";
  if (!arguments.expires_before.empty()) {
    TRY_ASSIGN(const WallTime before, time_or_from_now(arguments.expires_before));
    target += "expiresBefore=" + percent_encode(format_time(before)) + "&";
  }
  ListPrinter list(format);
  TablePrinter table({"SERIAL", "CLIENT ID", "REQUEST", "EXPIRES"});
  std::size_t total = 0;
  const auto show = [&](const std::string& body) -> Result<Page> {
    TRY_ASSIGN(const json::object answer, list_of(body));
    const json::array& certificates = array_at(answer, "certificates");
    const WallTime now = wall_now();
    std::vector<std::vector<std::string>> rows;
    for (const json::value& value : certificates) {
      const json::object& certificate = value.as_object();
      if (format != OutputFormat::kTable) {
        list.print(value);
        continue;
      }
      rows.push_back({text_at(certificate, "serial"), text_at(certificate, "clientId"), text_at(certificate, "request"),
                      with_age(text_at(certificate, "notAfter"), now)});
    }
    if (!rows.empty()) table.print(rows);
    total += certificates.size();
    return Page{certificates.size(), text_at(answer, "next")};
  };
  TRY(fetch(layout, {target}, Quota(arguments.limit, arguments.all, format), format, show));
  if (format != OutputFormat::kTable) list.finish();
  if (format == OutputFormat::kTable && total == 0) print_error("no certificates");
  return EX_OK;
}

Result<int> get_profiles(const DataLayout& layout, const ListArguments& arguments, OutputFormat format) {
  const std::vector<std::string>& names = arguments.selection.names;
  std::set<std::string> seen;
  if (format == OutputFormat::kYaml) {
    if (!arguments.show_secrets) print(kHiddenHint);
    const std::string query = arguments.show_secrets ? "?secrets=true" : "";
    TRY_ASSIGN(const std::string body, ask_service(layout, "GET", "/v1/manifests/profiles" + query));
    TRY(print_manifests(body, seen, names));
    return report_missing("profile", names, seen, layout);
  }
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", "/v1/profiles"));
  const json::array profiles = named(array_at(answer, "profiles"), names, seen);
  if (format == OutputFormat::kJson) {
    print_list(profiles, format);
    return report_missing("profile", names, seen, layout);
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : profiles) {
    const json::object& profile = value.as_object();
    rows.push_back({text_at(profile, "name"), text_at(profile, "account"), text_at(profile, "certificateValidity"),
                    text_at(profile, "retryMaxAttempts"), text_at(profile, "attemptTimeout"),
                    joined(array_at(profile, "components"))});
  }
  print_table({"NAME", "ACCOUNT", "VALIDITY", "RETRIES", "TIMEOUT", "COMPONENTS"}, rows);
  return report_missing("profile", names, seen, layout);
}

Result<int> get_accounts(const DataLayout& layout, const ListArguments& arguments, OutputFormat format) {
  const std::vector<std::string>& names = arguments.selection.names;
  std::set<std::string> seen;
  if (format == OutputFormat::kYaml) {
    TRY_ASSIGN(const std::string body, ask_service(layout, "GET", "/v1/manifests/accounts"));
    TRY(print_manifests(body, seen, names));
    return report_missing("account", names, seen, layout);
  }
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", "/v1/accounts"));
  const json::array accounts = named(array_at(answer, "accounts"), names, seen);
  if (format == OutputFormat::kJson) {
    print_list(accounts, format);
    return report_missing("account", names, seen, layout);
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : accounts) {
    const json::object& account = value.as_object();
    rows.push_back({text_at(account, "name"), text_at(account, "brokerUrl"), text_at(account, "credentials"),
                    text_at(account, "caCertificates")});
  }
  print_table({"NAME", "BROKER", "CREDENTIALS", "CAS"}, rows);
  return report_missing("account", names, seen, layout);
}

}  // namespace fleet::provisioner
