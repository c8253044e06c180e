// Applications from the operator's file to the device (edc §4.5): a raw device, curl as its downloader, kill -9.
#include <fcntl.h>

#include <optional>
#include <regex>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "tests/system/raw_device.hpp"

using namespace fleet;
using namespace fleet::test;
using protocol::DeployStage;
using protocol::DeployStatus;

namespace {

constexpr const char* kId = "02FC00000001";
const std::string kContent = std::string(300'000, 'p') + "end";

void keep(Result<void> result) {
  if (!result) throw std::runtime_error(result.error().message);
}

// A platform with a profile that has packages, and a raw device of a request for it.
class PackageRig {
 public:
  explicit PackageRig(const std::string& packages) {
    write("app.tar.gz", kContent);
    write("small.tar.gz", "inline content");
    rig.start_provisioner();
    rig.apply(rig.account_and_profile("  attemptTimeout: 60s\n  packages:\n" + packages));
    credentials = rig.request("gw", kId);
    device.emplace(rig, credentials);
    device->join();
  }

  void write(const std::string& name, const std::string& content) { keep(write_file(rig.folder() / name, content)); }

  // All but packages and configuration are answered.
  std::string begin() {
    const std::string request_id = device->say(device->hello());
    for (const std::string_view app : {protocol::kAppCert, protocol::kAppKeysV2, protocol::kAppKeysV1}) {
      device->reply(device->await(app));
    }
    return request_id;
  }

  std::size_t count(std::string_view app) const {
    std::size_t found = 0;
    for (const Asked& one : device->asked()) found += one.app == app ? 1 : 0;
    return found;
  }

  protocol::DownloadRequest download_of(const Asked& asked) const {
    return must(protocol::parse_download_request(must(protocol::decode(asked.payload))));
  }

  Outcome curl(const std::string& uri, std::vector<std::string> more = {}) const {
    std::vector<std::string> command{"curl", "-sS", "--max-time", "20", "--cacert", rig.root_certificate().string()};
    command.insert(command.end(), more.begin(), more.end());
    command.push_back(uri);
    return run(command);
  }

  Rig rig;
  Credentials credentials;
  std::optional<RawDevice> device;
};

const std::string kApp = "    - {name: app, version: 1.0, file: app.tar.gz}\n";

}  // namespace

TEST_CASE("a device gets its packages, downloads from the provisioner, and then its configuration") {
  PackageRig t(kApp + "    - {name: small, version: 2.0, file: small.tar.gz, inline: true, "
                      "requiredBeforeConfiguration: false}\n");
  const std::string request_id = t.begin();
  const Asked app = t.device->await(protocol::kAppDeployV2);
  const Asked small = t.device->await(protocol::kAppDeployV1);
  const auto inline_package =
      must(protocol::parse_inline_package(must(protocol::decode(small.payload))));
  CHECK(inline_package.file_name == "small_2.0.tar.gz");
  CHECK(inline_package.content == "inline content");
  const auto wish = t.download_of(app);
  CHECK(wish.package == protocol::PackageId{"app", "1.0"});
  CHECK(wish.sha256 == to_hex(crypto::sha256(kContent)));
  CHECK(wish.uri.starts_with("https://localhost:" + std::to_string(t.rig.packages_port()) + "/p/"));

  const Outcome whole = t.curl(wish.uri);
  INFO(whole.errors << t.rig.provisioner_log());
  CHECK(whole.output == kContent);
  CHECK(t.curl(wish.uri, {"-r", "300000-"}).output == "end");
  CHECK(t.curl(wish.uri + "0", {"-o", "/dev/null", "-w", "%{http_code}"}).output == "403");

  CHECK(t.count(protocol::kAppConf) == 0);
  t.device->notify(app, DeployStage::kDownload, DeployStatus::kInProgress, 60);
  t.device->reply(app);
  t.device->reply(small);
  CHECK(eventually([&] { return t.rig.status("gw") == "APPS_INSTALLING"; }));
  CHECK(t.count(protocol::kAppConf) == 0);
  t.device->notify(app, DeployStage::kDownload, DeployStatus::kCompleted);
  t.device->notify(app, DeployStage::kInstall, DeployStatus::kCompleted);
  const Asked configuration = t.device->await(protocol::kAppConf);
  CHECK(eventually([&] { return t.rig.status("gw") == "CONF_UPDATING"; }));
  t.device->reply(configuration);
  CHECK(t.device->recorded(request_id));
  CHECK(t.rig.status("gw") == "COMPLETED");
  const std::string story = t.rig.describe("gw");
  CHECK(story.find("package app 1.0: half downloaded") != std::string::npos);
  CHECK(std::regex_search(story, std::regex("accepted [^\n]*package small 2.0 in the message")));
}

TEST_CASE("the reply may come after the last notification") {
  PackageRig t(kApp);
  const std::string request_id = t.begin();
  const Asked app = t.device->await(protocol::kAppDeployV2);
  t.device->notify(app, DeployStage::kInstall, DeployStatus::kAlreadyDone);
  t.device->client().listen(Millis(500));
  CHECK(t.count(protocol::kAppConf) == 0);
  t.device->reply(app);
  t.device->reply(t.device->await(protocol::kAppConf));
  CHECK(t.device->recorded(request_id));
}

TEST_CASE("a required package that fails ends the attempt, and its link dies with it") {
  PackageRig t(kApp);
  t.begin();
  const Asked app = t.device->await(protocol::kAppDeployV2);
  const std::string uri = t.download_of(app).uri;
  CHECK(t.curl(uri).output == kContent);
  t.device->reply(app);
  t.device->notify(app, DeployStage::kInstall, DeployStatus::kFailed, 40, "the hook says no");
  CHECK(eventually([&] { return t.rig.status("gw") == "FAILED"; }));
  CHECK(t.rig.request_field("gw", "lastError").find("could not install package app 1.0: the hook says no") !=
        std::string::npos);
  CHECK(t.curl(uri, {"-o", "/dev/null", "-w", "%{http_code}"}).output == "410");
  CHECK(t.count(protocol::kAppConf) == 0);
}

TEST_CASE("the provisioner may be killed between any two words on a package") {
  PackageRig t(kApp);
  std::string request_id = t.begin();
  const Asked app = t.device->await(protocol::kAppDeployV2);
  const auto again = [&] {
    t.rig.kill_provisioner();
    t.rig.start_provisioner();
    for (int i = 0; i < 20 && !t.device->client().connect(); ++i) t.device->client().listen(Millis(200));
    t.device->join();
    request_id = t.device->say(t.device->hello());
  };
  again();
  t.device->notify(app, DeployStage::kDownload, DeployStatus::kCompleted);
  again();
  t.device->reply(app);
  CHECK(eventually([&] { return t.rig.status("gw") == "APPS_INSTALLING"; }));
  again();
  CHECK(t.curl(t.download_of(app).uri).output == kContent);
  CHECK(t.count(protocol::kAppConf) == 0);
  t.device->notify(app, DeployStage::kInstall, DeployStatus::kCompleted);
  // Killed around the commit that lets the configuration go: it comes again. The notification itself may be lost behind
  // its PUBACK; the platform's repetition makes a device say it once more.
  again();
  t.device->notify(app, DeployStage::kInstall, DeployStatus::kCompleted);
  const Asked configuration = t.device->await(protocol::kAppConf);
  again();
  t.device->reply(configuration);
  CHECK(t.device->recorded(request_id));
  CHECK(t.rig.sql("SELECT count(*) FROM attempt") == "1");
}

TEST_CASE("files of packages are there as long as a profile names them, also over a restart") {
  PackageRig t(kApp);
  const auto files = [&] {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(t.rig.data() / "packages")) ++count;
    return count;
  };
  CHECK(files() == 1);
  t.write("app.tar.gz", "another content");
  t.rig.apply(t.rig.account_and_profile("  packages:\n" + kApp));
  CHECK(eventually([&] {
    return files() == 1 && std::filesystem::exists(t.rig.data() / "packages" / to_hex(crypto::sha256("another content")));
  }));
  t.rig.apply(t.rig.account_and_profile());
  CHECK(eventually([&] { return files() == 0; }));
  // what an apply never came to name goes at the next start
  t.write("stray", "stray");
  REQUIRE(run({"curl", "-sS", "--unix-socket", (t.rig.data() / "admin.sock").string(), "-T", (t.rig.folder() / "stray").string(),
               "http://x/v1/packages/" + to_hex(crypto::sha256("stray"))}).exit_code == 0);
  CHECK(files() == 1);
  t.rig.kill_provisioner();
  t.rig.start_provisioner();
  CHECK(files() == 0);
}

TEST_CASE("what is wrong with a package's file is said before anything is applied") {
  Rig rig;
  rig.start_provisioner();
  const auto apply = [&](const std::string& yaml) {
    keep(write_file(rig.folder() / "bad.yaml", yaml));
    return rig.cli({"apply", "-f", (rig.folder() / "bad.yaml").string()});
  };
  const Outcome outcome = apply(rig.account_and_profile("  packages:\n    - {name: app, version: 1, file: nowhere.tgz}\n"));
  CHECK(outcome.exit_code == 65);
  INFO(outcome.errors);
  CHECK(outcome.errors.find("bad.yaml:16:") != std::string::npos);
  CHECK(outcome.errors.find("nowhere.tgz") != std::string::npos);
}

TEST_CASE("a package port that somebody else has is named with its setting, and keeps nobody from provisioning") {
  Rig rig;
  boost::asio::io_context io;
  using boost::asio::ip::tcp;
  const tcp::endpoint endpoint(boost::asio::ip::address_v4::loopback(), static_cast<unsigned short>(rig.packages_port()));
  std::optional<tcp::acceptor> holder(std::in_place, io, endpoint);
  REQUIRE(::fcntl(holder->native_handle(), F_SETFD, FD_CLOEXEC) == 0);  // ours alone, and not our children's
  rig.start_provisioner();
  keep(write_file(rig.folder() / "app.tar.gz", kContent));
  rig.apply(rig.account_and_profile("  packages:\n" + kApp));
  const std::string complaint = "the package server cannot listen on 127.0.0.1 port " +
                                std::to_string(rig.packages_port()) +
                                ": Address already in use; name another packages.listen in the settings";
  CHECK(eventually([&] { return holds(rig.provisioner_log(), complaint); }));
  // who starts with it taken is told the same, runs, and brings what does not need it
  CHECK(rig.provisioner().stop() == 0);
  std::filesystem::remove(rig.folder() / "provisioner.log");
  rig.start_provisioner();
  CHECK(holds(rig.provisioner_log(), complaint));
  rig.apply(rig.account_and_profile());
  RawDevice device(rig, rig.request("gw", kId));
  device.join();
  CHECK(device.obey());
  CHECK(rig.provisioner_running());
  // and the port is taken up when it is free
  rig.apply(rig.account_and_profile("  packages:\n" + kApp));
  holder.reset();
  CHECK(eventually([&] { return holds(rig.provisioner_log(), "packages are served"); }, 20s));
}
