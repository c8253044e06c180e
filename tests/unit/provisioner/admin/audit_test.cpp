// What operators do is in the audit, also what they were kept from.
#include <sysexits.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "tests/unit/provisioner/admin/prompt.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
namespace json = boost::json;

namespace {

// "kind clientId text" of each line, oldest first.
std::vector<std::string> lines(const json::object& answer) {
  std::vector<std::string> texts;
  for (const json::value& line : answer.at("audit").as_array()) {
    texts.push_back(fmt::format("{} {} {}", line.at("kind").as_string().c_str(), line.at("clientId").as_string().c_str(),
                                line.at("text").as_string().c_str()));
  }
  return texts;
}

}  // namespace

TEST_CASE("what operators did and were kept from is told in turn, with who they were") {
  Prompt admin;
  admin.apply_request("gw", "C1");
  CHECK(admin.apply(request_yaml("gw", "C1"), ",\"dryRun\":true").status == 200);
  CHECK(admin.apply(request_yaml("gw", "C1")).status == 200);
  CHECK(admin.apply(request_yaml("other", "C1")).status == 422);
  for (const char* const act : {"disable", "enable", "retry"}) {
    CHECK(admin.call("POST", std::string("/v1/requests/gw/") + act).status == 200);
  }
  CHECK(admin.call("POST", "/v1/requests/nothing/retry").status == 404);
  CHECK(admin.call("DELETE", "/v1/requests/gw").status == 200);
  const json::object answer = admin.get("/v1/audit");
  CHECK(lines(answer) == std::vector<std::string>{"apply  created: Account acme, Profile gateway",
                                                  "apply  created: ProvisionRequest gw",
                                                  "apply  nothing changed",
                                                  "apply  refused: 1 problem; nothing was applied",
                                                  "disable C1 request gw",
                                                  "enable C1 request gw",
                                                  "retry C1 request gw",
                                                  "retry  request nothing: refused",
                                                  "delete C1 request gw"});
  for (const json::value& line : answer.at("audit").as_array()) {
    CHECK(std::string(line.at("who").as_string()).starts_with("uid " + std::to_string(::getuid())));
  }
  CHECK(lines(admin.get("/v1/audit?kind=retry&limit=1")) == std::vector<std::string>{"retry  request nothing: refused"});
  CHECK(lines(admin.get("/v1/audit?clientId=C1&kind=delete")).size() == 1);
  CHECK(lines(admin.get("/v1/audit?since=2099-01-01")).empty());
  for (const char* const query : {"since=yesterday", "limit=0", "limit=10001", "who=me"}) {
    CAPTURE(query);
    CHECK(admin.call("GET", std::string("/v1/audit?") + query).status == 400);
  }
  CHECK(admin.call("POST", "/v1/audit").status == 405);
}

TEST_CASE("audit shows a table, or JSON with a line a line") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  CHECK(prompt.cli({"disable", "request", "gw"}).exit_code == EX_OK);
  const auto table = prompt.cli({"audit", "--since", "1h"});
  CHECK(table.exit_code == EX_OK);
  CHECK(table.output.starts_with("LAST"));
  CHECK(has(table.output, "created: ProvisionRequest gw"));
  CHECK(has(table.output, "request gw"));
  const auto one = prompt.cli({"audit", "--client-id", "C1", "--kind", "disable", "-o", "json"});
  CHECK(json::parse(one.output).at(0).at("clientId") == "C1");
  CHECK(has(prompt.cli({"audit", "--kind", "locked"}).errors, "nothing"));
  CHECK(prompt.cli({"audit", "--since", "soon"}).exit_code == EX_USAGE);
  CHECK(prompt.cli({"audit", "--limit", "0"}).exit_code == EX_USAGE);
}
