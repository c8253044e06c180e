#include <unistd.h>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "tests/unit/provisioner/admin/admin_fixture.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
namespace json = boost::json;

namespace {

std::vector<std::string> names(const json::object& page) {
  std::vector<std::string> list;
  for (const json::value& request : page.at("requests").as_array()) list.emplace_back(request.at("name").as_string());
  return list;
}

}  // namespace

TEST_CASE("an apply tells what became of each document and the secrets it made") {
  AdminFixture admin;
  const AdminReply reply =
      admin.apply(account_yaml() + kNextDocument + profile_yaml() + kNextDocument + request_yaml("gw", "C1"));
  CHECK(reply.status == 200);
  const json::object body = json_of(reply);
  CHECK(body.at("applied").as_array().size() == 3);
  CHECK(body.at("applied").at(2) ==
        json::value{{"document", 2}, {"kind", "ProvisionRequest"}, {"name", "gw"}, {"change", "created"}});
  REQUIRE(body.at("secrets").as_array().size() == 1);
  CHECK(body.at("secrets").at(0).at("clientId") == "C1");
  CHECK(body.at("secrets").at(0).at("password").as_string().size() == 32);
  CHECK(body.at("secrets").at(0).at("activationKey").is_null());
  CHECK(admin.platform.timeline("gw").at(0).text.starts_with("created by uid " + std::to_string(::getuid())));
}

TEST_CASE("a dry run says what would happen, and nothing happens") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  const AdminReply reply = admin.apply(request_yaml("gw", "C1"), ",\"dryRun\":true");
  CHECK(reply.status == 200);
  CHECK(json_of(reply).at("applied").at(0).at("change") == "created");
  CHECK(json_of(reply).at("secrets").as_array().empty());
  CHECK_FALSE(admin.platform.has_request("gw"));
}

TEST_CASE("a dry run finds the problems that an apply finds") {
  AdminFixture admin;
  const AdminReply reply = admin.apply(request_yaml("gw", "C1"), ",\"dryRun\":true");
  CHECK(reply.status == 422);
  CHECK(json_of(reply).at("error").at("details").at(0).at("path") == "spec.profile");
}

TEST_CASE("problems come with document and path, all of them") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  const AdminReply reply =
      admin.apply(request_yaml("gw", "C1") + kNextDocument + request_yaml("x y", "C2", "  status: NO\n"));
  CHECK(reply.status == 422);
  CHECK(error_code(reply) == "invalid_argument");
  const json::object body = json_of(reply);
  const json::array& details = body.at("error").at("details").as_array();
  REQUIRE(details.size() == 2);
  CHECK(details[0].at("document") == 1);
  CHECK(details[0].at("path") == "metadata.name");
  CHECK(details[1].at("path") == "spec.status");
  CHECK_FALSE(admin.platform.has_request("gw"));
}

TEST_CASE("weak passwords are allowed when the call says so") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  const std::string yaml = request_yaml("gw", "C1", "  provisionUserPassword: weak\n");
  CHECK(admin.apply(yaml).status == 422);
  CHECK(admin.apply(yaml, ",\"allowWeak\":true").status == 200);
}

TEST_CASE("an existing request is replaced only when the call says so, and what stands against it has a code") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  REQUIRE(admin.apply(request_yaml("gw", "C1")).status == 200);
  const std::string yaml = request_yaml("gw", "C1", "  params: {a: b}\n");
  const AdminReply refused = admin.apply(yaml);
  CHECK(refused.status == 409);
  CHECK(error_code(refused) == "already_exists");
  CHECK(json_of(refused).at("error").at("details").at(0).at("code") == "already_exists");
  CHECK(admin.apply(yaml, ",\"overwrite\":true").status == 200);
  CHECK(admin.platform.request("gw").params.at("a") == "b");

  const std::int64_t optlock = admin.get("/v1/requests").at("requests").at(0).at("optlock").as_int64();
  CHECK(optlock == admin.platform.request("gw").optlock);
  const std::string stale = request_yaml("gw", "C1", fmt::format("  params: {{a: b}}\n  optlock: {}\n", optlock - 1));
  CHECK(error_code(admin.apply(stale)) == "conflict");
  // a code of its own only where all problems have it
  const AdminReply both = admin.apply(stale + kNextDocument + request_yaml("gw2", "C1"));
  CHECK(error_code(both) == "invalid_argument");
  CHECK(json_of(both).at("error").at("details").at(0).at("code") == "conflict");
}

TEST_CASE("bodies that are no apply are refused and change nothing") {
  AdminFixture admin;
  for (const std::string body : {"", "x", "[]", "5", "null", "{}", "{\"documents\":5}", "{\"documents\":[",
                                 "{\"documents\":[1,null,\"a\",[]]}", "{\"documents\":[],\"dryRun\":\"yes\"}",
                                 "{\"documents\":[],\"dryrun\":true}", "{\"documents\":[],\"documents\":[]}",
                                 "{\"documents\":[{}]}", "\xff\xfe", "{\"documents\":[{\"a\":\"\xff\"}]}"}) {
    CAPTURE(body);
    const AdminReply reply = admin.call("POST", "/v1/apply", body);
    CHECK((reply.status == 400 || reply.status == 422));
    CHECK_FALSE(error_code(reply).empty());
  }
  CHECK(admin.call("POST", "/v1/apply", "{\"documents\":[" + std::string(100'000, '[')).status == 400);
  CHECK(admin.get("/v1/status").at("total") == 0);
}

TEST_CASE("an apply of nothing does nothing") {
  AdminFixture admin;
  CHECK(admin.call("POST", "/v1/apply", "{\"documents\":[]}").status == 200);
}

TEST_CASE("requests are listed by status, label and text") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  std::string south = request_yaml("south-1", "S1", "  status: DISABLED\n");
  south.replace(south.find("site: north"), 11, "site: south");
  REQUIRE(
      admin.apply(request_yaml("north-1", "N1") + kNextDocument + request_yaml("north-2", "N2") + kNextDocument + south)
          .status == 200);
  CHECK(names(admin.get("/v1/requests")) == std::vector<std::string>{"north-1", "north-2", "south-1"});
  CHECK(names(admin.get("/v1/requests?label=site%3Dsouth")) == std::vector<std::string>{"south-1"});
  CHECK(names(admin.get("/v1/requests?label=site=south&label=site2=x")).empty());
  CHECK(names(admin.get("/v1/requests?status=CREATED&search=TH-2")) == std::vector<std::string>{"north-2"});
  // also those that no request rests in
  for (const std::string_view status : {"COMPLETED", "CONF_UPDATED", "SKIPPED", "STOPPING", "STOPPED"}) {
    CHECK(names(admin.get(fmt::format("/v1/requests?status={}", status))).empty());
  }
  CHECK(names(admin.get("/v1/requests?search=n1-")) == std::vector<std::string>{"north-1"});
}

TEST_CASE("a long list comes in pages that follow one another") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  std::string yaml;
  for (char c = 'a'; c <= 'e'; ++c) yaml += kNextDocument + request_yaml(std::string(1, c), std::string(1, c));
  REQUIRE(admin.apply(yaml).status == 200);
  const json::object first = admin.get("/v1/requests?limit=2");
  CHECK(names(first) == std::vector<std::string>{"a", "b"});
  CHECK(first.at("next") == "b");
  const json::object last = admin.get("/v1/requests?limit=2&after=d");
  CHECK(names(last) == std::vector<std::string>{"e"});
  CHECK(last.at("next").is_null());
}

TEST_CASE("parameters that mean nothing are refused") {
  AdminFixture admin;
  for (const std::string query : {"status=created", "label=a%3Db&label=a%3Dc", "label=site", "limit=0", "limit=1001", "limit=-1", "limit=x",
                                  "colour=red", "search=%zz", "&", "="}) {
    CAPTURE(query);
    CHECK(admin.call("GET", "/v1/requests?" + query).status == 400);
  }
}

TEST_CASE("a description holds the request, its attempts, certificates and timeline, and no secret") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  const AdminReply applied =
      admin.apply(request_yaml("gw", "C1", "  params: {wifi: the-wifi-password}\n  generateActivationKey: true\n"));
  REQUIRE(applied.status == 200);
  const json::object applied_body = json_of(applied);
  const json::value& secret = applied_body.at("secrets").at(0);
  admin.platform.open_attempt("gw");
  Step step;
  step.attempt_id = 1;
  step.rid = random_id();
  step.summary = "signing certificates";
  step.topic = "$EDC/topic";
  step.payload = "payload-of-the-step";
  step.sent_at = admin.platform.now;
  step.reply_error = "\xff bad bytes \x1b[31m";
  admin.platform.run([&](Transaction& tx) { return tx.insert_steps({step}); });

  const AdminReply reply = admin.call("GET", "/v1/requests/gw");
  CHECK(reply.status == 200);
  const json::object body = json_of(reply);
  CHECK(body.at("request").at("name") == "gw");
  CHECK(body.at("request").at("retryMaxAttempts") == 5);
  CHECK(body.at("request").at("ownerBroker") == "mqtts://broker.example:8883");
  CHECK(body.at("request").at("activationKey") == "unused");
  CHECK(body.at("request").at("params") == json::array{"wifi"});
  CHECK(body.at("attempts").at(0).at("state") == "OPEN");
  CHECK(body.at("attempts").at(0).at("steps").at(0).at("summary") == "signing certificates");
  CHECK(body.at("certificates").as_array().empty());
  CHECK(body.at("timeline").at(0).at("kind") == "operator");
  for (const std::string& hidden :
       {step.rid, step.payload, step.topic, std::string("the-wifi-password"),
        std::string(secret.at("password").as_string()), std::string(secret.at("activationKey").as_string())}) {
    CHECK(reply.body.find(hidden) == std::string::npos);
  }
}

TEST_CASE("a request is disabled, enabled, retried and deleted, with who did it") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  REQUIRE(admin.apply(request_yaml("gw", "C1")).status == 200);
  CHECK(admin.call("POST", "/v1/requests/gw/disable").status == 200);
  CHECK_FALSE(admin.platform.request("gw").enabled);
  CHECK(admin.kicked() == std::vector<std::string>{"C1"});
  CHECK(admin.call("POST", "/v1/requests/gw/enable").status == 200);
  CHECK(admin.platform.request("gw").enabled);
  CHECK(admin.call("POST", "/v1/requests/gw/retry").status == 200);
  CHECK(admin.platform.timeline("gw").back().text.find("uid " + std::to_string(::getuid())) != std::string::npos);
  CHECK(admin.call("DELETE", "/v1/requests/gw").status == 200);
  CHECK_FALSE(admin.platform.has_request("gw"));
  CHECK(admin.kicked() == std::vector<std::string>{"C1", "C1"});
}

TEST_CASE("what an apply shuts out is cut off after the commit") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  REQUIRE(admin.apply(request_yaml("gw", "C1")).status == 200);
  REQUIRE(admin.apply(request_yaml("gw", "C1", "  status: DISABLED\n"), ",\"dryRun\":true").status == 200);
  CHECK(admin.kicked().empty());
  REQUIRE(admin.apply(request_yaml("gw", "C1", "  status: DISABLED\n")).status == 200);
  CHECK(admin.kicked() == std::vector<std::string>{"C1"});
}

TEST_CASE("what is not there is not found") {
  AdminFixture admin;
  for (const std::string target :
       {"/v1/requests/nobody", "/", "/v1", "/v2/requests", "/v1/secrets", "/v1/requests/a/b/c", "/v1//",
        "//v1/requests", "/v1/requests/%2e%2e", "/v1/profiles/x"}) {
    CAPTURE(target);
    CHECK(admin.call("GET", target).status == 404);
  }
  CHECK(admin.call("POST", "/v1/requests/nobody/retry").status == 404);
  CHECK(admin.call("POST", "/v1/requests/nobody/explode").status == 404);
  CHECK(admin.call("DELETE", "/v1/requests/nobody").status == 404);
  CHECK(admin.call("GET", "/v1/requests/%zz").status == 400);
}

TEST_CASE("only the methods that mean something are possible") {
  AdminFixture admin;
  CHECK(admin.call("GET", "/v1/apply").status == 405);
  CHECK(admin.call("DELETE", "/v1/requests").status == 405);
  CHECK(admin.call("POST", "/v1/requests/x").status == 405);
  CHECK(admin.call("GET", "/v1/requests/x/retry").status == 405);
  CHECK(admin.call("PUT", "/v1/status").status == 405);
}

TEST_CASE("accounts, profiles and the state of the service are shown") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  REQUIRE(admin.apply(request_yaml("gw", "C1")).status == 200);
  CHECK(admin.get("/v1/accounts").at("accounts").at(0).at("brokerUrl") == "mqtts://broker.example:8883");
  CHECK(admin.get("/v1/profiles").at("profiles").at(0).at("components") == json::array{"org.example.Site"});
  const json::object status = admin.get("/v1/status");
  CHECK(status.at("broker") == "running");
  CHECK(status.at("total") == 1);
  CHECK(status.at("requests").at("CREATED") == 1);
}
