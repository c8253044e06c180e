// Applications: edc §4.5, and what of them stands in the way of the configuration (§4 "Order").
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "core/protocol/deploy.hpp"
#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
using Phase = JobNotice::Phase;
using State = JobNotice::State;

namespace {

std::ptrdiff_t count_lines(World& world, const std::string& part) {
  const auto lines = world.timeline("gw1");
  return std::count_if(lines.begin(), lines.end(),
                       [&](const std::string& line) { return line.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("Packages are asked for behind the keys, and the configuration waits for the required ones") {
  World world;
  world.package_contents["small"] = "content";
  world.set_packages({package("app"), package("extra", PackageSource::kFile, false),
                      package("small", PackageSource::kInline)});
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  REQUIRE(line_of(messages) == "202 CERT-V1 KEYS-V2 KEYS-V1 DEPLOY-V2 DEPLOY-V2 DEPLOY-V1");

  const auto app = protocol::parse_download_request(messages[4].payload).value();
  CHECK(app.package == protocol::PackageId{"app", "1.0"});
  CHECK(app.uri == "https://example.test/app/GW1.tar.gz");
  CHECK(app.sha256 == std::string(64, 'a'));
  CHECK(app.install);
  const auto extra = protocol::parse_download_request(messages[5].payload).value();
  CHECK(extra.uri == fmt::format("https://packages.test/{}?a={}.1", std::string(64, 'a'), world.request("gw1").id));
  CHECK(extra.job_id != app.job_id);
  const auto small = protocol::parse_inline_package(messages[6].payload).value();
  CHECK(small.file_name == "small_1.0.tar.gz");
  CHECK(small.content == "content");

  for (std::size_t i = 1; i <= 3; ++i) CHECK(world.reply(device, messages[i]).empty());
  CHECK(world.request("gw1").status == JobStatus::kAppsInstalling);
  CHECK(world.reply(device, messages[6]).empty());  // the inline one is installed
  CHECK(world.reply(device, messages[4]).empty());  // the download is accepted, not done
  CHECK(world.request("gw1").status == JobStatus::kAppsInstalling);
  const auto released = world.install(device, messages[4]);
  REQUIRE(line_of(released) == "CONF-V1");
  CHECK(world.request("gw1").status == JobStatus::kConfUpdating);
  CHECK(count_lines(world, "held: the configuration of 2 components waits for package app 1.0, package small 1.0") == 1);
  CHECK(line_of(world.reply(device, released[0])) == "200");
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
}

TEST_CASE("Reply and last notification end a package's step in either order") {
  for (const bool reply_first : {true, false}) {
    World world;
    world.set_packages({package("app")});
    const Device device = world.add_device("GW1");
    const auto messages = world.hello(device, kNonce1);
    const Heard asked = find(messages, "DEPLOY-V2");
    const auto first = reply_first ? world.reply(device, asked) : world.install(device, asked);
    CHECK(first.empty());
    const auto second = reply_first ? world.install(device, asked) : world.reply(device, asked);
    CHECK(line_of(second) == "CONF-V1");
    // once more changes nothing
    CHECK(world.reply(device, asked).empty());
    CHECK(world.install(device, asked).empty());
  }
}

TEST_CASE("Only optional packages hold nothing back, and may come after the end") {
  World world;
  world.set_packages({package("extra", PackageSource::kUrl, false)});
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  REQUIRE(line_of(messages) == "202 CERT-V1 KEYS-V2 KEYS-V1 DEPLOY-V2 CONF-V1");
  const Heard extra = find(messages, "DEPLOY-V2");
  CHECK(world.reply(device, find(messages, "CERT-V1")).empty());
  CHECK(world.reply(device, find(messages, "KEYS-V2")).empty());
  CHECK(world.reply(device, find(messages, "KEYS-V1")).empty());
  CHECK(world.request("gw1").status == JobStatus::kConfUpdating);
  CHECK(line_of(world.reply(device, find(messages, "CONF-V1"))) == "200");
  CHECK(world.install(device, extra).empty());
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
}

TEST_CASE("A required package that fails is the attempt's failure, with the device's words") {
  struct Case {
    Phase phase;
    const char* words;
  };
  for (const Case& one : {Case{Phase::kDownload, "the device could not download package app 1.0: wrong SHA-256. "},
                          Case{Phase::kInstall, "the device could not install package app 1.0: wrong SHA-256. "}}) {
    World world;
    world.set_packages({package("app")});
    const Device device = world.add_device("GW1");
    const auto messages = world.hello(device, kNonce1);
    const Heard asked = find(messages, "DEPLOY-V2");
    CHECK(world.notify(device, asked, one.phase, State::kFailed, 30, "wrong SHA-256").empty());
    const ProvisionRequest request = world.request("gw1");
    CHECK(request.status == JobStatus::kFailed);
    CHECK(request.failures == 1);
    CHECK(request.last_error.starts_with(one.words));
    CHECK(world.attempts("gw1")[0].state == AttemptState::kFailed);
    CHECK(world.reply(device, asked).empty());
    CHECK(world.install(device, asked).empty());
    CHECK(line_of(world.hello(device, kNonce2)).starts_with("202"));
  }
}

TEST_CASE("A required package that is refused is the attempt's failure too, inline or not") {
  for (const PackageSource source : {PackageSource::kUrl, PackageSource::kInline}) {
    World world;
    world.package_contents["app"] = "content";
    world.set_packages({package("app", source)});
    const Device device = world.add_device("GW1");
    const auto messages = world.hello(device, kNonce1);
    CHECK(world.reply(device, messages.back(), 500, "no room").empty());
    CHECK(world.request("gw1").last_error.find("refused package app 1.0") != std::string::npos);
    CHECK(world.request("gw1").last_error.find("(500): no room") != std::string::npos);
    CHECK(world.request("gw1").status == JobStatus::kFailed);
  }
}

TEST_CASE("An optional package that fails is noted, and the attempt goes on") {
  World world;
  world.set_packages({package("one", PackageSource::kUrl, false), package("app")});
  const Device device = world.add_device("GW1");
  const auto downloads = all_of(world.hello(device, kNonce1), "DEPLOY-V2");
  REQUIRE(downloads.size() == 2);
  world.reply(device, downloads[0]);
  CHECK(world.notify(device, downloads[0], Phase::kDownload, State::kFailed, 0, "no such host").empty());
  CHECK(world.request("gw1").failures == 0);
  CHECK(count_lines(world, "could not download package one 1.0: no such host; it is optional") == 1);
  world.reply(device, downloads[1]);
  const auto released = world.install(device, downloads[1]);
  REQUIRE(line_of(released) == "CONF-V1");
  CHECK(line_of(world.reply(device, released[0])) == "200");
}

TEST_CASE("A package that the device refuses ends the attempt, optional or not: it refuses all that follows") {
  for (const PackageSource source : {PackageSource::kUrl, PackageSource::kInline}) {
    World world;
    world.package_contents["one"] = "content";
    world.set_packages({package("one", source, false)});
    const Device device = world.add_device("GW1");
    const auto messages = world.hello(device, kNonce1);
    world.reply(device, find(messages, source == PackageSource::kUrl ? "DEPLOY-V2" : "DEPLOY-V1"), 500, "broken");
    CHECK(world.attempts("gw1")[0].state == AttemptState::kFailed);
    CHECK(world.request("gw1").last_error.find("(500): broken") != std::string::npos);
  }
}

TEST_CASE("Progress moves an attempt and leaves a bounded number of lines") {
  World world;
  world.set_packages({package("app")});
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  const Heard asked = find(messages, "DEPLOY-V2");
  world.reply(device, asked);
  for (int round = 0; round < 5; ++round) {
    for (int progress = 0; progress <= 100; progress += 5) {
      world.now += Seconds(200);
      CHECK(world.notify(device, asked, Phase::kDownload, State::kRunning, progress).empty());
      world.sweep();
    }
  }
  CHECK(world.attempts("gw1")[0].state == AttemptState::kOpen);
  CHECK(world.attempts("gw1")[0].moved_at == world.now);
  CHECK(count_lines(world, "package: package app 1.0: ") == 3);
  CHECK(count_lines(world, "package: package app 1.0: half downloaded") == 1);
  world.now += Seconds(300);
  world.sweep();
  CHECK(world.request("gw1").last_error.starts_with("nothing moved for 5m: the device owes its reply to"));
}

TEST_CASE("News of a package counts only from its own device and only in its own attempt") {
  World world;
  world.set_packages({package("app")});
  const Device device = world.add_device("GW1");
  const Device other = world.add_device("GW2");
  const Heard first = find(world.hello(device, kNonce1), "DEPLOY-V2");
  CHECK(world.install(other, first).empty());
  CHECK(world.notify(other, first, Phase::kInstall, State::kFailed).empty());
  CHECK(world.notify(device, {4711, Phase::kInstall, State::kDone, 100, ""}).empty());
  CHECK(world.misses == 4);
  CHECK(world.request("gw1").failures == 0);

  const auto again = world.hello(device, kNonce2);  // supersedes
  CHECK(world.install(device, first).empty());
  CHECK(world.notify(device, first, Phase::kInstall, State::kFailed, 0, "old").empty());
  CHECK(world.attempts("gw1")[1].state == AttemptState::kOpen);
  const Heard second = find(again, "DEPLOY-V2");
  CHECK(world.reply(device, second).empty());
  CHECK(line_of(world.install(device, second)) == "CONF-V1");
}

TEST_CASE("A held configuration is sent by no sweep and no repeated hello, and cannot be answered") {
  World world;
  world.set_packages({package("app")});
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  const std::int64_t attempt = world.attempts("gw1")[0].id;
  const Step held = world.steps(attempt).back();
  REQUIRE(held.kind == StepKind::kConfiguration);
  CHECK(held.held);
  CHECK(held.send_count == 0);
  for (int i = 0; i < 3; ++i) {
    world.now += Seconds(61);
    CHECK(line_of(world.sweep()) == "CERT-V1 KEYS-V2 KEYS-V1 DEPLOY-V2");
    world.now += Seconds(3);
    CHECK(line_of(world.hello(device, kNonce1)) == "202 CERT-V1 KEYS-V2 KEYS-V1 DEPLOY-V2");
    CHECK(world.reply_as(device, held.rid, StepKind::kConfiguration, 200).empty());
  }
  CHECK(world.misses == 3);
  CHECK(world.request("gw1").status == JobStatus::kStarted);
  // once it is sent, it is repeated like any other
  world.reply(device, find(messages, "DEPLOY-V2"));
  REQUIRE(line_of(world.install(device, find(messages, "DEPLOY-V2"))) == "CONF-V1");
  world.now += Seconds(10);
  CHECK(line_of(world.sweep()) == "CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
}

TEST_CASE("A package that is being worked on is asked for again only when nothing was heard for a minute") {
  World world;
  world.set_packages({package("app")});
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  for (const char* const app : {"CERT-V1", "KEYS-V2", "KEYS-V1", "DEPLOY-V2"}) world.reply(device, find(messages, app));
  world.now += Seconds(59);
  CHECK(world.sweep().empty());
  world.notify(device, find(messages, "DEPLOY-V2"), Phase::kDownload, State::kRunning, 10);
  world.now += Seconds(59);
  CHECK(world.sweep().empty());
  world.now += Seconds(1);
  const auto again = world.sweep();
  REQUIRE(line_of(again) == "DEPLOY-V2");
  CHECK(again[0].raw == find(messages, "DEPLOY-V2").raw);
  // and before that if the device says hello: it may have forgotten
  world.now += Seconds(3);
  CHECK(line_of(world.hello(device, kNonce1)) == "202 DEPLOY-V2");
}

TEST_CASE("A request's own packages and configuration go before its profile's") {
  World world;
  world.set_packages({package("app")});
  const Device device = world.add_device("GW1");
  world.change_request("gw1", [](ProvisionRequest& request) {
    request.packages = std::vector<Package>{package("mine")};
    request.configuration = protocol::Configurations{
        {"own.Component", {{"a", protocol::PropertyType::kString, false, false, {"b"}}}}};
  });
  const auto messages = world.hello(device, kNonce1);
  const Heard asked = find(messages, "DEPLOY-V2");
  CHECK(protocol::parse_download_request(asked.payload)->package.name == "mine");
  world.reply(device, asked);
  const Heard configuration = find(world.install(device, asked), "CONF-V1");
  CHECK(configuration.payload.body->find("own.Component") != std::string::npos);
  CHECK(configuration.payload.body->find("org.plant.Site") == std::string::npos);
  // none at all is a wish too
  world.change_request("gw1", [](ProvisionRequest& request) { request.packages = std::vector<Package>{}; });
  CHECK(line_of(world.hello(device, kNonce2)) == "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1");
}

TEST_CASE("A package that the platform cannot bring refuses the hello and tells the operator why") {
  World world;
  world.set_packages({package("small", PackageSource::kInline)});
  const Device device = world.add_device("GW1");
  CHECK(line_of(world.hello(device, kNonce1)) == "503");
  CHECK(world.request("gw1").last_error.find("package small: its file is gone") != std::string::npos);
  Package bad = package("app");
  bad.url = "${params.where}";
  world.set_packages({bad});
  CHECK(line_of(world.hello(device, kNonce1)) == "503");
  CHECK(world.request("gw1").last_error.find("package app: url: the request has no parameter \"where\"") !=
        std::string::npos);
  world.change_request("gw1", [](ProvisionRequest& request) { request.params["where"] = "file:///etc/passwd"; });
  CHECK(line_of(world.hello(device, kNonce1)) == "503");
  CHECK(world.attempts("gw1").empty());
}

TEST_CASE("A device that is asked for its signing request gets its packages behind it") {
  World world;
  world.set_packages({package("app")});
  const Device device = world.add_device("GW1");
  Hello hello = device.hello(kNonce1, "h");
  hello.csr_der.reset();
  const auto messages = world.hello(device, hello);
  REQUIRE(line_of(messages) == "202 CERT-V1 KEYS-V1");
  const auto rest = world.bring_request(device, find(messages, "KEYS-V1"), device.request_pem());
  REQUIRE(line_of(rest) == "KEYS-V2 KEYS-V1 DEPLOY-V2");
  const Heard asked = find(rest, "DEPLOY-V2");
  world.install(device, asked);
  CHECK(line_of(world.reply(device, asked)) == "CONF-V1");
}
