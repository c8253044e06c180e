#include <sys/stat.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "provisioner/cli/documents.hpp"
#include "provisioner/cli/output.hpp"
#include "provisioner/cli/secrets_file.hpp"
#include "tests/unit/provisioner/manifest/platform.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

TEST_CASE("a path is found where it stands, also through keys with dots") {
  const config::Node node = parse(
                                "metadata: {labels: {a: 1, a.b: 2}}\n"
                                "spec:\n"
                                "  configuration:\n"
                                "    org.example: {Component: 1}\n"
                                "    org.example.Component:\n"
                                "      list: [1, 2,\n"
                                "             3]\n")
                                .at(0);
  const auto at = [&](std::string_view path) {
    const config::Mark mark = locate(node, path);
    return std::to_string(mark.line) + ":" + std::to_string(mark.column);
  };
  CHECK(at("") == "1:1");
  CHECK(at("metadata.labels.a") == "1:24");
  CHECK(at("metadata.labels.a.b") == "1:32");
  CHECK(at("spec.configuration.org.example.Component.list[2]") == "7:14");
  CHECK(at("spec.configuration.org.example.Component.list[99]") == "6:13");
  CHECK(at("spec.configuration.org.example.Component.list[x") == "6:13");
  CHECK(at("metadata.name") == "1:11");
  CHECK(at("nowhere.at.all") == "1:1");
}

TEST_CASE("a folder is read in the order of its names, and only its YAML files") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "b.yml", profile_yaml()));
  REQUIRE(write_file(folder / "a.yaml", account_yaml() + kNextDocument + request_yaml("gw", "C1")));
  REQUIRE(write_file(folder / "c.txt", "not: [yaml"));
  const auto loaded = load_documents({folder.path().string()});
  REQUIRE(loaded.has_value());
  CHECK(loaded->problems.empty());
  REQUIRE(loaded->documents.size() == 3);
  CHECK(loaded->documents[0].file == (folder / "a.yaml").string());
  CHECK(loaded->documents[2].file == (folder / "b.yml").string());
}

TEST_CASE("problems of several files come together, each with its file") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(folder / "1.yaml", "kind: [\n"));
  REQUIRE(write_file(folder / "2.yaml", request_yaml("gw", "a b", "  provisionUserPasswordFile: missing\n")));
  const auto loaded = load_documents({folder.path().string()});
  REQUIRE(loaded.has_value());
  REQUIRE(loaded->problems.size() == 3);
  CHECK(loaded->problems[0].str().starts_with((folder / "1.yaml").string() + ":"));
  CHECK(loaded->problems[0].mark.line > 0);
  CHECK(loaded->problems[1].path == "spec.provisionUserPasswordFile");
  CHECK(loaded->problems[2].path == "spec.clientId");
}

TEST_CASE("that a value is missing is not said of one whose file could not be read") {
  const fleet::test::TempFolder folder;
  REQUIRE(write_file(
      folder / "a.yaml",
      "apiVersion: provisioner/v1\nkind: Account\nmetadata: {name: acme}\nspec:\n  broker: {url: \"http://x\", caFile: "
      "missing.pem}\n"));
  const auto loaded = load_documents({(folder / "a.yaml").string()});
  REQUIRE(loaded.has_value());
  REQUIRE(loaded->problems.size() == 2);
  CHECK(loaded->problems[0].path == "spec.broker.caFile");
  CHECK(loaded->problems[1].path == "spec.broker.url");
}

TEST_CASE("a source that is not there or holds nothing is an error") {
  const fleet::test::TempFolder folder;
  CHECK(load_documents({(folder / "missing.yaml").string()}).error().code == ErrorCode::kNotFound);
  CHECK(load_documents({folder.path().string()}).error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("a secrets file is born for its owner only and replaces nothing") {
  const fleet::test::TempFolder folder;
  const auto path = folder / "secrets.csv";
  {
    auto file = SecretsFile::create(path);
    REQUIRE(file.has_value());
    struct stat found {};
    REQUIRE(::stat(path.c_str(), &found) == 0);
    CHECK((found.st_mode & 07777) == 0600);
    CHECK(SecretsFile::create(path).error().code == ErrorCode::kAlreadyExists);
  }
  CHECK_FALSE(std::filesystem::exists(path));
  {
    auto file = SecretsFile::create(path);
    REQUIRE(file.has_value());
    REQUIRE(file->keep("content").has_value());
  }
  CHECK(read_file(path).value() == "content");
  std::filesystem::create_symlink(folder / "target", folder / "link");
  CHECK_FALSE(SecretsFile::create(folder / "link").has_value());
  CHECK_FALSE(std::filesystem::exists(folder / "target"));
}

TEST_CASE("secrets as CSV have a header, and quotes only where needed") {
  std::vector<SecretRow> rows(2);
  rows[0] = {"gw", "C1", "user", Secret("pass"), {}};
  rows[1] = {"gw2", "C2", "a,\"b\"", {}, Secret("key")};
  CHECK(secrets_csv(rows).reveal() ==
        "name,clientId,username,password,activationKey\ngw,C1,user,pass,\ngw2,C2,\"a,\"\"b\"\"\",,key\n");
}

TEST_CASE("what devices said cannot steer a terminal") {
  CHECK(printable("plain äöü …") == "plain äöü …");
  CHECK(printable("\x1b[31mred\r\n\t\x7f") == "?[31mred????");
  CHECK(printable("\xc2\x9b"
                  "31m") == "?31m");
  CHECK(printable("\xff\x9b") == "??");
}
