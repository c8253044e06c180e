#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/unit/provisioner/manifest/platform.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

config::Node inlined(const std::string& yaml, const std::filesystem::path& folder, config::Problems& problems) {
  config::Node node = parse(yaml).at(0);
  inline_files(node, folder, problems);
  return node;
}

}  // namespace

TEST_CASE("files are found beside the document that names them") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "owner-ca.pem", make_ca_pem()));
  config::Problems problems;
  const config::Node node = inlined(
      "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: acme}\nspec: {broker: {url: \"mqtts://b\", caFile: "
      "owner-ca.pem}}\n",
      folder.path(), problems);
  CHECK(problems.empty());
  CHECK(decode_manifest(node, problems).has_value());
}

TEST_CASE("a password file loses its last line end and nothing else") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "password", " correct horse \r\n"));
  config::Problems problems;
  const config::Node node =
      inlined(request_yaml("gw", "C1", "  provisionUserPasswordFile: password\n"), folder.path(), problems);
  const auto manifest = decode_manifest(node, problems);
  REQUIRE(manifest.has_value());
  CHECK(std::get<RequestManifest>(*manifest).password->reveal() == " correct horse ");
}

TEST_CASE("an all-digit password in a file is a text") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "password", "00123456789012345\n"));
  config::Problems problems;
  const config::Node node =
      inlined(request_yaml("gw", "C1", "  provisionUserPasswordFile: password\n"), folder.path(), problems);
  const auto again = config::parse_json(config::to_json(node));
  REQUIRE(again.has_value());
  CHECK(std::get<RequestManifest>(decode_manifest(*again, problems).value()).password->reveal() == "00123456789012345");
}

TEST_CASE("a file that cannot be taken in is a problem at its place") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "binary", std::string("\xff\xfe\x00", 3)));
  REQUIRE(write_file(folder / "huge", std::string(1024 * 1024 + 1, 'x')));
  for (const std::string file : {"missing", "binary", "huge", "."}) {
    CAPTURE(file);
    config::Problems problems("gw.yaml");
    inlined(request_yaml("gw", "C1", "  provisionUserPasswordFile: " + file + "\n"), folder.path(), problems);
    REQUIRE(problems.list().size() == 1);
    CHECK(problems.list()[0].str().starts_with("gw.yaml:8:30: spec.provisionUserPasswordFile: "));
  }
}

TEST_CASE("a password is given once") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "password", "correct-horse-battery"));
  config::Problems problems;
  inlined(request_yaml("gw", "C1", "  provisionUserPassword: another\n  provisionUserPasswordFile: password\n"),
          folder.path(), problems);
  REQUIRE(problems.list().size() == 1);
  CHECK(problems.list()[0].why == "give either provisionUserPassword or provisionUserPasswordFile, not both");
}

TEST_CASE("an activation key comes from a file, too, and is given once") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "key", "0011223344556677\n"));
  config::Problems problems;
  const config::Node node = inlined(request_yaml("gw", "C1", "  activationKeyFile: key\n"), folder.path(), problems);
  const auto manifest = decode_manifest(node, problems);
  REQUIRE(manifest.has_value());
  CHECK(std::get<RequestManifest>(*manifest).activation_key->reveal() == "0011223344556677");

  config::Problems twice("gw.yaml");
  inlined(request_yaml("gw", "C1", "  activationKey: another\n  activationKeyFile: key\n"), folder.path(), twice);
  REQUIRE(twice.list().size() == 1);
  CHECK(twice.list()[0].str() ==
        "gw.yaml:9:22: spec.activationKeyFile: give either activationKey or activationKeyFile, not both");

  config::Problems both("gw.yaml");
  const config::Node generated = inlined(request_yaml("gw", "C1", "  generateActivationKey: true\n  activationKeyFile: key\n"),
                                         folder.path(), both);
  CHECK(both.empty());
  CHECK_FALSE(decode_manifest(generated, both).has_value());
  REQUIRE(both.list().size() == 1);
  CHECK(both.list()[0].str() ==
        "gw.yaml:9:22: spec.activationKey: give either generateActivationKey, or activationKey or activationKeyFile");
}

TEST_CASE("what is no document is left alone") {
  const fleet::test::TempFolder folder;
  for (const std::string yaml :
       {"text\n", "spec: [1]\n", "spec: {broker: 5}\n", "spec: {provisionUserPasswordFile: [a]}\n"}) {
    config::Problems problems;
    inlined(yaml, folder.path(), problems);
    CHECK(problems.empty());
  }
}
