// Applications: what is taken and refused, what the platform is told, and what survives a restart.
#include <algorithm>

#include <doctest/doctest.h>

#include "core/crypto/digest.hpp"
#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

using protocol::DeployNotification;
using protocol::DeployStage;
using protocol::DeployStatus;

constexpr auto kDownload = DeployStage::kDownload;
constexpr auto kInstall = DeployStage::kInstall;

protocol::DownloadRequest package(std::int64_t job, bool install = true) {
  return {
      job, {"app" + std::to_string(job), "1.0"}, "https://packages.example/app.tar.gz", std::string(64, 'a'), install};
}

std::string error_of(const World& world, const std::string& rid) {
  const auto payload = protocol::decode(world.reply_to(rid));
  REQUIRE(payload);
  return protocol::parse_reply(*payload)->error;
}

// A device that the platform has proved itself to; its packages take until the test says how they end.
struct Device : World {
  explicit Device(SessionConfig session_config = default_config()) : World(std::move(session_config)) {
    fetch = [this](const FetchPackage& job) {
      fetched.push_back(job);
      return std::vector<Event>{};
    };
    accept_certificate();
  }
  void ask(const Draft& draft, const std::string& rid) {
    deliver(request(draft, rid, attempt().nonce));
    settle();
  }
  void happen(const Event& event) {
    feed(event);
    settle();
  }
  void configure(const std::string& rid = "conf") { ask(conf_draft(owner_xml(true)), rid); }
  // What the platform was told about a job since the last call.
  std::vector<DeployNotification> told() {
    std::vector<DeployNotification> news(platform.notifications.begin() + static_cast<std::ptrdiff_t>(seen),
                                         platform.notifications.end());
    seen = platform.notifications.size();
    return news;
  }
  // Restarts, and lets the device come back to where it was.
  void restart() {
    reboot();
    settle();
    REQUIRE(state().attempt);
  }

  std::vector<FetchPackage> fetched;
  std::size_t seen = 0;
};

void check_told(Device& device, const std::vector<DeployNotification>& expected) {
  const auto told = device.told();
  REQUIRE(told.size() == expected.size());
  for (std::size_t i = 0; i < told.size(); ++i) {
    CAPTURE(i);
    CAPTURE(told[i].error);
    CHECK(told[i] == expected[i]);
  }
}

TEST_CASE("a package is acknowledged, fetched, told of, and part of the generation") {
  Device device;
  device.ask(download_draft(package(7)), "r");
  CHECK(device.code_of("r") == 200);
  REQUIRE(device.fetched.size() == 1);
  CHECK(device.fetched[0].key == "r");
  CHECK(device.fetched[0].package == Package{{"app7", "1.0"}, std::string(64, 'a')});
  CHECK(device.fetched[0].uri == "https://packages.example/app.tar.gz");
  CHECK(device.fetched[0].install);
  device.happen(PackageProgress{"r", kDownload, 50});
  device.happen(PackageProgress{"r", kInstall, 0});
  device.happen(PackageDone{"r", false});
  check_told(device, {{kDownload, 7, 50, DeployStatus::kInProgress, ""},
                      {kDownload, 7, 100, DeployStatus::kCompleted, ""},
                      {kInstall, 7, 0, DeployStatus::kInProgress, ""},
                      {kInstall, 7, 100, DeployStatus::kCompleted, ""}});
  device.configure();
  CHECK(device.code_of("conf") == 200);
  REQUIRE(device.generations.size() == 1);
  CHECK(device.generations[0].packages == std::vector<Package>{{{"app7", "1.0"}, std::string(64, 'a')}});
}

TEST_CASE("a package without installation ends with its download and is installed by its own request") {
  Device device;
  device.ask(download_draft(package(7, false)), "r1");
  CHECK_FALSE(device.fetched.at(0).install);
  device.happen(PackageDone{"r1", false});
  check_told(device, {{kDownload, 7, 100, DeployStatus::kCompleted, ""}});
  CHECK(device.attempt().staged.packages.empty());

  device.ask(install_draft({8, {"app7", "1.0"}}), "r2");
  CHECK(device.code_of("r2") == 200);
  CHECK(device.fetched.at(1).install);
  CHECK(device.fetched.at(1).package == device.fetched.at(0).package);
  CHECK(device.fetched.at(1).uri == device.fetched.at(0).uri);
  device.happen(PackageDone{"r2", false});
  check_told(device, {{kInstall, 8, 100, DeployStatus::kCompleted, ""}});
  CHECK(device.attempt().staged.packages.size() == 1);
}

TEST_CASE("installing what was not downloaded is refused") {
  Device device;
  device.ask(install_draft({8, {"app7", "1.0"}}), "r");
  CHECK(device.code_of("r") == 404);
  CHECK(device.attempt().refused);
}

TEST_CASE("a package that is there already is told so and still part of the generation") {
  Device device;
  device.ask(download_draft(package(7)), "r");
  device.happen(PackageDone{"r", true});
  check_told(device,
             {{kDownload, 7, 100, DeployStatus::kAlreadyDone, ""}, {kInstall, 7, 100, DeployStatus::kAlreadyDone, ""}});
  CHECK(device.attempt().staged.packages.size() == 1);
}

TEST_CASE("a package that fails is told with its reason, is no refusal, and the generation does without it") {
  Device device;
  device.ask(download_draft(package(1)), "r1");
  device.ask(download_draft(package(2)), "r2");
  SUBCASE("in its download") {
    device.happen(PackageFailed{"r1", kDownload, {ErrorCode::kNotFound, "the server answered 404"}});
    check_told(device, {{kDownload, 1, 0, DeployStatus::kFailed, "the server answered 404"},
                        {kInstall, 1, 0, DeployStatus::kFailed, "the server answered 404"}});
  }
  SUBCASE("in its installation") {
    device.happen(PackageFailed{"r1", kInstall, {ErrorCode::kMalformed, "'a' is a symbolic link"}});
    check_told(device, {{kDownload, 1, 100, DeployStatus::kCompleted, ""},
                        {kInstall, 1, 0, DeployStatus::kFailed, "'a' is a symbolic link"}});
  }
  CHECK_FALSE(device.attempt().refused);
  device.happen(PackageDone{"r2", false});
  device.configure();
  CHECK(device.code_of("conf") == 200);
  REQUIRE(device.generations.size() == 1);
  CHECK(device.generations[0].packages == std::vector<Package>{{{"app2", "1.0"}, std::string(64, 'a')}});
}

TEST_CASE("the configuration waits until the last package has ended, however often it is asked for") {
  Device device;
  device.ask(download_draft(package(1)), "r1");
  device.ask(download_draft(package(2)), "r2");
  device.configure();
  device.configure();
  device.happen(PackageDone{"r2", false});
  device.configure();
  CHECK(device.code_of("conf") == 0);
  CHECK(device.installs.empty());
  device.ask(download_draft(package(3)), "r3");  // the configuration is always last
  CHECK(device.code_of("r3") == 0);
  CHECK(device.fetched.size() == 2);

  SUBCASE("well") {
    device.happen(PackageDone{"r1", false});
  }
  SUBCASE("or not") {
    device.happen(PackageFailed{"r1", kDownload, {ErrorCode::kNotFound, "404"}});
  }
  CHECK(device.code_of("conf") == 200);
  CHECK(device.installs.size() == 1);
  CHECK(device.state().generation == 1);
}

TEST_CASE("progress is told every 10 % or 5 s, not more often") {
  Device device;
  device.ask(download_draft(package(7)), "r");
  for (int percent = 1; percent <= 35; ++percent) device.happen(PackageProgress{"r", kDownload, percent});
  std::vector<std::int32_t> percents;
  for (const auto& news : device.told()) percents.push_back(news.progress);
  CHECK(percents == std::vector<std::int32_t>{10, 20, 30});
  device.now.steady += Millis(4'999);
  device.happen(PackageProgress{"r", kDownload, 36});
  CHECK(device.told().empty());
  device.now.steady += Millis(1);
  device.happen(PackageProgress{"r", kDownload, 36});
  check_told(device, {{kDownload, 7, 36, DeployStatus::kInProgress, ""}});
}

TEST_CASE("a slow package keeps the attempt alive as long as it gets on, a stalled one does not") {
  Device device;
  device.ask(download_draft(package(7)), "r");
  for (int i = 0; i < 20; ++i) {
    device.pass(Millis(100'000));  // timeout: 120 s
    device.happen(PackageProgress{"r", kDownload, i});
    REQUIRE(device.state().phase == Phase::kInstalling);
  }
  device.told();
  CHECK(device.run_until(Phase::kWaiting, Millis(121'000)));
  CHECK(device.state().last_failure->what.find("a package has not arrived") != std::string::npos);
  CHECK(device.count<CancelPackages>() == 1);
  const auto told = device.told();
  REQUIRE(told.size() == 1);
  CHECK(told[0].status == DeployStatus::kCancelled);
  CHECK(told[0].error == device.state().last_failure->what);
  // what the edge still says about it means nothing
  device.happen(PackageProgress{"r", kDownload, 99});
  device.happen(PackageDone{"r", false});
  CHECK(device.state().phase == Phase::kWaiting);
}

TEST_CASE("a repeated request gets the same reply and, once the job has ended, its last notifications again") {
  Device device;
  const Draft draft = download_draft(package(7));
  device.ask(draft, "r");
  device.ask(draft, "r");
  CHECK(device.told().empty());
  device.happen(PackageFailed{"r", kInstall, {ErrorCode::kMalformed, "damaged"}});
  device.told();
  device.ask(draft, "r");
  check_told(device,
             {{kDownload, 7, 100, DeployStatus::kCompleted, ""}, {kInstall, 7, 0, DeployStatus::kFailed, "damaged"}});
  CHECK(device.platform.inconsistent_replies.empty());
  CHECK(device.fetched.size() == 1);
  CHECK(device.attempt().jobs.size() == 1);
}

TEST_CASE("a notification that had no connection to go over is sent with the next one") {
  Device device;
  device.ask(download_draft(package(7)), "r");
  device.happen(ProvisionLost{{ErrorCode::kUnavailable, "gone"}});
  device.happen(PackageDone{"r", false});
  CHECK(device.told().empty());
  CHECK(device.run_until([&] { return device.platform.notifications.size() == 2; }, Millis(60'000)));
  check_told(device,
             {{kDownload, 7, 100, DeployStatus::kCompleted, ""}, {kInstall, 7, 100, DeployStatus::kCompleted, ""}});
}

TEST_CASE("wherever the agent is killed, the packages are brought and the device is configured once") {
  for (int crash = 1; crash <= 12; ++crash) {
    CAPTURE(crash);
    World world;
    int ends = 0;
    world.fetch = [&](const FetchPackage& job) {
      ++ends;
      return std::vector<Event>{PackageProgress{job.key, kDownload, 50}, PackageDone{job.key, ends > 2}};
    };
    world.platform.plan = {cert_draft(pki().signer), download_draft(package(1)), download_draft(package(2)),
                           inline_draft("tool_2.0.tar.gz", "content"), conf_draft(owner_xml(true))};
    world.crash_at_save = crash;
    world.start();
    REQUIRE(world.run_until(Phase::kProvisioned));
    CHECK(world.platform.completions == 1);
    CHECK(world.platform.inconsistent_replies.empty());
    CHECK(world.state().generation == 1);
    REQUIRE_FALSE(world.generations.empty());
    std::vector<std::string> names;
    for (const Package& installed : world.generations.back().packages) names.push_back(installed.id.name);
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{"app1", "app2", "tool"});
    for (const std::int64_t job : {1, 2}) {
      const auto& all = world.platform.notifications;
      CHECK(std::any_of(all.begin(), all.end(), [&](const DeployNotification& n) {
        return n.job_id == job && n.stage == kInstall && protocol::is_success(n.status);
      }));
    }
  }
}

TEST_CASE("after a restart a job goes on, and one that has ended is told again with the next hello") {
  Device device;
  device.ask(download_draft(package(1)), "r1");
  device.ask(download_draft(package(2)), "r2");
  device.happen(PackageDone{"r1", false});
  device.told();
  device.fetched.clear();
  device.restart();
  REQUIRE(device.fetched.size() == 1);
  CHECK(device.fetched[0].key == "r2");
  check_told(device,
             {{kDownload, 1, 100, DeployStatus::kCompleted, ""}, {kInstall, 1, 100, DeployStatus::kCompleted, ""}});
}

TEST_CASE("an inline package is answered late, with its name and version") {
  Device device;
  const Bytes content = "content of the package";
  device.ask(inline_draft("sensor-app_1.2.0.tar.gz", content), "r");
  CHECK(device.code_of("r") == 0);
  REQUIRE(device.fetched.size() == 1);
  CHECK(device.fetched[0].content == content);
  CHECK(device.fetched[0].file_name == "sensor-app_1.2.0.tar.gz");
  CHECK(device.fetched[0].uri.empty());
  CHECK(device.fetched[0].package.sha256 == to_hex(crypto::sha256(content)));
  device.ask(inline_draft("sensor-app_1.2.0.tar.gz", content), "r");  // impatient
  CHECK(device.fetched.size() == 1);
  device.happen(PackageProgress{"r", kInstall, 50});
  device.happen(PackageDone{"r", false});
  CHECK(device.code_of("r") == 200);
  const auto reply = protocol::decode(device.reply_to("r"));
  REQUIRE(reply);
  CHECK(*protocol::parse_installed_package(*reply) == protocol::PackageId{"sensor-app", "1.2.0"});
  CHECK(device.told().empty());
  CHECK(device.attempt().staged.packages.size() == 1);
  device.ask(inline_draft("sensor-app_1.2.0.tar.gz", content), "r");
  CHECK(device.platform.inconsistent_replies.empty());
}

TEST_CASE("an inline package is not kept in the state: after a restart the platform's repetition brings it again") {
  Device device;
  device.ask(inline_draft("app_1.tar.gz", Bytes(100'000, 'x')), "r");
  CHECK(device.saved.size() < 50'000);
  device.fetched.clear();
  device.restart();
  CHECK(device.fetched.empty());
  bool configuration_first = false;
  SUBCASE("before the configuration") {
    configuration_first = false;
  }
  SUBCASE("or behind it") {
    configuration_first = true;
    device.configure();
  }
  device.ask(inline_draft("app_1.tar.gz", Bytes(100'000, 'x')), "r");
  REQUIRE(device.fetched.size() == 1);
  device.happen(PackageDone{"r", false});
  CHECK(device.code_of("r") == 200);
  CHECK(device.code_of("conf") == (configuration_first ? 200 : 0));
  CHECK(device.attempt().jobs.size() == 1);
}

TEST_CASE("an inline package that fails is answered 500 and refuses the configuration that waits for it") {
  Device device;
  device.ask(inline_draft("app_1.tar.gz", "x"), "r");
  device.configure();
  device.happen(PackageFailed{"r", kInstall, {ErrorCode::kMalformed, "not an archive"}});
  CHECK(device.code_of("r") == 500);
  CHECK(error_of(device, "r") == "package app 1: not an archive");
  CHECK(device.code_of("conf") == 400);
  CHECK(device.installs.empty());
}

TEST_CASE("what is wrong with a request is said, and refuses the rest of the attempt") {
  Device device;
  Draft draft = download_draft(package(7));
  std::string why;
  const auto set = [&](std::string name, protocol::MetricValue value) {
    std::erase_if(draft.payload.metrics, [&](const auto& metric) { return metric.name == name; });
    draft.payload.add(std::move(name), std::move(value));
  };
  SUBCASE("no hash") {
    std::erase_if(draft.payload.metrics, [](const auto& metric) { return metric.name == "dp.download.hash"; });
    why = "dp.download.hash is missing";
  }
  SUBCASE("a weak hash") {
    set("dp.download.hash", "MD5:" + std::string(32, 'a'));
    why = "dp.download.hash";
  }
  SUBCASE("a name that escapes") {
    set("dp.name", std::string("../../etc"));
    why = "dp.name";
  }
  SUBCASE("a version that escapes") {
    set("dp.version", std::string(".."));
    why = "dp.version";
  }
  SUBCASE("an inline file name that escapes") {
    draft = inline_draft("../app_1.tar.gz", "x");
    why = "deploy.filename";
  }
  SUBCASE("an inline package that is too large") {
    draft = inline_draft("app_1.tar.gz", Bytes(protocol::kMaxInlinePackage + 1, 'x'));
    why = "more than 524288";
  }
  device.ask(draft, "r");
  CHECK(device.code_of("r") == 400);
  CHECK_MESSAGE(error_of(device, "r").find(why) != std::string::npos, error_of(device, "r"));
  CHECK(device.fetched.empty());
  device.ask(download_draft(package(8)), "r2");
  CHECK(device.code_of("r2") == 400);
  CHECK(device.fetched.empty());
}

TEST_CASE("a job id is taken once, a version has one content, and there are nine packages at most") {
  Device device;
  SUBCASE("the same job id") {
    device.ask(download_draft(package(7)), "r1");
    protocol::DownloadRequest other = package(8);
    other.job_id = 7;
    device.ask(download_draft(other), "r2");
    CHECK(error_of(device, "r2") == "job.id 7 is already taken in this attempt");
  }
  SUBCASE("the same version with another content") {
    device.ask(download_draft(package(7)), "r1");
    protocol::DownloadRequest other = package(7);
    other.job_id = 8;
    other.sha256 = std::string(64, 'b');
    device.ask(download_draft(other), "r2");
    CHECK(error_of(device, "r2") == "app7 1.0 with another content is already asked for in this attempt");
  }
  SUBCASE("a tenth package") {
    for (int i = 1; i <= 9; ++i) {
      const std::string rid = "p" + std::to_string(i);
      device.ask(download_draft(package(i, false)), rid);
      REQUIRE(device.code_of(rid) == 200);
    }
    device.ask(install_draft({100, {"app3", "1.0"}}), "r1");  // not another package
    REQUIRE(device.code_of("r1") == 200);
    device.ask(inline_draft("app_1.tar.gz", "x"), "r2");
    CHECK(error_of(device, "r2") == "more than 9 packages in one attempt");
  }
  CHECK(device.code_of("r1") == 200);
  CHECK(device.code_of("r2") == 400);
  CHECK(device.attempt().refused);
}

TEST_CASE("a second CERT-V1 begins the plan anew: no package of the former one counts, runs on or is installed") {
  Device device;
  for (int i = 1; i <= 5; ++i) device.ask(download_draft(package(i)), "old" + std::to_string(i));
  device.ask(key_draft(pki().device_certificate(kClientId, pki().device_key.public_key())), "old-key");
  device.configure("old-conf");  // waits
  device.happen(PackageDone{"old1", false});

  device.ask(cert_draft(pki().signer), "new-cert");
  CHECK(device.code_of("new-cert") == 200);
  CHECK(device.count<CancelPackages>() == 1);
  CHECK(device.attempt().jobs.empty());
  for (int i = 11; i <= 16; ++i) device.ask(download_draft(package(i)), "new" + std::to_string(i));
  device.configure("new-conf");
  device.happen(PackageDone{"old2", false});  // was on its way
  for (int i = 11; i <= 16; ++i) device.happen(PackageDone{"new" + std::to_string(i), false});
  CHECK(device.code_of("new-conf") == 200);
  CHECK(device.code_of("old-conf") == 0);
  REQUIRE(device.generations.size() == 1);
  CHECK(device.generations[0].packages.size() == 6);
  CHECK(device.generations[0].device_chain_pem.empty());
}

TEST_CASE("with a full disk no package is fetched whose job is not kept") {
  Device device;
  device.disk_full = true;
  device.ask(download_draft(package(7)), "r");
  CHECK(device.code_of("r") == 500);
  CHECK(device.fetched.empty());
  CHECK(device.state().phase == Phase::kWaiting);
}

TEST_CASE("an attempt that fails with a full disk still stops its packages, for they are what fills it") {
  Device device;
  device.ask(download_draft(package(7)), "r");
  device.disk_full = true;
  REQUIRE(device.run_until(Phase::kWaiting, 2 * device.config.timeout));
  CHECK(device.count<CancelPackages>() == 1);
}

}  // namespace
}  // namespace fleet::agent::test
