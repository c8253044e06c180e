#include <doctest/doctest.h>

#include "provisioner/manifest/manifest.hpp"
#include "provisioner/manifest/request_table.hpp"

using namespace fleet;
using namespace fleet::provisioner;

namespace {

struct Read {
  std::vector<RequestManifest> requests;
  std::vector<std::string> problems;
};

Read read(const std::string& text, const std::string& profile = {}) {
  std::string rest = text;
  config::CsvReader reader([&rest](char* buffer, std::size_t most) -> Result<std::size_t> {
    const std::size_t part = rest.copy(buffer, most);
    rest.erase(0, part);
    return part;
  });
  Read found;
  config::Problems problems;
  if (const auto table = RequestTable::with_header(reader.next().value().value(), profile, problems)) {
    while (auto row = reader.next().value()) {
      const auto node = table->document_of(std::move(*row), problems);
      if (!node) continue;
      if (auto manifest = decode_manifest(*node, problems)) found.requests.push_back(std::get<RequestManifest>(*manifest));
    }
  }
  for (config::Problem problem : problems.list()) {
    problem.path = RequestTable::column_of(problem.path);
    found.problems.push_back(problem.str());
  }
  return found;
}

}  // namespace

TEST_CASE("a row is the request that a document with the same values would be") {
  const Read found = read(
      "name,clientId,username,password,profile,labels.site,labels.a.b,params.port,activatesOn,expiresOn,retryMaxAttempts,"
      "status,generateActivationKey,overwriteIfDuplicate\n"
      "gw-1,C1,\"SN, 1\",correct-horse-battery,gateway,north,007,8080,2026-01-01,2027-01-01T00:00:00Z,-1,DISABLED,true,true\n"
      "gw-2,123,true,,,,,,,,,,,\n",
      "fallback");
  CHECK(found.problems.empty());
  REQUIRE(found.requests.size() == 2);
  const RequestManifest& one = found.requests[0];
  CHECK(one.name == "gw-1");
  CHECK(one.username == "SN, 1");
  CHECK(one.password->reveal() == "correct-horse-battery");
  CHECK(one.profile == "gateway");
  CHECK(one.labels == std::map<std::string, std::string>{{"site", "north"}, {"a.b", "007"}});
  CHECK(one.params.at("port") == "8080");
  CHECK(format_time(*one.activates_on) == "2026-01-01T00:00:00Z");
  CHECK(one.retry_max_attempts == -1);
  CHECK(one.enabled == false);
  CHECK(one.generate_activation_key);
  CHECK(one.overwrite_if_duplicate == true);
  const RequestManifest& two = found.requests[1];
  CHECK(two.client_id == "123");
  CHECK(two.username == "true");
  CHECK(two.profile == "fallback");
  CHECK_FALSE(two.password.has_value());
  CHECK(two.labels.empty());
  CHECK_FALSE(two.enabled.has_value());
}

TEST_CASE("a header tells all that is wrong with it, and the nearest column") {
  const Read found = read("name,clientID,username,serial,name\ngw,C1,u,1,2\n");
  CHECK(found.requests.empty());
  CHECK(found.problems == std::vector<std::string>{
                              "1:6: unknown column 'clientID'; did you mean clientId?",
                              "1:24: unknown column 'serial': a label would be labels.serial, a parameter params.serial",
                              "1:31: a second column 'name'"});
  CHECK(read("name,username\n").problems ==
        std::vector<std::string>{"1:1: the column 'clientId' is missing: the first row names the columns"});
  CHECK(read("name;clientId;username\n").problems ==
        std::vector<std::string>{"1:1: one column only: cells stand between commas, not semicolons"});
}

TEST_CASE("what is wrong in rows is told at its cell, by the name of its column, and does not hide what is right") {
  const Read found = read(
      "name,clientId,username,retryMaxAttempts,labels.x\n"
      "gw-1,a b,u1,,\n"
      "gw-2,C2,u2\n"
      ",C3,u3,soon,\n"
      "gw-4,C4,u4,3,\n",
      "gateway");
  CHECK(found.requests.size() == 1);
  CHECK(found.problems == std::vector<std::string>{
                              "2:6: clientId: must be 1 to 64 of A-Z a-z 0-9 _ : @ = -",
                              "3:1: 3 cells, but the header has 5",
                              "4:1: name: is missing",
                              "4:8: retryMaxAttempts: expected an integer, not 'soon'"});
  CHECK(read("name,clientId,username\ngw,C1,u\n").problems == std::vector<std::string>{"2:1: profile: is missing"});
}
