#include "core/protocol/deploy.hpp"

#include <doctest/doctest.h>

#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;

namespace {

const std::string kDigest(64, 'a');

DownloadRequest sample() {
  return {7, {"sensor-app", "1.2.0"}, "https://host:8443/p/sensor.tar.gz?t=1", kDigest, true};
}

// The payload of sample() with one metric set, added or (nullopt) removed.
KuraPayload changed(std::string_view name, std::optional<MetricValue> value) {
  return test::changed(to_payload(sample()), name, std::move(value));
}

template <typename T>
void check_malformed(const Result<T>& result, std::string_view why) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kMalformed);
  CAPTURE(result.error().message);
  CHECK(result.error().message.find(why) != std::string::npos);
}

void check_id(std::string_view file_name, const PackageId& expected) {
  CAPTURE(file_name);
  const auto id = package_id_of(file_name);
  REQUIRE(id);
  CHECK(id->name == expected.name);
  CHECK(id->version == expected.version);
}

}  // namespace

TEST_CASE("a download request has the metrics of Kura and comes back as it was sent") {
  const KuraPayload payload = to_payload(sample());
  CHECK(payload.int64("job.id") == 7);
  CHECK(*payload.string("dp.uri") == "https://host:8443/p/sensor.tar.gz?t=1");
  CHECK(*payload.string("dp.name") == "sensor-app");
  CHECK(*payload.string("dp.version") == "1.2.0");
  CHECK(*payload.string("dp.download.protocol") == "HTTPS");
  CHECK(*payload.string("dp.download.hash") == "SHA-256:" + kDigest);
  CHECK(std::get<bool>(payload.find("dp.install")->value));
  const auto request = parse_download_request(payload);
  REQUIRE(request);
  CHECK(*request == sample());
}

TEST_CASE("a download request without dp.install means to install, without a protocol it is read all the same") {
  CHECK(parse_download_request(changed("dp.install", {}))->install);
  CHECK_FALSE(parse_download_request(changed("dp.install", false))->install);
  CHECK(parse_download_request(changed("dp.download.protocol", {})));
  CHECK(parse_download_request(changed("dp.download.hash", "SHA-256:" + std::string(64, 'A')))->sha256 == kDigest);
}

TEST_CASE("a download request without its parts, or with parts of another type, is malformed and says which") {
  for (const char* name : {"job.id", "dp.uri", "dp.name", "dp.version", "dp.download.hash"}) {
    check_malformed(parse_download_request(changed(name, {})), name);
    check_malformed(parse_download_request(changed(name, 1.0)), name);
  }
  check_malformed(parse_download_request(changed("dp.install", "yes")), "dp.install");
  check_malformed(parse_download_request(changed("job.id", std::int32_t{7})), "job.id");
}

TEST_CASE("a hash is SHA-256 with 64 hex digits") {
  const std::string long_hash = "SHA-256:" + kDigest + "aa";
  for (const std::string& hash : {std::string(), kDigest, "MD5:" + std::string(32, 'a'), "sha-256:" + kDigest,
                                  std::string("SHA-256:"), "SHA-256:" + std::string(63, 'a'),
                                  "SHA-256:" + std::string(64, 'g'), "SHA-256: " + std::string(63, 'a'), long_hash}) {
    CAPTURE(hash);
    check_malformed(parse_download_request(changed("dp.download.hash", hash)), "dp.download.hash");
  }
}

TEST_CASE("names and versions are harmless components of a path") {
  for (const std::string& bad : {std::string(), std::string("."), std::string(".."), std::string(".hidden"),
                                 std::string("a/b"), std::string("a\\b"), std::string("a b"), std::string("a\nb"),
                                 std::string("a\0b", 3), std::string("ä"), std::string("a:b"), std::string(129, 'a')}) {
    CAPTURE(bad);
    CHECK_FALSE(is_package_name(bad));
    CHECK_FALSE(is_package_version(bad));
    check_malformed(parse_download_request(changed("dp.name", bad)), "dp.name");
    check_malformed(parse_download_request(changed("dp.version", bad)), "dp.version");
  }
  CHECK(is_package_name("org.example.app_core+x-1"));
  CHECK(is_package_name(std::string(128, 'a')));
  CHECK(is_package_version("1.2.0-rc.1+build~3"));
  CHECK(is_package_version(std::string(64, '1')));
  CHECK_FALSE(is_package_version(std::string(65, '1')));
  CHECK_FALSE(is_package_version("1_2"));
}

TEST_CASE("a uri is printable and not endless") {
  for (const std::string& bad : {std::string(), std::string("http://a b"), std::string("http://a\r\nX: y"),
                                 std::string("http://ä"), "http://a/" + std::string(2048, 'a')}) {
    check_malformed(parse_download_request(changed("dp.uri", bad)), "dp.uri");
  }
  CHECK(parse_download_request(changed("dp.uri", "http://a/" + std::string(2039, 'a'))));
}

TEST_CASE("an install request comes back as it was sent") {
  const InstallRequest sent{8, {"sensor-app", "1.2.0"}};
  const auto request = parse_install_request(to_payload(sent));
  REQUIRE(request);
  CHECK(*request == sent);
  check_malformed(parse_install_request(KuraPayload{}), "job.id");
}

TEST_CASE("a notification has the metrics of its stage and comes back as it was sent") {
  const DeployNotification failed{DeployStage::kDownload, 7, 40, DeployStatus::kFailed, "404"};
  const KuraPayload payload = to_payload(failed, 5);
  CHECK(payload.timestamp == 5);
  CHECK(payload.int64("job.id") == 7);
  CHECK(payload.int32("dp.download.progress") == 40);
  CHECK(*payload.string("dp.download.status") == "FAILED");
  CHECK(*payload.string("dp.download.error.message") == "404");
  const auto read = parse_deploy_notification(DeployStage::kDownload, payload);
  REQUIRE(read);
  CHECK(*read == failed);

  const DeployNotification done{DeployStage::kInstall, 7, 100, DeployStatus::kAlreadyDone, ""};
  const KuraPayload installed = to_payload(done, 5);
  CHECK(installed.int32("dp.install.progress") == 100);
  CHECK(*installed.string("dp.install.status") == "ALREADY DONE");
  CHECK(installed.find("dp.install.error.message") == nullptr);
  CHECK(*parse_deploy_notification(DeployStage::kInstall, installed) == done);
  check_malformed(parse_deploy_notification(DeployStage::kDownload, installed), "dp.download.progress");
}

TEST_CASE("a notification out of its range is malformed") {
  const auto with = [](std::int32_t progress, std::string status) {
    KuraPayload payload;
    payload.add("job.id", std::int64_t{1});
    payload.add("dp.install.progress", progress);
    payload.add("dp.install.status", std::move(status));
    return parse_deploy_notification(DeployStage::kInstall, payload);
  };
  CHECK(with(100, "COMPLETED"));
  check_malformed(with(-1, "COMPLETED"), "dp.install.progress");
  check_malformed(with(101, "COMPLETED"), "dp.install.progress");
  check_malformed(with(1, "DONE"), "dp.install.status");
  check_malformed(with(1, "completed"), "dp.install.status");
}

TEST_CASE("every stage and status has a name that is read back") {
  for (const DeployStage stage : {DeployStage::kDownload, DeployStage::kInstall}) {
    CHECK(*parse_deploy_stage(to_string(stage)) == stage);
  }
  for (const DeployStatus status : {DeployStatus::kInProgress, DeployStatus::kCompleted, DeployStatus::kFailed,
                                    DeployStatus::kAlreadyDone, DeployStatus::kCancelled}) {
    CHECK(*parse_deploy_status(to_string(status)) == status);
  }
  CHECK_FALSE(parse_deploy_stage("remove"));
}

TEST_CASE("an inline package carries its file name and at most 512 KiB") {
  const auto package = parse_inline_package(to_payload(InlinePackage{"app_1.tar.gz", Bytes(kMaxInlinePackage, 'x')}));
  REQUIRE(package);
  CHECK(package->file_name == "app_1.tar.gz");
  CHECK(package->content.size() == kMaxInlinePackage);
  const auto larger = parse_inline_package(to_payload(InlinePackage{"a", Bytes(kMaxInlinePackage + 1, 'x')}));
  REQUIRE_FALSE(larger);
  CHECK(larger.error().code == ErrorCode::kLimitExceeded);
  check_malformed(parse_inline_package(to_payload(InlinePackage{"a", ""})), "body");
  for (const char* name : {"", "..", "../a", "/etc/passwd", "a/b", ".profile", "a b"}) {
    check_malformed(parse_inline_package(to_payload(InlinePackage{name, "x"})), "deploy.filename");
  }
}

TEST_CASE("a file name says name and version") {
  check_id("sensor-app_1.2.0.tar.gz", {"sensor-app", "1.2.0"});
  check_id("sensor_app_1.2.0.tgz", {"sensor_app", "1.2.0"});
  check_id("sensor-app-1.2.0.tar.gz", {"sensor-app", "1.2.0"});
  check_id("sensor-app-1.2.0-rc1.tar.gz", {"sensor-app", "1.2.0-rc1"});
  check_id("firmware_3.bin", {"firmware", "3"});
  check_id("firmware_3.1", {"firmware", "3.1"});
  check_id("hello.tar.gz", {"hello", "0"});
  check_id("README", {"README", "0"});
  for (const char* bad : {"", "_1.tar.gz", "a_.tar.gz", "a_.1.tar.gz", ".tar.gz"}) {
    CAPTURE(bad);
    check_malformed(package_id_of(bad), "deploy.filename");
  }
}

TEST_CASE("whatever name and version a package has, its file name gives them back") {
  for (const PackageId& id : {PackageId{"a", "1"}, PackageId{"a_b-2", "1.0-3"}, PackageId{"x.tar.gz", "1.2.3"}}) {
    check_id(package_file_name(id, ".tar.gz"), id);
    check_id(package_file_name(id, ".bin"), id);
  }
}

TEST_CASE("the reply to an inline package names it") {
  KuraPayload reply;
  add_installed_package(reply, {"app", "1.0"});
  CHECK(*reply.string("deploy.pkg.name") == "app");
  CHECK(*reply.string("deploy.pkg.version") == "1.0");
  CHECK(*parse_installed_package(reply) == PackageId{"app", "1.0"});
  check_malformed(parse_installed_package(KuraPayload{}), "deploy.pkg.name");
}
