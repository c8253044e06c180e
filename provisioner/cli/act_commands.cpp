// What changes requests by name, and status.
#include <sysexits.h>

#include <boost/json.hpp>

#include "core/base/bytes.hpp"
#include "provisioner/cli/advice.hpp"
#include "provisioner/cli/call.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/output.hpp"

namespace fleet::provisioner {

namespace json = boost::json;

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
  if (format != OutputFormat::kTable) {
    print_value(answer, format);
    return EX_OK;
  }
  std::vector<std::pair<std::string, std::string>> fields{{"service", "running, version " + text_at(answer, "version")},
                                                          {"broker", text_at(answer, "broker")},
                                                          {"store", text_at(answer, "store")},
                                                          {"data folder", layout.folder.string()},
                                                          {"work queued", text_at(answer, "backlog")},
                                                          {"requests", text_at(answer, "total")}};
  const json::object& counts = object_at(answer, "requests");
  for (const auto& [status, count] : counts) fields.emplace_back("  " + std::string(status), text_at(counts, status));
  print_fields(fields);
  return EX_OK;
}

}  // namespace fleet::provisioner
