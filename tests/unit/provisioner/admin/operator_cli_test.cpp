// Lists, certificates, manifests and watch of the real program.
#include <sysexits.h>

#include <sstream>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "core/config/node.hpp"
#include "tests/unit/provisioner/admin/prompt.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

IssuedCertificate certificate(const std::string& serial, const std::string& client_id, WallTime not_after,
                              std::int64_t request_id) {
  return {.serial = serial,
          .spki_sha256 = Bytes(32, '\xab'),
          .client_id = client_id,
          .request_id = request_id,
          .pem = "-----BEGIN CERTIFICATE-----\n" + serial + "\n-----END CERTIFICATE-----\n",
          .not_before = wall_now(),
          .not_after = not_after,
          .issued_at = wall_now()};
}

void set_status(Prompt& prompt, const std::string& name, JobStatus status, const std::string& error = {}) {
  ProvisionRequest request = prompt.platform.request(name);
  request.status = status;
  request.last_error = error;
  request.facts = {{"serial_number", "SN-" + name}, {"model_name", "ReliaGATE"}};
  prompt.platform.run([&](Transaction& tx) { return tx.update_request(request); });
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

// A command line of three parts.
std::vector<std::string> line(std::vector<std::string> head, const std::vector<std::string>& middle,
                              const std::vector<std::string>& tail) {
  head.insert(head.end(), middle.begin(), middle.end());
  head.insert(head.end(), tail.begin(), tail.end());
  return head;
}
const std::vector<std::string> kAsJson{"-o", "json"};

// Requests gw-1 … gw-N with client ids C1 … CN.
void apply_requests(Prompt& prompt, int count) {
  prompt.apply_account_and_profile();
  std::string yaml;
  for (int i = 1; i <= count; ++i) {
    yaml += kNextDocument + request_yaml("gw-" + std::to_string(i), "C" + std::to_string(i));
  }
  REQUIRE(prompt.apply(yaml).status == 200);
}

}  // namespace

TEST_CASE("get requests takes several states, names, and words that the device said of itself") {
  Prompt prompt;
  apply_requests(prompt, 4);
  set_status(prompt, "gw-1", JobStatus::kFailed, "x");
  set_status(prompt, "gw-2", JobStatus::kAbandoned, "x");
  set_status(prompt, "gw-3", JobStatus::kCompleted);
  const std::vector<std::string> get{"get", "requests"};
  const auto names = [&](const std::vector<std::string>& arguments) {
    std::string all;
    const auto list = boost::json::parse(prompt.cli(line(get, arguments, kAsJson)).output);
    for (const auto& value : list.as_array()) {
      all += (all.empty() ? "" : " ") + std::string(value.at("name").as_string());
    }
    return all;
  };
  CHECK(names({"--status", "FAILED", "--status", "ABANDONED"}) == "gw-1 gw-2");
  CHECK(names({"--search", "sn-gw-3"}) == "gw-3");
  CHECK(names({"--search", "reliagate", "--status", "COMPLETED"}) == "gw-3");
  CHECK(names({"gw-4", "gw-2"}) == "gw-2 gw-4");
  CHECK(names({"--limit", "2"}) == "gw-1 gw-2");
  const auto missing = prompt.cli({"get", "request", "gw-1", "gw-9"});
  CHECK(missing.exit_code == EX_DATAERR);
  CHECK(has(missing.output, "gw-1"));
  CHECK(has(missing.errors, "error: request gw-9: no such request"));
  CHECK(prompt.cli({"get", "requests", "--limit", "0"}).exit_code == EX_USAGE);
  CHECK(prompt.cli({"get", "requests", "--limit", "5", "--all"}).exit_code == EX_USAGE);
}

TEST_CASE("a table ends after a thousand rows and says so; --all and other formats have them all") {
  Prompt prompt;
  apply_requests(prompt, 2050);
  const auto table = prompt.cli({"get", "requests"});
  CHECK(lines_of(table.output) == 1 + 1000);
  CHECK(has(table.errors, "--all"));
  const auto all = prompt.cli({"get", "requests", "--all"});
  CHECK(lines_of(all.output) == 1 + 2050);
  CHECK(all.errors.empty());
  CHECK(lines_of(prompt.cli({"get", "requests", "--limit", "1001"}).output) == 1 + 1001);
  CHECK(boost::json::parse(prompt.cli({"get", "requests", "-o", "json"}).output).as_array().size() == 2050);
}

TEST_CASE("what get writes as YAML, apply takes back unchanged") {
  Prompt prompt;
  prompt.apply_account_and_profile();
  REQUIRE(prompt.apply(request_yaml("gw-1", "C1", "  generateActivationKey: true\n  params: {wifi: secret-word}\n")).status == 200);
  std::string yaml;
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"account", "acme"}, {"profile", "gateway", "--show-secrets"}, {"requests", "--show-secrets"}}) {
    const auto written = prompt.cli(line({"get"}, arguments, {std::string("-o"), std::string("yaml")}));
    CHECK_MESSAGE(written.exit_code == 0, written.errors);
    yaml += written.output;
  }
  CAPTURE(yaml);
  const auto applied = prompt.cli({"apply", "-f", "-"}, yaml);
  CHECK_MESSAGE(applied.exit_code == 0, applied.errors);
  CHECK(applied.output == "Account acme: unchanged\nProfile gateway: unchanged\nProvisionRequest gw-1: unchanged\n");

  const auto hidden = prompt.cli({"get", "request", "gw-1", "-o", "yaml"});
  CHECK_FALSE(has(hidden.output, "secret-word"));
  CHECK(prompt.cli({"apply", "-f", "-"}, hidden.output).exit_code == EX_DATAERR);
  CHECK(prompt.platform.request("gw-1").params.at("wifi") == "secret-word");
}

TEST_CASE("every command with JSON has YAML that says the same") {
  Prompt prompt;
  apply_requests(prompt, 1);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"status"}, {"describe", "request", "gw-1"}, {"get", "certificates"}}) {
    auto as = [&](const char* format) {
      const auto outcome = prompt.cli(line(command, {std::string("-o")}, {std::string(format)}));
      CHECK(outcome.exit_code == 0);
      return outcome.output;
    };
    auto json = config::parse_json(as("json"));
    auto yaml = config::parse_yaml(as("yaml"));
    REQUIRE((json && yaml));
    CHECK(config::to_json(*json) == config::to_json(*yaml));
  }
}

TEST_CASE("certificates are listed by expiry and shown with whose they are and their key") {
  Prompt prompt;
  apply_requests(prompt, 2);
  const std::int64_t first = prompt.platform.request("gw-1").id, second = prompt.platform.request("gw-2").id;
  const WallTime now = wall_now();
  const auto days = [&](int count) { return now + Seconds(86'400 * count); };
  prompt.platform.run([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_certificate(certificate("0a01", "C1", days(300), first)));
    TRY(tx.insert_certificate(certificate("0b02", "C2", days(10), second)));
    TRY(tx.insert_certificate(certificate("0c03", "C1", days(20), 9999)));
    return {};
  });
  const std::vector<std::string> get{"get", "certificates"};
  const auto serials = [&](const std::vector<std::string>& arguments) {
    std::string all;
    const auto list = boost::json::parse(prompt.cli(line(get, arguments, kAsJson)).output);
    for (const auto& value : list.as_array()) {
      all += (all.empty() ? "" : " ") + std::string(value.at("serial").as_string());
    }
    return all;
  };
  CHECK(serials({}) == "0b02 0c03 0a01");
  CHECK(serials({"--client-id", "C1"}) == "0c03 0a01");
  CHECK(serials({"--expires-before", "15d"}) == "0b02");
  CHECK(serials({"--expires-before", format_time(days(25))}) == "0b02 0c03");
  CHECK(serials({"--limit", "2"}) == "0b02 0c03");
  CHECK(prompt.cli({"get", "certificates", "--expires-before", "soon"}).exit_code == EX_DATAERR);
  const std::string table = prompt.cli({"get", "certificates"}).output;
  CHECK(has(table, "SERIAL  CLIENT ID  REQUEST  EXPIRES\n0b02    C2         gw-2     "));
  CHECK(has(table, "\n0c03    C1         -        "));

  const std::string page = prompt.cli({"describe", "certificate", "0A:01"}).output;
  for (const char* part : {"Subject     CN=C1", "Client id   C1", "Request     gw-1", "Serial      0a01", "Key         SHA-256 abab"}) {
    CHECK_MESSAGE(has(page, part), page);
  }
  CHECK(prompt.cli({"describe", "certificate", "0a01", "--pem"}).output.starts_with("-----BEGIN CERTIFICATE-----\n0a01\n"));
  CHECK(has(prompt.cli({"describe", "certificate", "0a01", "-o", "yaml"}).output, "pem: |\n  -----BEGIN"));
  const auto missing = prompt.cli({"describe", "certificate", "ffff"});
  CHECK(missing.exit_code == EX_DATAERR);
  CHECK(has(missing.errors, "hint: `provisioner get certificates"));
}

TEST_CASE("pages of certificates follow one another also where many expire at the same time") {
  AdminFixture admin;
  const WallTime end = wall_now() + Seconds(86'400);
  admin.platform.run([&](Transaction& tx) -> Result<void> {
    for (int i = 0; i < 25; ++i) TRY(tx.insert_certificate(certificate(fmt::format("{:04x}", (i * 7) % 25), "C", end, 1)));
    return {};
  });
  std::string after, all;
  int pages = 0;
  do {
    const auto page = admin.get("/v1/certificates?limit=10" + (after.empty() ? "" : "&after=" + after));
    for (const auto& value : page.at("certificates").as_array()) all += std::string(value.at("serial").as_string()) + " ";
    after = page.at("next").is_null() ? "" : std::string(page.at("next").as_string());
    ++pages;
  } while (!after.empty());
  CHECK(pages == 3);
  CHECK(all.starts_with("0000 0001 0002 "));
  CHECK(all.size() == 25 * 5);
  CHECK(admin.call("GET", "/v1/certificates?after=x").status == 400);
}

TEST_CASE("progress counts, tells who is shut out, and groups the reasons of failure") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  std::string yaml;
  for (int i = 0; i < 6; ++i) yaml += kNextDocument + request_yaml("gw-" + std::to_string(i), "C" + std::to_string(i));
  yaml += kNextDocument + request_yaml("off", "D1", "  status: DISABLED\n") + kNextDocument +
          request_yaml("gone-by", "D2", "  expiresOn: 2020-01-01\n") + kNextDocument +
          request_yaml("to-come", "D3", "  activatesOn: 2099-01-01\n");
  REQUIRE(admin.apply(yaml).status == 200);
  const auto end = [&](const std::string& name, JobStatus status, const std::string& cause) {
    ProvisionRequest request = admin.platform.request(name);
    request.status = status;
    request.last_error = cause + ". The device tries again by itself (failure 1 of 5), " + name;
    Attempt attempt;
    attempt.request_id = request.id;
    attempt.state = AttemptState::kFailed;
    attempt.started_at = attempt.moved_at = admin.platform.now;
    attempt.ended_at = admin.platform.now;
    attempt.error = cause;
    admin.platform.run([&](Transaction& tx) -> Result<void> {
      TRY(tx.update_request(request));
      return tx.insert_attempt(attempt);
    });
  };
  end("gw-0", JobStatus::kFailed, "no space left");
  end("gw-1", JobStatus::kAbandoned, "no space left");
  end("gw-2", JobStatus::kFailed, "timed out");
  const auto progress = [&](const std::string& body) {
    const AdminReply reply = admin.call("POST", "/v1/progress", body);
    REQUIRE_MESSAGE(reply.status == 200, reply.body);
    return json_of(reply);
  };
  const auto all = progress("{}");
  CHECK(all.at("total") == 9);
  CHECK(all.at("statuses") == boost::json::object{{"CREATED", 6}, {"FAILED", 2}, {"ABANDONED", 1}});
  CHECK(all.at("disabled") == 1);
  CHECK(all.at("expired") == 1);
  CHECK(all.at("notYet") == 1);
  CHECK(all.at("stuck") == 3);
  const auto& reasons = all.at("reasons").as_array();
  REQUIRE(reasons.size() == 2);
  CHECK(reasons[0] == boost::json::object{{"cause", "no space left"}, {"requests", 2}, {"example", "gw-0"}});
  CHECK(reasons[1].at("cause") == "timed out");
  CHECK(progress(R"({"reasons":1})").at("reasons").as_array().size() == 1);
  CHECK(all.at("unfinished").as_array().empty());

  const auto some = progress(R"({"names":["gw-2","gw-3","gw-3","never-there"],"unfinished":1})");
  CHECK(some.at("total") == 2);
  CHECK(some.at("gone") == 1);
  CHECK(some.at("unfinished").as_array().size() == 1);
  CHECK(progress(R"({"names":[]})").at("total") == 0);
  CHECK(progress(R"({"labels":{"site":"north"},"search":"GW-"})").at("total") == 6);
  for (const char* bad : {"", "[]", R"({"names":"x"})", R"({"reasons":-1})", R"({"unfinished":1001})", R"({"colour":1})"}) {
    const int status = admin.call("POST", "/v1/progress", bad).status;
    CHECK_MESSAGE((status == 400 || status == 422), bad);
  }
  CHECK(admin.call("GET", "/v1/progress").status == 405);
}

TEST_CASE("watch --wait follows a selection to its end; --timeout ends it before") {
  Prompt prompt;
  apply_requests(prompt, 2);
  const auto late = prompt.cli({"watch", "gw-1", "--wait", "--timeout", "1s"});
  CHECK(late.exit_code == EX_TEMPFAIL);
  CHECK(has(late.output, "0 of 1 completed, 0 %; CREATED 1"));
  CHECK(has(late.errors, "request gw-1: CREATED: its device was not here yet"));
  set_status(prompt, "gw-1", JobStatus::kCompleted);
  CHECK(prompt.cli({"watch", "gw-1", "--wait"}).exit_code == 0);
  set_status(prompt, "gw-2", JobStatus::kAbandoned, "the disk is full");
  const auto stuck = prompt.cli({"watch", "-l", "site=north", "--wait", "-o", "json"});
  CHECK(stuck.exit_code == EX_PROTOCOL);
  CHECK(has(stuck.errors, "request gw-2: ABANDONED: the disk is full"));
  CHECK(boost::json::parse(stuck.output).at("stuck") == 1);
  const auto gone = prompt.cli({"watch", "gw-1", "never-there", "--wait"});
  CHECK(gone.exit_code == EX_PROTOCOL);
  CHECK(has(gone.errors, "1 of 2 requests are COMPLETED, 1 are not there (any more)"));
  CHECK(prompt.cli({"watch", "--timeout", "1s"}).exit_code == EX_USAGE);
  CHECK(prompt.cli({"watch", "--wait", "--timeout", "soon"}).exit_code == EX_USAGE);
  CHECK(prompt.cli({"apply", "-f", "-", "--wait", "--dry-run"}).exit_code == EX_USAGE);
}

TEST_CASE("watch without a service ends at once: there is nothing to come back") {
  const fleet::test::TempFolder folder;
  CHECK(cli_at(folder.path(), {"watch"}).exit_code == EX_UNAVAILABLE);
}
