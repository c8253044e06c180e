// The real program against a real admin socket.
#include <sys/stat.h>
#include <sysexits.h>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/unit/provisioner/admin/prompt.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
using fleet::test::TempFolder;

TEST_CASE("apply reads stdin, says what changed, and shows secrets once") {
  Prompt prompt;
  const auto outcome = prompt.cli(
      {"apply", "-f", "-"}, account_yaml() + kNextDocument + profile_yaml() + kNextDocument + request_yaml("gw", "C1"));
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.errors.empty());
  CHECK(has(outcome.output, "Account acme: created\nProfile gateway: created\nProvisionRequest gw: created\n"));
  CHECK(has(outcome.output, "shown this once"));
  CHECK(has(outcome.output, "C1-SN1"));
}

TEST_CASE("apply writes secrets to a file of its owner, and then not to the terminal") {
  Prompt prompt;
  prompt.apply_account_and_profile();
  const std::string yaml = prompt.file("gw.yaml", request_yaml("gw", "C1"));
  const auto secrets = prompt.platform.folder / "secrets.csv";
  const auto outcome = prompt.cli({"apply", "-f", yaml, "--secrets-out", secrets.string()});
  CHECK(outcome.exit_code == 0);
  const std::string csv = read_file(secrets).value();
  CHECK(csv.starts_with("name,clientId,username,password,activationKey\ngw,C1,C1-SN1,"));
  const std::string password = csv.substr(csv.size() - 34, 32);
  CHECK_FALSE(has(outcome.output, password));
  struct stat found {};
  REQUIRE(::stat(secrets.c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == 0600);
}

TEST_CASE("apply keeps nothing behind when no secret was made or nothing was applied") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  const auto secrets = prompt.platform.folder / "secrets.csv";
  CHECK(prompt.cli({"apply", "-f", prompt.file("gw.yaml", request_yaml("gw", "C1")), "--secrets-out", secrets.string()})
            .exit_code == 0);
  CHECK_FALSE(std::filesystem::exists(secrets));
  CHECK(prompt.cli({"apply", "-f", prompt.file("x.yaml", request_yaml("x", "C1")), "--secrets-out", secrets.string()})
            .exit_code == EX_DATAERR);
  CHECK_FALSE(std::filesystem::exists(secrets));
}

TEST_CASE("apply applies nothing when the secrets file is there already or cannot be made") {
  Prompt prompt;
  prompt.apply_account_and_profile();
  const std::string yaml = prompt.file("gw.yaml", request_yaml("gw", "C1"));
  const std::string precious = prompt.file("secrets.csv", "precious");
  for (const std::string& file : {precious, std::string("/nonexistent/secrets.csv")}) {
    const auto outcome = prompt.cli({"apply", "-f", yaml, "--secrets-out", file});
    CHECK(outcome.exit_code == EX_CANTCREAT);
    CHECK(has(outcome.errors, "\nhint: "));
  }
  CHECK_FALSE(prompt.platform.has_request("gw"));
  CHECK(read_file(precious).value() == "precious");
}

TEST_CASE("apply names file, line and column of what the service refuses") {
  Prompt prompt;
  prompt.apply_request("first", "C1");
  const std::string yaml = prompt.file("gw.yaml", request_yaml("second", "C1") + kNextDocument +
                                                      request_yaml("third", "C3", "  provisionUserPassword: weak\n"));
  const auto outcome = prompt.cli({"apply", "-f", yaml});
  CHECK(outcome.exit_code == EX_DATAERR);
  CHECK(has(outcome.errors, yaml + ":6:13: spec.clientId: request 'first' already has client id C1\n"));
  CHECK(has(outcome.errors, yaml + ":16:26: spec.provisionUserPassword: shorter than 16 characters"));
  CHECK(has(outcome.errors, "error: 2 problems in 1 file: nothing was applied"));
}

TEST_CASE("apply replaces an existing request with --overwrite only, and says where and what else would be") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  const std::string yaml = prompt.file("gw.yaml", request_yaml("gw", "C1", "  params: {a: b}\n"));
  const auto refused = prompt.cli({"apply", "-f", yaml});
  CHECK(refused.exit_code == EX_DATAERR);
  CHECK(has(refused.errors, yaml + ":8:11: spec.params: request 'gw' exists already and differs in params; "));
  CHECK(has(refused.errors, "apply with --overwrite"));
  CHECK(prompt.platform.request("gw").params.empty());
  const auto replaced = prompt.cli({"apply", "-f", yaml, "--overwrite"});
  CHECK_MESSAGE(replaced.exit_code == 0, replaced.errors);
  CHECK(prompt.platform.request("gw").params.at("a") == "b");
}

TEST_CASE("apply names all problems of all files, and asks the service for nothing") {
  const TempFolder folder;
  REQUIRE(write_file(folder / "a.yaml", request_yaml("gw", "a b")));
  REQUIRE(write_file(folder / "b.yaml", "kind: {\n"));
  const auto outcome = cli_at(folder.path(), {"apply", "-f", folder.path().string()});
  CHECK(outcome.exit_code == EX_DATAERR);
  CHECK(has(outcome.errors, (folder / "a.yaml").string() + ":6:13: spec.clientId: "));
  CHECK(has(outcome.errors, (folder / "b.yaml").string() + ":"));
  CHECK(has(outcome.errors, "error: 2 problems in 2 files: nothing was applied"));
}

TEST_CASE("apply --dry-run shows and changes nothing") {
  Prompt prompt;
  prompt.apply_account_and_profile();
  const auto outcome =
      prompt.cli({"apply", "--dry-run", "-f", "-", "--secrets-out", (prompt.platform.folder / "s.csv").string()},
                 request_yaml("gw", "C1"));
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.output == "ProvisionRequest gw: created (dry run)\n");
  CHECK_FALSE(prompt.platform.has_request("gw"));
  CHECK_FALSE(std::filesystem::exists(prompt.platform.folder / "s.csv"));
}

TEST_CASE("the demo's documents are good") {
  Prompt prompt;
  const auto folder = prompt.platform.folder / "demo";
  std::filesystem::copy(std::filesystem::path(FLEET_SOURCE_DIR) / "configs" / "demo", folder);
  REQUIRE(write_file(folder / "owner-ca.pem", make_ca_pem()));
  REQUIRE(write_file(folder / "meter-1.2.0.tar.gz", "the demo packs it"));
  const auto outcome =
      prompt.cli({"apply", "-f", folder.string(), "--secrets-out", (prompt.platform.folder / "s.csv").string()});
  CHECK_MESSAGE(outcome.exit_code == 0, outcome.errors);
  CHECK(prompt.get("/v1/status").at("total") == 20);
  CHECK(has(prompt.cli({"get", "requests", "-l", "site=north"}).output, "north-gw-10"));
}

TEST_CASE("get requests shows a table, or JSON with a request a line") {
  Prompt prompt;
  prompt.apply_request("gw-1", "C1");
  REQUIRE(prompt.apply(request_yaml("gw-2", "C2", "  status: DISABLED\n")).status == 200);
  const std::string table = prompt.cli({"get", "requests"}).output;
  CHECK(table.starts_with("NAME  STATUS   ADMITTED  "));
  CHECK(has(table, "\ngw-1  CREATED  yes       "));
  CHECK(has(table, "\ngw-2  CREATED  disabled  "));
  const std::string text = prompt.cli({"get", "requests", "-o", "json"}).output;
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);
  const auto list = boost::json::parse(text).as_array();
  REQUIRE(list.size() == 2);
  CHECK(list[0].at("name") == "gw-1");
  CHECK(prompt.cli({"get", "requests", "--status", "COMPLETED", "-o", "json"}).output == "[]\n");
  CHECK(boost::json::parse(
            prompt.cli({"get", "requests", "--search", "gw-2", "-l", "site=north", "-l", "site=north", "-o", "json"})
                .output)
            .as_array()
            .size() == 1);
}

TEST_CASE("a list longer than a page is fetched whole") {
  Prompt prompt;
  prompt.apply_account_and_profile();
  std::string yaml;
  for (int i = 0; i < 1001; ++i)
    yaml += kNextDocument + request_yaml("gw-" + std::to_string(i), "C" + std::to_string(i));
  REQUIRE(prompt.apply(yaml).status == 200);
  CHECK(boost::json::parse(prompt.cli({"get", "requests", "-o", "json"}).output).as_array().size() == 1001);
}

TEST_CASE("describe says what the state is and what to do next") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  CHECK(has(prompt.cli({"describe", "request", "gw"}).output, "waiting for the device to connect"));
  CHECK(prompt.cli({"disable", "request", "gw"}).exit_code == 0);
  CHECK(has(prompt.cli({"describe", "request", "gw"}).output, "provisioner enable request gw"));
  CHECK(prompt.cli({"enable", "request", "gw"}).exit_code == 0);

  ProvisionRequest request = prompt.platform.request("gw");
  request.status = JobStatus::kAbandoned;
  request.failures = 5;
  request.last_error = "the device refused the configuration (400): disk \x1b[31mfull. The request is abandoned";
  prompt.platform.run([&](Transaction& tx) { return tx.update_request(request); });
  prompt.platform.open_attempt("gw");
  const std::string page = prompt.cli({"describe", "request", "gw"}).output;
  CHECK(has(page, "ABANDONED, 5 failed attempts of 5 allowed"));
  CHECK(has(page, "the device refused the configuration (400): disk ?[31mfull. The request is abandoned"));
  CHECK(has(page, "\nAttempts\nNO  STATE"));
  CHECK(has(page, "created by uid "));
  const auto json = boost::json::parse(prompt.cli({"describe", "request", "gw", "-o", "json"}).output);
  CHECK(json.at("request").at("status") == "ABANDONED");
  CHECK(json.at("request").at("failures") == 5);
  CHECK(json.at("attempts").as_array().size() == 1);
  CHECK(json.at("timeline").as_array().size() == 3);
}

TEST_CASE("describe says what the device logs in to its owner's broker with") {
  Prompt prompt;
  prompt.apply_request("gw", "C1");
  CHECK(has(prompt.cli({"describe", "request", "gw"}).output, "certificate"));
  CHECK_FALSE(has(prompt.cli({"describe", "request", "gw"}).output, "provisionSecureURL"));
  std::string plain = account_yaml("mqtt://broker.example");
  plain.replace(plain.find("credentials: x509"), 17, "credentials: password\n  connector: {plugin: /o.db}");
  REQUIRE(prompt.apply(plain + kNextDocument + request_yaml("gw", "C1", "  provisionSecureURL: false\n"), ",\"overwrite\":true")
              .status == 200);
  CHECK(has(prompt.cli({"describe", "request", "gw"}).output,
            "password, STRICT (deviceCredentialsTight: INHERITED), over mqtt:// (provisionSecureURL: false)"));
  const auto json = boost::json::parse(prompt.cli({"describe", "request", "gw", "-o", "json"}).output).at("request");
  CHECK(json.at("ownerLogin") == "password, STRICT");
  CHECK(json.at("deviceCredentialsTight") == "INHERITED");
  CHECK(json.at("provisionSecureURL") == false);
  CHECK(json.at("optlock") == 2);
}

TEST_CASE("several requests are changed, and what is wrong with one is told") {
  Prompt prompt;
  prompt.apply_request("a", "C1");
  REQUIRE(prompt.apply(request_yaml("b", "C2")).status == 200);
  const auto outcome = prompt.cli({"delete", "request", "a", "nobody", "b"});
  CHECK(outcome.exit_code == EX_DATAERR);
  CHECK(outcome.output == "request a: deleted\nrequest b: deleted\n");
  CHECK(outcome.errors.starts_with("error: request nobody: no such request\nhint: `provisioner get requests --data "));
  CHECK_FALSE(prompt.platform.has_request("b"));
  CHECK(prompt.cli({"retry", "request", "../../status"}).exit_code == EX_DATAERR);
}

TEST_CASE("without a service every command says how to start it") {
  const TempFolder folder;
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"status"}, {"get", "requests"}, {"describe", "request", "a"}, {"retry", "request", "a", "b"}}) {
    const auto outcome = cli_at(folder.path(), command);
    CHECK(outcome.exit_code == EX_UNAVAILABLE);
    CHECK(has(outcome.errors, "hint: start it with `provisioner serve --data " + folder.path().string() + "`\n"));
  }
}

TEST_CASE("status exits 0 when the service answers") {
  Prompt prompt;
  const auto outcome = prompt.cli({"status"});
  CHECK(outcome.exit_code == 0);
  CHECK(has(outcome.output, "broker       running\n"));
}

TEST_CASE("what cannot be meant is a usage error") {
  const TempFolder folder;
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{},
                                             {"explode"},
                                             {"get"},
                                             {"get", "secrets"},
                                             {"apply"},
                                             {"init"},
                                             {"init", "--host", "a", "--listen", "nowhere"},
                                             {"get", "requests", "--status", "created"},
                                             {"get", "requests", "-l", "site"},
                                             {"get", "requests", "-o", "xml"},
                                             {"retry", "request"}}) {
    const auto outcome = cli_at(folder.path(), command);
    CHECK(outcome.exit_code == EX_USAGE);
    CHECK(outcome.errors.starts_with("error: "));
  }
}

TEST_CASE("every command explains itself with an example") {
  const TempFolder folder;
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{{},
                                                                                       {"init"},
                                                                                       {"serve"},
                                                                                       {"apply"},
                                                                                       {"get"},
                                                                                       {"get", "requests"},
                                                                                       {"get", "profiles"},
                                                                                       {"describe", "request"},
                                                                                       {"delete", "request"},
                                                                                       {"audit"},
                                                                                       {"status"}}) {
    std::vector<std::string> with_help = command;
    with_help.push_back("-h");
    const auto outcome = cli_at(folder.path(), with_help);
    CHECK(outcome.exit_code == 0);
    CHECK(has(outcome.output, "Example:\n  provisioner "));
  }
}

TEST_CASE("a data folder is made once, and serve wants one") {
  const TempFolder folder;
  const auto data = folder / "data";
  CHECK(cli_at(data, {"serve", "--check-config"}).exit_code == EX_CONFIG);
  CHECK(cli_at(data, {"init", "--host", "localhost", "--host", "127.0.0.1", "--listen", "127.0.0.1:18883"}).exit_code ==
        0);
  const auto again = cli_at(data, {"init", "--host", "localhost"});
  CHECK(again.exit_code == EX_CONFIG);
  CHECK(again.errors.starts_with("error: "));
}
