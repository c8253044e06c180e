// A long import that is killed, and a service that is killed under it: the same command goes on, and in the end every request
// is there once, with the password that the file tells.
#include <sysexits.h>

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include <doctest/doctest.h>

#include "tests/system/rig.hpp"

using namespace fleet::test;
namespace fs = std::filesystem;

namespace {

constexpr int kRows = 20'000;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string table() {
  std::string text = "name,clientId,username,profile\n";
  for (int i = 1; i <= kRows; ++i) {
    const std::string number = std::to_string(i);
    text += "gw-" + number + ",C" + number + ",SN" + number + ",gateway\n";
  }
  return text;
}

std::string documents() {
  std::string text;
  for (int i = 1; i <= kRows; ++i) {
    const std::string number = std::to_string(i);
    text += "---\napiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: gw-" + number +
            "}\nspec: {profile: gateway, clientId: C" + number + ", provisionUserUsername: SN" + number + "}\n";
  }
  return text;
}

struct ImportRig : Rig {
  ImportRig() {
    start_owner();
    start_provisioner();
    apply(account_and_profile());
  }
  fs::path secrets() const { return folder() / "secrets.csv"; }
  Process import(const fs::path& file, const fs::path& output) {
    return Process(Command{{(fs::path(FLEET_TEST_BIN) / "provisioner-crashtest").string(), "apply", "-f", file.string(),
                            "--secrets-out", secrets().string()},
                           {{"PROVISIONER_DATA", data().string()}},
                           output});
  }
  int requests() const { return std::stoi(sql("SELECT count(*) FROM request")); }
  bool reaches(int count) {
    return eventually([&] { return requests() >= count; }, 120s);
  }
};

void import_in_spite_of_everything(const std::string& name, const std::string& text) {
  ImportRig rig;
  const fs::path file = rig.folder() / name;
  std::ofstream(file, std::ios::binary) << text;

  Process killed = rig.import(file, rig.folder() / "first.log");
  REQUIRE(rig.reaches(1000));
  killed.kill();
  const int after_kill = rig.requests();
  CHECK(after_kill < kRows);

  // what the first one had sent may still be applied: eight batches of 500
  Process cut_off = rig.import(file, rig.folder() / "second.log");
  REQUIRE(rig.reaches(after_kill + 8 * 500 + 500));
  rig.kill_provisioner();
  CHECK(cut_off.wait(60s) == EX_TEMPFAIL);
  const std::string told = text_of(rig.folder() / "second.log");
  INFO(told);
  CHECK(holds(told, " of 20,000 requests are applied, the others are not"));
  CHECK(holds(told, "hint: the same command, with the same --secrets-out, goes on from there"));

  rig.start_provisioner();
  CHECK(rig.requests() < kRows);
  Process last = rig.import(file, rig.folder() / "third.log");
  CHECK(last.wait(240s) == 0);
  INFO(text_of(rig.folder() / "third.log"));
  CHECK(rig.requests() == kRows);

  std::istringstream lines(text_of(rig.secrets()));
  std::string line, last_line;
  std::set<std::string> names;
  std::getline(lines, line);
  CHECK(line == "name,clientId,username,password,activationKey");
  while (std::getline(lines, line)) {
    CHECK(names.insert(line.substr(0, line.find(','))).second);
    last_line = line;
  }
  CHECK(names.size() == kRows);
  // the file is a table of requests with their passwords: any other than the service's would be a difference
  const Outcome proof = rig.cli({"apply", "-f", rig.secrets().string(), "--profile", "gateway", "--dry-run"});
  CHECK(holds(proof.output, "20,000 requests: 0 created, 0 configured, 20,000 unchanged (dry run)"));

  std::istringstream cells(last_line);
  Credentials gateway;
  std::getline(cells, gateway.name, ',');
  std::getline(cells, gateway.client_id, ',');
  std::getline(cells, gateway.username, ',');
  std::getline(cells, gateway.password, ',');
  auto agent = rig.agent(gateway);
  agent->start();
  CHECK(eventually([&] { return agent->provisioned(); }, 60s));
}

}  // namespace

TEST_CASE("a table of 20,000 requests is applied once, whatever is killed meanwhile") {
  import_in_spite_of_everything("fleet.csv", table());
}

TEST_CASE("20,000 documents of YAML are applied once, whatever is killed meanwhile") {
  import_in_spite_of_everything("fleet.yaml", documents());
}
