// get, status, and what changes requests by name.
#include <sysexits.h>

#include <boost/json.hpp>

#include "core/base/bytes.hpp"
#include "provisioner/cli/advice.hpp"
#include "provisioner/cli/call.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/output.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

// All pages of a list of requests.
Result<json::array> fetch_requests(const DataLayout& layout, const ListArguments& arguments) {
  std::string filter;
  if (!arguments.status.empty()) filter += "&status=" + percent_encode(arguments.status);
  for (const std::string& label : arguments.labels) filter += "&label=" + percent_encode(label);
  if (!arguments.text.empty()) filter += "&text=" + percent_encode(arguments.text);
  json::array all;
  std::string after;
  do {
    TRY_ASSIGN(const json::object page, call_service(layout, "GET",
                                                     "/v1/requests?limit=1000" + filter +
                                                         (after.empty() ? "" : "&after=" + percent_encode(after))));
    const json::array& requests = array_at(page, "requests");
    all.insert(all.end(), requests.begin(), requests.end());
    after = text_at(page, "next");
  } while (!after.empty());
  return all;
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

}  // namespace

Result<int> get_requests(const DataLayout& layout, const ListArguments& arguments, OutputFormat format) {
  TRY_ASSIGN(const json::array requests, fetch_requests(layout, arguments));
  if (format == OutputFormat::kJson) {
    print_json_lines(requests);
    return EX_OK;
  }
  if (requests.empty()) {
    print_error("no requests");
    return EX_OK;
  }
  const WallTime now = wall_now();
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : requests) {
    const json::object& request = value.as_object();
    rows.push_back({text_at(request, "name"), text_at(request, "status"), admission_word(request, now),
                    text_at(request, "failures"), text_at(request, "clientId"), text_at(request, "profile"),
                    join_map(object_at(request, "labels")), age_of(text_at(request, "updatedAt"), now)});
  }
  print_table({"NAME", "STATUS", "ADMITTED", "FAILURES", "CLIENT ID", "PROFILE", "LABELS", "CHANGED"}, rows);
  return EX_OK;
}

Result<int> get_profiles(const DataLayout& layout, OutputFormat format) {
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", "/v1/profiles"));
  const json::array& profiles = array_at(answer, "profiles");
  if (format == OutputFormat::kJson) {
    print_json_lines(profiles);
    return EX_OK;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : profiles) {
    const json::object& profile = value.as_object();
    rows.push_back({text_at(profile, "name"), text_at(profile, "account"), text_at(profile, "certificateValidity"),
                    text_at(profile, "retryMaxAttempts"), text_at(profile, "attemptTimeout"),
                    joined(array_at(profile, "components"))});
  }
  print_table({"NAME", "ACCOUNT", "VALIDITY", "RETRIES", "TIMEOUT", "COMPONENTS"}, rows);
  return EX_OK;
}

Result<int> get_accounts(const DataLayout& layout, OutputFormat format) {
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", "/v1/accounts"));
  const json::array& accounts = array_at(answer, "accounts");
  if (format == OutputFormat::kJson) {
    print_json_lines(accounts);
    return EX_OK;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : accounts) {
    const json::object& account = value.as_object();
    rows.push_back({text_at(account, "name"), text_at(account, "brokerUrl"), text_at(account, "credentials"),
                    text_at(account, "caCertificates")});
  }
  print_table({"NAME", "BROKER", "CREDENTIALS", "CAS"}, rows);
  return EX_OK;
}

Result<int> change_requests(const DataLayout& layout, const std::string& act, const std::vector<std::string>& names) {
  const bool deletes = act == "delete";
  const std::string done_word = act == "retry" ? "armed again" : act + "d";
  std::string done_lines, missing;
  for (const std::string& name : names) {
    const std::string target = "/v1/requests/" + percent_encode(name) + (deletes ? "" : "/" + act);
    auto done = call_service(layout, deletes ? "DELETE" : "POST", target);
    if (done) {
      done_lines += fmt::format("request {}: {}\n", printable(name), done_word);
      continue;
    }
    // of several names, those that are wrong; that nobody answers is one error for all
    if (names.size() == 1 || done.error().code != ErrorCode::kNotFound) {
      print(done_lines);
      return fail(std::move(done).error());
    }
    missing += (missing.empty() ? "" : "\n") + done.error().message;
  }
  // what went wrong comes first: it must not be lost among many names
  const int exit_code =
      missing.empty() ? EX_OK : complain({ErrorCode::kNotFound, missing}, EX_DATAERR, list_names_hint(layout));
  print(done_lines);
  return exit_code;
}

Result<int> show_status(const DataLayout& layout, OutputFormat format) {
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", "/v1/status"));
  if (format == OutputFormat::kJson) {
    print(json::serialize(answer) + "\n");
    return EX_OK;
  }
  std::vector<std::pair<std::string, std::string>> fields{{"service", "running, version " + text_at(answer, "version")},
                                                          {"broker", text_at(answer, "broker")},
                                                          {"data folder", layout.folder.string()},
                                                          {"work queued", text_at(answer, "backlog")},
                                                          {"requests", text_at(answer, "total")}};
  const json::object& counts = object_at(answer, "requests");
  for (const auto& [status, count] : counts) fields.emplace_back("  " + std::string(status), text_at(counts, status));
  print_fields(fields);
  return EX_OK;
}

}  // namespace fleet::provisioner
