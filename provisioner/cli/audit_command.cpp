// audit: who did what, and who was kept from what.
#include <sysexits.h>

#include <boost/json.hpp>

#include "core/base/bytes.hpp"
#include "provisioner/cli/call.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/output.hpp"

namespace fleet::provisioner {

namespace json = boost::json;

Result<int> show_audit(const DataLayout& layout, const AuditArguments& arguments, OutputFormat format) {
  std::string target = fmt::format("/v1/audit?limit={}", arguments.limit);
  if (!arguments.since.empty()) {
    TRY_ASSIGN(const Millis age, parse_duration(arguments.since));
    target += "&since=" + percent_encode(format_time(wall_now() - age));
  }
  if (!arguments.client_id.empty()) target += "&clientId=" + percent_encode(arguments.client_id);
  if (!arguments.kind.empty()) target += "&kind=" + percent_encode(arguments.kind);
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", target));
  const json::array& lines = array_at(answer, "audit");
  if (format != OutputFormat::kTable) {
    print_list(lines, format);
    return EX_OK;
  }
  if (lines.empty()) {
    print_error("nothing");
    return EX_OK;
  }
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : lines) {
    const json::object& line = value.as_object();
    rows.push_back({text_at(line, "until"), text_at(line, "kind"), text_at(line, "who"), text_at(line, "clientId"),
                    text_at(line, "times"), text_at(line, "text")});
  }
  print_table({"LAST", "KIND", "WHO", "CLIENT ID", "TIMES", "WHAT"}, rows);
  return EX_OK;
}

}  // namespace fleet::provisioner
