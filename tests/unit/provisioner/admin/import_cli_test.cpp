// Applies of more documents than one transaction should hold, with the real program.
#include <sstream>
#include <sysexits.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "provisioner/cli/import_progress.hpp"
#include "provisioner/cli/secrets_log.hpp"
#include "tests/unit/provisioner/admin/prompt.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

constexpr int kMany = 6000;

std::string table(int rows, const std::string& last = {}) {
  std::string text = "name,clientId,username,labels.site\n";
  for (int i = 1; i <= rows; ++i) text += fmt::format("gw-{},C{},U{},north\n", i, i, i);
  return text + last;
}

std::string documents(int count, const std::string& last = {}) {
  std::string text;
  for (int i = 1; i <= count; ++i) text += request_yaml(fmt::format("gw-{}", i), fmt::format("C{}", i)) + kNextDocument;
  return text + last;
}

std::size_t lines_of(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

struct ImportPrompt : Prompt {
  ImportPrompt() { apply_account_and_profile(); }
  std::int64_t requests() { return get("/v1/status").at("total").as_int64(); }
  std::string secrets() { return read_file(platform.folder / "secrets.csv").value(); }
  fleet::test::Outcome import(const std::string& file, std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"apply", "-f", file, "--profile", "gateway", "--secrets-out",
                               (platform.folder / "secrets.csv").string()});
    return cli(std::move(more));
  }
};

}  // namespace

TEST_CASE("a long table is applied, its secrets written once, and the same again changes nothing") {
  ImportPrompt prompt;
  const std::string file = prompt.file("fleet.csv", table(kMany));
  const auto first = prompt.import(file);
  CHECK(first.exit_code == 0);
  CHECK(first.errors.empty());
  CHECK(first.output == "6,000 requests: 6,000 created, 0 configured, 0 unchanged\n6,000 generated secrets written to " +
                            (prompt.platform.folder / "secrets.csv").string() +
                            ": keep it safe, they cannot be shown again\n");
  CHECK(prompt.requests() == kMany);
  const std::string secrets = prompt.secrets();
  CHECK(lines_of(secrets) == kMany + 1);
  CHECK(secrets.starts_with("name,clientId,username,password,activationKey\ngw-1,C1,U1,"));

  const auto again = prompt.import(file);
  CHECK(again.exit_code == 0);
  CHECK(again.output.starts_with("6,000 requests: 0 created, 0 configured, 6,000 unchanged\n"));
  CHECK(prompt.secrets() == secrets);
}

TEST_CASE("long YAML is applied as a table is, with what stands in front of the requests") {
  ImportPrompt prompt;
  const std::string base = account_yaml() + kNextDocument + profile_yaml("  retryMaxAttempts: 7\n") + kNextDocument;
  const std::string file = prompt.file("fleet.yaml", base + documents(kMany));
  const auto outcome = prompt.import(file);
  CHECK(outcome.errors.empty());
  CHECK(outcome.exit_code == 0);
  CHECK(has(outcome.output, "Account acme: unchanged\nProfile gateway: configured\n"));
  CHECK(has(outcome.output, "6,000 requests: 6,000 created, 0 configured, 0 unchanged\n"));
  CHECK(prompt.requests() == kMany);
  const std::string behind = prompt.file("behind.yaml", documents(kMany, profile_yaml()));
  const auto refused = prompt.import(behind);
  CHECK(refused.exit_code == EX_DATAERR);
  CHECK(has(refused.errors, "kind: stands behind requests"));
}

TEST_CASE("what is wrong in the last row or document keeps all the others from being applied, and is found at its place") {
  ImportPrompt prompt;
  const std::string rows = prompt.file("fleet.csv", table(kMany, "gw-last,a b,U,north\n"));
  const auto bad_row = prompt.import(rows);
  CHECK(bad_row.exit_code == EX_DATAERR);
  CHECK(bad_row.errors == rows + ":6002:9: clientId: must be 1 to 64 of A-Z a-z 0-9 _ : @ = -\n" +
                              "error: 1 problem in 1 file: nothing was applied\n");
  const std::string unlike = prompt.file("unlike.csv", table(kMany, "gw-last,CL,UL,\n"));
  const auto refused = prompt.import(unlike);  // by the service
  CHECK(refused.exit_code == EX_DATAERR);
  CHECK(has(refused.errors, unlike + ":6002:1: profile: profile 'gateway' does not fit: "));
  const std::string yaml = prompt.file("fleet.yaml", documents(kMany, request_yaml("gw-last", "CL", "  status: MAYBE\n")));
  const auto bad_document = prompt.import(yaml);
  CHECK(bad_document.exit_code == EX_DATAERR);
  const std::size_t line = lines_of(documents(kMany)) + lines_of(request_yaml("gw-last", "CL", "  status: MAYBE\n"));
  CHECK(has(bad_document.errors, fmt::format("{}:{}:11: spec.status: must be ENABLED or DISABLED\n", yaml, line)));
  CHECK(prompt.requests() == 0);
  CHECK_FALSE(std::filesystem::exists(prompt.platform.folder / "secrets.csv"));
}

TEST_CASE("names and client ids that come twice are found however far apart, and usernames with different passwords") {
  ImportPrompt prompt;
  const std::string file =
      prompt.file("fleet.csv", table(kMany, "gw-1,CX,UX,north\ngw-x,C2,UY,north\ngw-y,CZ,U3,north\n"));
  const auto outcome = prompt.import(file);
  CHECK(outcome.exit_code == EX_DATAERR);
  CHECK(has(outcome.errors, file + ":6002:1: metadata.name: a second ProvisionRequest 'gw-1': the first is " + file + ":2\n"));
  CHECK(has(outcome.errors, file + ":6003:1: spec.clientId: request 'gw-2' already has client id C2: " + file + ":3\n"));
  CHECK(has(outcome.errors, file + ":6004:1: spec.provisionUserUsername: requests 'gw-3' and 'gw-y' would use this username"));
  CHECK(has(outcome.errors, "error: 3 problems in 1 file: nothing was applied"));
  CHECK(prompt.requests() == 0);
}

TEST_CASE("of many problems some are shown and all are counted") {
  ImportPrompt prompt;
  std::string rows;
  for (int i = 0; i < 300; ++i) rows += "x y,C,U,north\n";
  const auto outcome = prompt.import(prompt.file("fleet.csv", table(kMany, rows)));
  CHECK(lines_of(outcome.errors) == 102);
  CHECK(has(outcome.errors, "… and 200 more\nerror: 300 problems in 1 file: nothing was applied\n"));
}

TEST_CASE("what an interruption has left is gone on with: what is applied stays, and a secret that was made is used") {
  ImportPrompt prompt;
  // as if it had been killed: 3,000 applied, the secrets of 200 more made, and half a row written
  const std::string file = prompt.file("fleet.csv", table(kMany));
  std::string begun = "name,clientId,username,labels.site,password\n", secrets = "name,clientId,username,password,activationKey\n";
  for (int i = 1; i <= 3200; ++i) {
    if (i <= 3000) begun += fmt::format("gw-{},C{},U{},north,a-password-of-long-ago-{}\n", i, i, i, i);
    secrets += fmt::format("gw-{},C{},U{},a-password-of-long-ago-{},\n", i, i, i, i);
  }
  REQUIRE(prompt.cli({"apply", "-f", prompt.file("begun.csv", begun), "--profile", "gateway"}).exit_code == 0);
  prompt.file("secrets.csv", secrets + "gw-3201,C3201,U32");
  const auto outcome = prompt.import(file);
  CHECK(outcome.errors.empty());
  CHECK(outcome.exit_code == 0);
  CHECK(has(outcome.output, "6,000 requests: 3,000 created, 0 configured, 3,000 unchanged\n6,000 generated secrets written"));
  const std::string after = prompt.secrets();
  CHECK(after.starts_with(secrets + "gw-3201,C3201,U3201,"));
  CHECK(lines_of(after) == kMany + 1);
  // each password that the file tells is the one that the service knows: another one would be a difference
  std::string proof;
  std::istringstream lines(after);
  for (std::string line; std::getline(lines, line);) proof += line + (proof.empty() ? ",labels.site\n" : ",north\n");
  const auto same = prompt.import(prompt.file("proof.csv", proof), {"--dry-run"});
  CHECK(same.output == "6,000 requests: 0 created, 0 configured, 6,000 unchanged (dry run)\n");
}

TEST_CASE("a file of other secrets, or of anything else, is not written to, and nothing is applied") {
  ImportPrompt prompt;
  const std::string file = prompt.file("fleet.csv", table(kMany));
  const std::string others = "name,clientId,username,password,activationKey\nother,C1,U1,abc,\n";
  for (const std::string& content : {others, std::string("precious")}) {
    prompt.file("secrets.csv", content);
    const auto outcome = prompt.import(file);
    CHECK(outcome.exit_code == EX_CANTCREAT);
    CHECK(has(outcome.errors, "\nhint: --secrets-out makes a new file, or goes on with that of the same import"));
    CHECK(prompt.secrets() == content);
  }
  CHECK(prompt.requests() == 0);
}

TEST_CASE("a long apply asks for a file for its secrets, waits for nothing, and a dry run of it changes nothing") {
  ImportPrompt prompt;
  const std::string file = prompt.file("fleet.csv", table(kMany));
  CHECK(prompt.cli({"apply", "-f", file, "--profile", "gateway"}).exit_code == EX_USAGE);
  CHECK(prompt.import(file, {"--wait"}).exit_code == EX_USAGE);
  const auto dry = prompt.import(file, {"--dry-run"});
  CHECK(dry.output == "6,000 requests: 6,000 created, 0 configured, 0 unchanged (dry run)\n");
  CHECK(prompt.requests() == 0);
  CHECK_FALSE(std::filesystem::exists(prompt.platform.folder / "secrets.csv"));
}

TEST_CASE("activation keys are made as passwords are, and stay as they are when the import is run again") {
  ImportPrompt prompt;
  std::string text = "name,clientId,username,labels.site,generateActivationKey\n";
  for (int i = 1; i <= kMany; ++i) text += fmt::format("gw-{},C{},U{},north,{}\n", i, i, i, i % 2 == 0 ? "true" : "");
  const std::string file = prompt.file("fleet.csv", text);
  CHECK(prompt.import(file).exit_code == 0);
  std::istringstream lines(prompt.secrets());
  std::string header, odd, even;
  std::getline(lines, header);
  std::getline(lines, odd);
  std::getline(lines, even);
  CHECK(odd.size() == std::string("gw-1,C1,U1,").size() + 32 + 1);
  CHECK(even.size() == std::string("gw-2,C2,U2,").size() + 32 + 1 + 32);
  CHECK(has(prompt.import(file).output, "0 created, 0 configured, 6,000 unchanged"));
  std::filesystem::remove(prompt.platform.folder / "secrets.csv");
  CHECK(has(prompt.import(file).output, "0 created, 0 configured, 6,000 unchanged"));
}

TEST_CASE("a short table is applied as documents are, and its problems are told at cell and column") {
  ImportPrompt prompt;
  const std::string file = prompt.file("few.csv", table(2));
  const auto outcome = prompt.cli({"apply", "-f", file, "--profile", "gateway"});
  CHECK(outcome.exit_code == 0);
  CHECK(has(outcome.output, "ProvisionRequest gw-1: created\nProvisionRequest gw-2: created\n"));
  const std::string taken = prompt.file("taken.csv", "name,clientId,username,labels.site\nnew,C1,U9,north\n");
  const auto refused = prompt.cli({"apply", "-f", taken, "--profile", "gateway"});
  CHECK(refused.exit_code == EX_DATAERR);
  CHECK(has(refused.errors, taken + ":2:5: clientId: request 'gw-1' already has client id C1\n"));
}

TEST_CASE("a line of progress says how far, how fast and how long still") {
  CHECK(import_line({"applying", 0, 0, 1000, Millis(0)}, 100) == "applying  [····················]   0 %  0 requests");
  CHECK(import_line({"applying", 500'000, 500'000, 1'000'000, Millis(10'000)}, 100) ==
        "applying  [##########··········]  50 %  500,000 requests, 50,000/s, 11 s left");
  CHECK(import_line({"checking", 20'000, 5, 0, Millis(2000)}, 100) == "checking  20,000 requests, 10,000/s");
}
