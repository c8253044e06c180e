#include "provisioner/service/package_desk.hpp"

#include <doctest/doctest.h>

#include "core/crypto/tls.hpp"
#include "tests/unit/provisioner/service/stage.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

PackageServerSettings server_settings() {
  const auto key = crypto::PrivateKey::generate().value();
  const WallTime now = wall_now();
  const auto certificate =
      crypto::issue_root({crypto::CertificateProfile::kRootCa, "server", {}, now - Seconds(60), now + Seconds(3600)}, key);
  PackageServerSettings settings;
  settings.address = "127.0.0.1";
  settings.tls = crypto::make_server_context(certificate.value().to_pem(), key.to_pem()).value();
  return settings;
}

}  // namespace

TEST_CASE("Without a host that devices could reach, a package of the operator's is an error that names the setting") {
  Stage stage;
  const fleet::test::TempFolder folder;
  const auto url_of = [&](const std::string& base_url) {
    const auto files = std::make_shared<const PackageFolder>(folder / "packages");
    REQUIRE(files->prepare());
    PackageDesk desk(stage.io, stage.store, files, PackageLinks(base_url, Bytes(32, 'k')), server_settings());
    ExecutorSettings settings;
    desk.equip(settings);
    Package package;
    package.name = "app";
    package.source = PackageSource::kFile;
    package.file_name = "app.tar.gz";
    package.sha256 = std::string(64, 'a');
    const auto url = settings.package_url(package, 1, 2);
    desk.stop();
    return url;
  };
  const auto nowhere = url_of("");
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().code == ErrorCode::kUnavailable);
  CHECK(nowhere.error().message ==
        "package app: the broker's certificate has no host that devices could get packages from; set packages.url in the "
        "settings and restart the provisioner");
  const auto somewhere = url_of("https://packages.example:8885");
  REQUIRE(somewhere);
  CHECK(somewhere->starts_with("https://packages.example:8885/p/" + std::string(64, 'a') + "/app.tar.gz?a=1.2&"));
}
