// Applications on a real agent: from a real server to the disk, to the hook, and back again.
#include <algorithm>
#include <fstream>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "tests/support/http_server.hpp"
#include "tests/support/tar.hpp"
#include "tests/system/fake_platform.hpp"
#include "tests/system/small_disk.hpp"

using namespace fleet;
using namespace fleet::test;
namespace fs = std::filesystem;

namespace {

using protocol::DeployStage;
using protocol::DeployStatus;

const std::string kDevice = "02FC60000001";

// A platform with a package server of its own, and one agent.
struct Bench {
  FakePlatform platform;
  TempFolder folder;
  std::map<std::string, Bytes> files;  // by target
  HttpServer server{[this](const HttpRequest& request) {
                      const auto file = files.find(request.target);
                      return file == files.end() ? HttpReply{.status = 404} : file_reply(request, file->second);
                    },
                    platform.server_chain(), platform.server_key()};
  std::unique_ptr<AgentRig> agent = platform.agent(kDevice, "20s");
  protocol::Prov hello;
  std::vector<Draft> plan;
  std::int64_t jobs = 0;

  // An archive with the file `version` in it.
  protocol::DownloadRequest package(const std::string& name, const std::string& version) {
    const fs::path file = folder / (name + version + ".tar.gz");
    Tar(file).file("version", name + " " + version).file("bin/run", "#!/bin/sh\n", 0755);
    const std::string target = "/" + file.filename().string();
    files[target] = *read_file(file);
    return {++jobs, {name, version}, server.url(target), to_hex(crypto::sha256(files[target])), true};
  }
  // A hook in shell; `$out` is a file for it to write to.
  void hook(const std::string& script) {
    const fs::path file = folder / "hook";
    fs::remove(file);
    std::ofstream(file) << "#!/bin/sh\nout=" << (folder / "hook.out").string() << "\n" << script << "\n";
    fs::permissions(file, fs::perms(0700));
    agent->set("hook", file.string());
  }
  std::string hook_out() const { return read_file(folder / "hook.out").value_or(""); }

  // Waits for the next hello and makes the plan for it: certificates, `packages`, configuration.
  void greet(const std::vector<protocol::DownloadRequest>& packages) {
    hello = platform.await_hello(kDevice);
    plan = {platform.certificates(kDevice, hello, platform.signer()), platform.device_certificate(kDevice, hello)};
    for (const auto& wish : packages) plan.push_back(platform.download(kDevice, hello, wish));
    plan.push_back(platform.configuration(kDevice, hello));
  }
  void send_plan() {
    for (const Draft& draft : plan) platform.send(draft, platform.signer());
  }
  // Sends everything at once; the code of the reply to the configuration.
  std::int32_t carry_out(Millis limit = Millis(15'000)) {
    send_plan();
    return platform.reply_to(rid_of(plan.back()), limit);
  }
  void confirm() {
    platform.send(platform.answer(kDevice, hello, {.code = 200, .error = {}, .retry_after_s = {}, .body = {}}),
                  platform.signer());
  }
  bool told(std::int64_t job, DeployStage stage, DeployStatus status) const {
    const auto all = platform.notifications();
    return std::any_of(all.begin(), all.end(),
                       [&](const auto& n) { return n.job_id == job && n.stage == stage && n.status == status; });
  }
  std::string error_of(const std::string& rid) const {
    return must(protocol::parse_reply(platform.reply_payload(rid))).error;
  }
  std::string read(const std::string& path) const { return read_file(agent->state() / path).value_or("-"); }
  std::string in_force() const {
    std::error_code error;
    return fs::read_symlink(agent->state() / "current", error).string();
  }
  // Names in packages/ that are not packages, and anything in downloads/.
  bool is_tidy() const {
    for (const char* name : {"packages", "generations", "downloads"}) {
      std::error_code error;
      for (const auto& entry : fs::directory_iterator(agent->state() / name, error)) {
        if (entry.path().filename().string().starts_with('.') || std::string(name) == "downloads") return false;
      }
    }
    return !fs::is_symlink(agent->state() / "trial");
  }
};

TEST_CASE("packages come over https, are unpacked, told of, shown to the hook and listed by status") {
  Bench bench;
  bench.hook(
      "echo $1 $FLEET_GENERATION \"$FLEET_PACKAGES\" >> $out; cat $FLEET_STATE_DIR/current/packages/*/*/version >> "
      "$out");
  bench.agent->start();
  const auto app = bench.package("app", "1.0");
  auto missing = bench.package("missing", "1.0");
  missing.uri = bench.server.url("/nothing.tar.gz");
  const auto tool = bench.package("tool", "7");
  bench.greet({app, missing, tool});
  CHECK(bench.carry_out() == 200);
  INFO(bench.agent->log());
  for (std::size_t i = 0; i + 1 < bench.plan.size(); ++i) CHECK(bench.platform.reply_to(rid_of(bench.plan[i])) == 200);
  CHECK(bench.told(app.job_id, DeployStage::kInstall, DeployStatus::kCompleted));
  CHECK(bench.told(tool.job_id, DeployStage::kInstall, DeployStatus::kCompleted));
  CHECK(bench.told(missing.job_id, DeployStage::kDownload, DeployStatus::kFailed));
  CHECK(bench.told(missing.job_id, DeployStage::kInstall, DeployStatus::kFailed));
  CHECK(bench.read("current/packages/app/1.0/version") == "app 1.0");
  CHECK(bench.hook_out() == "apply 1 app/1.0 tool/7\napp 1.0tool 7");
  CHECK(bench.is_tidy());
  bench.confirm();
  CHECK(eventually([&] { return bench.agent->phase() == "awaiting-owner"; }));
  const Outcome status = bench.agent->cli({"status"});
  CHECK(holds(status.output, "app 1.0, tool 7"));
  CHECK(holds(bench.agent->cli({"status", "-o", "json"}).output, R"("packages":[{"name":"app","version":"1.0")"));
}

TEST_CASE("a package that came inline is answered with its name and version when it is there") {
  Bench bench;
  bench.agent->start();
  const auto app = bench.package("app", "1.0");
  bench.greet({});
  bench.plan.insert(bench.plan.end() - 1,
                    bench.platform.inline_package(kDevice, bench.hello, "app_1.0.tar.gz", bench.files.begin()->second));
  CHECK(bench.carry_out() == 200);
  const auto reply = bench.platform.reply_payload(rid_of(bench.plan[2]));
  CHECK(reply.int32("response.code") == 200);
  CHECK(*protocol::parse_installed_package(reply) == app.package);
  CHECK(bench.read("current/packages/app/1.0/version") == "app 1.0");
}

TEST_CASE("a hook that refuses the new configuration brings back the one before, and the platform learns why") {
  Bench bench;
  bench.hook("echo $1 $FLEET_GENERATION \"$FLEET_PACKAGES\" >> $out");
  bench.agent->start();
  bench.greet({bench.package("app", "1.0")});
  REQUIRE(bench.carry_out() == 200);
  bench.confirm();
  REQUIRE(eventually([&] { return bench.agent->phase() == "awaiting-owner"; }));
  bench.agent->kill();
  REQUIRE(bench.agent->cli({"reset"}).exit_code == 0);

  std::string why;
  Millis limit{15'000};
  SUBCASE("it fails") {
    bench.hook(
        "echo $1 $FLEET_GENERATION \"$FLEET_PACKAGES\" >> $out\n[ $1 = apply ] || exit 0\necho 'app 2.0 does not "
        "start' >&2; exit 3");
    why = "the hook failed with exit code 3: app 2.0 does not start";
  }
  SUBCASE("it hangs") {
    bench.hook(
        "echo $1 $FLEET_GENERATION \"$FLEET_PACKAGES\" >> $out\n[ $1 = apply ] || exit 0\necho waiting; sleep 1000 & "
        "sleep 1000");
    why = "the hook took longer than 30s: waiting";
    limit = Millis(45'000);
  }
  bench.agent->start();
  bench.greet({bench.package("app", "2.0")});
  CHECK(bench.carry_out(limit) == 500);
  INFO(bench.agent->log());
  CHECK(holds(bench.error_of(rid_of(bench.plan.back())), why));
  CHECK(bench.in_force() == "generations/1");
  CHECK(bench.read("current/packages/app/1.0/version") == "app 1.0");
  CHECK_FALSE(fs::exists(bench.agent->state() / "generations/2"));
  CHECK(eventually([&] { return holds(bench.hook_out(), "rollback 1 app/1.0"); }));
  CHECK(holds(bench.hook_out(), "apply 2 app/2.0\nrollback 1 app/1.0\n"));
}

TEST_CASE("a hook that leaves a process behind holds nobody up, and its process lives on") {
  Bench bench;
  bench.hook("(sleep 3; echo alive >> $out) & echo started");
  bench.agent->start();
  bench.greet({bench.package("app", "1.0")});
  const auto begin = std::chrono::steady_clock::now();
  CHECK(bench.carry_out() == 200);
  CHECK(std::chrono::steady_clock::now() - begin < 3s);
  CHECK(eventually([&] { return holds(bench.hook_out(), "alive"); }));
}

TEST_CASE("wherever the agent is killed, the packages arrive and nothing half-done stays") {
  for (const std::string point : {"agent.package-unpacked", "agent.package-stored", "agent.package-stored:2",
                                  "agent.generation-written", "agent.generation-switched", "agent.hook-begins"}) {
    CAPTURE(point);
    Bench bench;
    bench.hook("echo $1 $FLEET_GENERATION \"$FLEET_PACKAGES\" >> $out");
    bench.agent->start({{"FLEET_CRASH_AT", point}});
    bench.greet({bench.package("app", "1.0"), bench.package("tool", "7")});
    bench.send_plan();
    const bool killed = eventually([&] {
      bench.platform.listen(Millis(20));
      return !bench.agent->running();
    });
    REQUIRE(killed);
    bench.agent->start();
    // a platform repeats what it has no reply to when the device is back
    const std::string rid = rid_of(bench.plan.back());
    const bool arrived = eventually(
        [&] {
          bench.send_plan();
          return bench.platform.reply_to(rid, Millis(500)) == 200;
        },
        20s);
    INFO(bench.agent->log());
    REQUIRE(arrived);
    CHECK(bench.read("current/packages/app/1.0/version") == "app 1.0");
    CHECK(bench.read("current/packages/tool/7/version") == "tool 7");
    CHECK(bench.is_tidy());
    CHECK(holds(bench.hook_out(), "app/1.0 tool/7\n"));
    const auto all = bench.platform.notifications();
    for (const std::int64_t job : {1, 2}) {
      CHECK(std::any_of(all.begin(), all.end(), [&](const auto& n) {
        return n.job_id == job && n.stage == DeployStage::kInstall && protocol::is_success(n.status);
      }));
    }
  }
}

TEST_CASE("an agent that is killed while a refused configuration is taken back takes it back at its next start") {
  Bench bench;
  bench.hook("echo $1 $FLEET_GENERATION >> $out; [ $1 != apply ]");
  std::string point;
  SUBCASE("before it is gone") {
    point = "agent.generation-reverted";
  }
  SUBCASE("before the hook has been told") {
    point = "agent.rollback-owed";
  }
  bench.agent->start({{"FLEET_CRASH_AT", point}});
  bench.greet({bench.package("app", "1.0")});
  bench.send_plan();
  REQUIRE(eventually([&] {
    bench.platform.listen(Millis(20));
    return !bench.agent->running();
  }));
  bench.agent->start();
  CHECK(eventually([&] { return holds(bench.hook_out(), "rollback 0"); }));
  CHECK(bench.in_force().empty());
  CHECK_FALSE(fs::is_symlink(bench.agent->state() / "trial"));
}

TEST_CASE("a start that takes back what a crash has left on trial may be killed too: the hook is told, and told once") {
  Bench bench;
  bench.hook("echo $1 $FLEET_GENERATION >> $out");
  bench.agent->start({{"FLEET_CRASH_AT", "agent.hook-begins"}});
  bench.greet({bench.package("app", "1.0")});
  bench.send_plan();
  REQUIRE(eventually([&] {
    bench.platform.listen(Millis(20));
    return !bench.agent->running();
  }));
  bench.agent->start({{"FLEET_CRASH_AT", "agent.rollback-owed"}});
  REQUIRE(eventually([&] { return !bench.agent->running(); }));
  CHECK(bench.hook_out().empty());
  CHECK_FALSE(fs::is_symlink(bench.agent->state() / "trial"));

  bench.agent->start();
  CHECK(eventually([&] { return bench.hook_out() == "rollback 0\n"; }));
  CHECK(eventually([&] { return !fs::is_symlink(bench.agent->state() / "reverted"); }));
  bench.agent->process().stop();
  bench.agent->start();
  CHECK(eventually([&] { return holds(bench.agent->cli({"status"}).output, "the running agent"); }));
  CHECK(bench.hook_out() == "rollback 0\n");
}

TEST_CASE("what no generation needs any more goes, and leaves nothing of itself") {
  Bench bench;
  for (const std::string version : {"1.0", "2.0", "3.0"}) {
    bench.agent->start();
    bench.greet({bench.package("app", version)});
    REQUIRE(bench.carry_out() == 200);
    bench.confirm();
    REQUIRE(eventually([&] { return bench.agent->phase() == "awaiting-owner"; }));
    if (version == "3.0") break;
    bench.agent->kill();
    REQUIRE(bench.agent->cli({"reset"}).exit_code == 0);
  }
  CHECK(bench.in_force() == "generations/3");
  CHECK(eventually([&] { return bench.is_tidy(); }));
  CHECK_FALSE(fs::exists(bench.agent->state() / "packages/app/1.0"));
  CHECK(fs::exists(bench.agent->state() / "packages/app/2.0"));
  CHECK_FALSE(fs::exists(bench.agent->state() / "generations/1"));
  CHECK(bench.read("current/packages/app/3.0/version") == "app 3.0");
}

TEST_CASE("a package that is larger than the settings allow is refused, and the platform learns which one it was") {
  Bench bench;
  const fs::path file = bench.folder / "big.tar.gz";
  Tar(file).file("noise", random_bytes(100'000)).zeros("zeros", 1024 * 1024);
  bench.files["/big.tar.gz"] = *read_file(file);
  const protocol::DownloadRequest big{
      1, {"big", "1"}, bench.server.url("/big.tar.gz"), to_hex(crypto::sha256(bench.files["/big.tar.gz"])), true};
  std::string setting;
  DeployStage stage = DeployStage::kInstall;
  SUBCASE("its file") {
    setting = "package-max-size";
    stage = DeployStage::kDownload;
    bench.agent->set(setting, "64KiB");
  }
  SUBCASE("what is in it") {
    setting = "package-max-unpacked";
    bench.agent->set(setting, "1MiB");
  }
  SUBCASE("how many files") {
    setting = "package-max-entries";
    bench.agent->set(setting, "1");
  }
  bench.agent->start();
  bench.greet({big});
  CHECK(bench.carry_out() == 200);
  INFO(bench.agent->log());
  const auto all = bench.platform.notifications();
  const auto failed = std::find_if(all.begin(), all.end(), [&](const auto& n) {
    return n.stage == stage && n.status == DeployStatus::kFailed;
  });
  REQUIRE(failed != all.end());
  CHECK(holds(failed->error, "(" + setting + ")"));
  CHECK_FALSE(fs::exists(bench.agent->state() / "packages/big"));
}

TEST_CASE("with the disk full in the middle of an unpacking the package fails with that reason, and leaves no trace") {
  Bench bench;
  SmallDisk disk(bench.agent->state(), "8m");
  if (!disk.mounted()) return;
  bench.agent->start();
  const fs::path file = bench.folder / "big.tar.gz";
  Tar(file).file("first", "x").zeros("zeros", 32 * 1024 * 1024);
  bench.files["/big.tar.gz"] = *read_file(file);
  const protocol::DownloadRequest big{
      1, {"big", "1"}, bench.server.url("/big.tar.gz"), to_hex(crypto::sha256(bench.files["/big.tar.gz"])), true};
  bench.jobs = 1;
  bench.greet({big, bench.package("app", "1.0")});
  CHECK(bench.carry_out() == 200);  // the device's state still has its room
  INFO(bench.agent->log());
  const auto all = bench.platform.notifications();
  const auto failed = std::find_if(all.begin(), all.end(), [](const auto& n) {
    return n.job_id == 1 && n.stage == DeployStage::kInstall && n.status == DeployStatus::kFailed;
  });
  REQUIRE(failed != all.end());
  CHECK(holds(failed->error, "No space left on device"));
  CHECK(bench.told(2, DeployStage::kInstall, DeployStatus::kCompleted));
  CHECK_FALSE(fs::exists(bench.agent->state() / "packages/big"));
  CHECK(bench.is_tidy());
}

TEST_CASE("rollback brings back the generation before, whole, and tells the hook, while the agent runs or not") {
  Bench bench;
  bench.hook("echo $1 $FLEET_GENERATION \"$FLEET_PACKAGES\" >> $out");
  CHECK(bench.agent->cli({"rollback"}).exit_code == 78);  // nothing to go back to
  for (const std::string version : {"1.0", "2.0"}) {
    bench.agent->start();
    bench.greet({bench.package("app", version)});
    REQUIRE(bench.carry_out() == 200);
    bench.confirm();
    REQUIRE(eventually([&] { return bench.agent->phase() == "awaiting-owner"; }));
    if (version == "2.0") break;
    bench.agent->kill();
    REQUIRE(bench.agent->cli({"reset", "--new-key"}).exit_code == 0);
  }
  const std::string second_key = bench.read("current/device.key");
  REQUIRE(bench.in_force() == "generations/2");
  std::string who;
  SUBCASE("the agent runs") {
    who = "the running agent uses it from now on";
  }
  SUBCASE("it does not") {
    who = "the next `provision-agent run` uses it";
    bench.agent->kill();
  }
  const bool runs = bench.agent->running();

  const Outcome outcome = bench.agent->cli({"rollback"});
  INFO(outcome.errors << bench.agent->log());
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.output == "generation 1 is in force again; " + who + "\n");
  CHECK(bench.in_force() == "generations/1");
  CHECK(bench.read("current/packages/app/1.0/version") == "app 1.0");
  CHECK(bench.read("current/device.key") != second_key);
  CHECK(holds(bench.hook_out(), "rollback 1 app/1.0\n"));
  CHECK_FALSE(fs::is_symlink(bench.agent->state() / "reverted"));
  CHECK(holds(bench.agent->cli({"status"}).output, "app 1.0"));
  CHECK(bench.agent->running() == runs);
  bench.agent->start();
  // the phase alone may be what the one before has left; one that has just started takes no rollback yet (75)
  CHECK(eventually([&] { return holds(bench.agent->cli({"status"}).output, "the running agent"); }));
  CHECK(bench.agent->phase() == "awaiting-owner");
  CHECK(bench.in_force() == "generations/1");
  if (!runs) bench.agent->kill();
  const Outcome further = bench.agent->cli({"rollback"});
  CHECK(further.exit_code == 78);
  CHECK(holds(further.errors, "there is no generation before generation 1"));
}

}  // namespace
