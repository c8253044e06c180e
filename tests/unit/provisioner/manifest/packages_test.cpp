// Packages in profiles and requests: edc §4.5 as an operator writes it.
#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/crypto/digest.hpp"
#include "provisioner/manifest/export.hpp"
#include "tests/unit/provisioner/manifest/platform.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

const std::string kHash(64, 'a');

std::string with_packages(const std::string& items) {
  return profile_yaml("  packages:\n" + items);
}

std::vector<Package> packages_of(const std::string& items) {
  return std::get<Profile>(decode(with_packages(items)).at(0).manifest).packages;
}

void check_problems(const std::string& items, const std::vector<std::string>& starts) {
  const auto problems = problems_of(with_packages(items));
  CAPTURE(items);
  REQUIRE(problems.size() == starts.size());
  for (std::size_t i = 0; i < starts.size(); ++i) CHECK_MESSAGE(problems[i].starts_with(starts[i]), problems[i]);
}

config::Node measured(const std::string& yaml, const std::filesystem::path& folder, config::Problems& problems,
                      std::vector<PackageFile>& files) {
  config::Node node = parse(yaml).at(0);
  files = measure_packages(node, folder, problems);
  return node;
}

}  // namespace

TEST_CASE("a package by URL has its hash, and is required unless said otherwise") {
  const auto packages = packages_of("    - {name: app, version: 1.2.0, url: \"https://x.test/${labels.site}/app.tgz\", sha256: " +
                                    std::string(64, 'A') + "}\n    - {name: extra, version: \"2\", url: \"http://x.test/e\", "
                                    "sha256: " + kHash + ", requiredBeforeConfiguration: false}\n");
  REQUIRE(packages.size() == 2);
  CHECK(packages[0].name == "app");
  CHECK(packages[0].version == "1.2.0");
  CHECK(packages[0].source == PackageSource::kUrl);
  CHECK(packages[0].url == "https://x.test/${labels.site}/app.tgz");
  CHECK(packages[0].sha256 == kHash);
  CHECK(packages[0].required_before_configuration);
  CHECK(!packages[1].required_before_configuration);
}

TEST_CASE("everything that is wrong with packages is said at once") {
  check_problems("    - {name: \"a/b\", version: \"1 0\", url: \"ftp://x\", sha256: zz, more: 1}\n",
                 {"spec.packages[0].name: ", "spec.packages[0].version: ", "spec.packages[0].sha256: ",
                  "spec.packages[0].url: must begin with", "spec.packages[0].more: "});
  check_problems("    - {name: a, version: 1, url: \"https://x\"}\n",
                 {"spec.packages[0].sha256: missing: devices accept nothing else than what you mean; see: curl -fL"});
  check_problems("    - {name: a, version: 1}\n", {"spec.packages[0].url: give either url or file"});
  check_problems("    - {name: a, version: 1, url: \"https://x\", file: y, sha256: " + kHash + "}\n",
                 {"spec.packages[0].file: give either url or file"});
  check_problems("    - {name: a, version: 1, url: \"https://x\", inline: true, sha256: " + kHash + "}\n",
                 {"spec.packages[0].inline: only a file"});
  check_problems("    - {name: a, version: 1, file: big.tgz, inline: true, size: 524289, sha256: " + kHash + "}\n",
                 {"spec.packages[0].inline: the file has 524289 bytes"});
  const std::string one = "    - {name: a, version: 1, url: \"https://x\", sha256: " + kHash + "}\n";
  check_problems(one + one, {"spec.packages[1].name: a second package 'a'"});
  std::string ten;
  for (int i = 0; i < 10; ++i) {
    ten += "    - {name: a" + std::to_string(i) + ", version: 1, url: \"https://x\", sha256: " + kHash + "}\n";
  }
  check_problems(ten, {"spec.packages: 10 packages: a device takes at most 9"});
  CHECK(problems_of(profile_yaml("  packages: {a: b}\n")).at(0) == "spec.packages: must be a list of packages");
}

TEST_CASE("nine packages are not too many: with the configuration they are the ten attachments of a request") {
  std::string nine;
  for (int i = 0; i < 9; ++i) {
    nine += "    - {name: a" + std::to_string(i) + ", version: 1, url: \"https://x\", sha256: " + kHash + "}\n";
  }
  CHECK(packages_of(nine).size() == 9);
}

TEST_CASE("a file is found beside its document and measured") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "driver-3.tar.gz", "content"));
  config::Problems problems;
  std::vector<PackageFile> files;
  const auto node = measured(with_packages("    - {name: driver, version: 3, file: ./driver-3.tar.gz, inline: true}\n"),
                             folder.path(), problems, files);
  CHECK(problems.empty());
  REQUIRE(files.size() == 1);
  CHECK(files[0].sha256 == to_hex(crypto::sha256("content")));
  CHECK(files[0].size == 7);
  CHECK(read_file(files[0].path) == "content");
  const auto manifest = decode_manifest(node, problems);
  REQUIRE(manifest.has_value());
  const Package package = std::get<Profile>(*manifest).packages.at(0);
  CHECK(package.source == PackageSource::kInline);
  CHECK(package.file_name == "driver-3.tar.gz");
  CHECK(package.sha256 == files[0].sha256);
  CHECK(package.size == 7);
  // and the same once it has travelled to the service
  const auto again = config::parse_json(config::to_json(node));
  REQUIRE(again);
  const auto arrived = decode_manifest(*again, problems);
  REQUIRE(arrived.has_value());
  CHECK(std::get<Profile>(*arrived).packages.at(0) == package);
}

TEST_CASE("a file that cannot be read, or is another one than its hash says, is a problem where it stands") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "there", "content"));
  config::Problems problems("f.yaml");
  std::vector<PackageFile> files;
  measured(with_packages("    - {name: a, version: 1, file: not-there}\n    - {name: b, version: 1, file: there, sha256: " +
                         kHash + "}\n    - {name: c, version: 1, file: .}\n    - {name: d, version: 1, file: there, size: 3}\n"),
           folder.path(), problems, files);
  REQUIRE(problems.list().size() == 4);
  CHECK(problems.list()[0].path == "spec.packages[0].file");
  CHECK(problems.list()[0].mark.line > 0);
  CHECK(problems.list()[1].path == "spec.packages[1].sha256");
  CHECK(problems.list()[2].path == "spec.packages[2].file");
  CHECK(problems.list()[3].path == "spec.packages[3].size");
  CHECK(files.empty());
}

TEST_CASE("a request's own configuration and packages are kept with it, and go when they are left out") {
  Platform platform;
  platform.apply(account_yaml() + kNextDocument + profile_yaml());
  const std::string own = "  configuration: {own.Pid: {a: 1}}\n  packages:\n    - {name: a, version: 1, url: "
                          "\"https://x/${clientId}\", sha256: " + kHash + "}\n";
  CHECK(platform.apply(request_yaml("gw", "C1", own)).applied.at(0).change == "created");
  ProvisionRequest request = platform.request("gw");
  REQUIRE(request.configuration.has_value());
  CHECK(request.configuration->at(0).pid == "own.Pid");
  REQUIRE(request.packages.has_value());
  CHECK(request.packages->at(0).url == "https://x/${clientId}");
  CHECK(platform.apply(request_yaml("gw", "C1", own)).applied.at(0).change == "unchanged");
  CHECK(platform.apply(request_yaml("gw", "C1", "  overwriteIfDuplicate: true\n")).applied.at(0).change == "configured");
  request = platform.request("gw");
  CHECK(!request.configuration);
  CHECK(!request.packages);
  CHECK(platform.timeline("gw").back().text == "configuration, packages changed by uid 1000 (olga)");
}

TEST_CASE("a package that does not render for a request is a problem of the request") {
  Platform platform;
  platform.apply(account_yaml() + kNextDocument + profile_yaml());
  const auto report = platform.apply(request_yaml(
      "gw", "C1", "  packages:\n    - {name: a, version: 1, url: \"https://x/${params.none}\", sha256: " + kHash + "}\n"));
  REQUIRE(report.problems.size() == 1);
  CHECK(report.problems[0].why.find("package a: url: the request has no parameter \"none\"") != std::string::npos);
}

TEST_CASE("a url that a device would refuse with the request's values is a problem of the request") {
  Platform platform;
  platform.apply(account_yaml() + kNextDocument + profile_yaml());
  const auto why = [&](const std::string& label) -> std::string {
    const std::string item = "{name: a, version: 1, url: \"https://x/${params.site}\", sha256: " + kHash + "}";
    const std::string spec = "  params: {site: \"" + label + "\"}\n  packages:\n    - " + item + "\n";
    const auto report = platform.apply(request_yaml("gw", "C1", spec));
    return report.problems.empty() ? "" : report.problems[0].why;
  };
  CHECK(why("hall 1").find("package a: url: ") != std::string::npos);
  CHECK(why("Würzburg").find("package a: url: ") != std::string::npos);
  CHECK(why("Wuerzburg").empty());
}

TEST_CASE("a file that was not uploaded keeps everything out, and one that is dropped is reported") {
  Platform platform;
  std::string there;
  ApplyOptions options = Platform::kOperator;
  options.has_file = [&there](const std::string& sha256) { return sha256 == there; };
  const std::string profile =
      with_packages("    - {name: a, version: 1, file: a.tgz, size: 7, sha256: " + kHash + "}\n");
  auto report = platform.apply(account_yaml() + kNextDocument + profile, options);
  REQUIRE(report.problems.size() == 1);
  CHECK(report.problems[0].document == 1);
  CHECK(report.problems[0].path == "spec.packages[0].file");
  there = kHash;
  report = platform.apply(account_yaml() + kNextDocument + profile, options);
  CHECK(report.problems.empty());
  CHECK(report.dropped_files.empty());
  platform.run([](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const PackageFiles files, tx.package_files());
    CHECK(files.all == std::set<std::string>{kHash});
    CHECK(files.downloads);
    return {};
  });
  CHECK(platform.apply(profile, options).applied.at(0).change == "unchanged");
  report = platform.apply(profile_yaml(), options);
  CHECK(report.applied.at(0).change == "configured");
  CHECK(report.dropped_files == std::vector<std::string>{kHash});
}

TEST_CASE("packages, a request's own configuration and passwords come back from their manifests as they are") {
  const std::string items = "    - {name: app, version: 1.2.0, url: \"https://x.test/${labels.site}\", sha256: " + kHash +
                            "}\n    - {name: b, version: \"2\", file: b.tgz, size: 7, sha256: " + kHash +
                            ", inline: true, requiredBeforeConfiguration: false}\n";
  const auto profile =
      std::get<Profile>(decode(with_packages(items) + "  certificate: {required: true}\n").at(0).manifest);
  const auto profile_back =
      std::get<Profile>(decode(config::to_yaml(to_manifest(profile, Secrets::kShown))).at(0).manifest);
  CHECK(profile_back.packages == profile.packages);
  CHECK(profile_back.wants_certificate);

  ProvisionRequest request;
  request.name = "gw";
  request.profile = "gateway";
  request.client_id = "C1";
  request.username = "u";
  request.configuration = profile.configuration;
  request.packages = std::vector<Package>{};
  const auto request_back =
      std::get<RequestManifest>(decode(config::to_yaml(to_manifest(request, Secrets::kShown))).at(0).manifest);
  CHECK(request_back.configuration == request.configuration);
  CHECK(request_back.packages == request.packages);

  auto account = std::get<Account>(decode(account_yaml()).at(0).manifest);
  account.credentials = OwnerCredentials::kPassword;
  account.tight = CredentialsTight::kLoose;
  account.connector.command = {"/usr/bin/hand-over", "--realm"};
  auto account_back = std::get<Account>(decode(config::to_yaml(to_manifest(account))).at(0).manifest);
  CHECK(account_back.credentials == OwnerCredentials::kPassword);
  CHECK_FALSE(account_back.is_strict());
  CHECK(account_back.connector == account.connector);
  account.connector = {"/srv/owner.db", {}};
  account_back = std::get<Account>(decode(config::to_yaml(to_manifest(account))).at(0).manifest);
  CHECK(account_back.connector == account.connector);
}

TEST_CASE("a file that the service gave out by its hash is not looked for") {
  config::Problems problems;
  std::vector<PackageFile> files;
  const auto node = measured(with_packages("    - {name: a, version: 1, file: elsewhere.tgz, size: 7, sha256: " + kHash + "}\n"),
                             "/nowhere", problems, files);
  CHECK(problems.empty());
  CHECK(files.empty());
  CHECK(decode_manifest(node, problems).has_value());
}
