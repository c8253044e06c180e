#include "provisioner/service/settings.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

TEST_CASE("packages are served on 8885 unless the settings say otherwise") {
  const auto usual = parse_settings("account: provision\n", "f.yaml");
  REQUIRE(usual);
  CHECK(usual->packages_listen.address == "0.0.0.0");
  CHECK(usual->packages_listen.port == 8885);
  CHECK(usual->packages_url.empty());
  const auto own = parse_settings("packages: {listen: \"127.0.0.1:9000\", url: \"https://cdn.example.org/\"}\n", "f.yaml");
  REQUIRE(own);
  CHECK(own->packages_listen.address == "127.0.0.1");
  CHECK(own->packages_listen.port == 9000);
  CHECK(own->packages_url == "https://cdn.example.org");
}

TEST_CASE("what is wrong with the packages' settings is said where it stands") {
  const auto bad = parse_settings("packages:\n  listen: here\n  url: ftp://x\n  prot: 1\n", "f.yaml");
  REQUIRE_FALSE(bad);
  CHECK(bad.error().message.find("f.yaml:2:") != std::string::npos);
  CHECK(bad.error().message.find("packages.url: must begin with https://") != std::string::npos);
  CHECK(bad.error().message.find("packages.prot") != std::string::npos);
}

TEST_CASE("the store is the data folder's unless the settings name a database that cells share") {
  const auto usual = parse_settings("store: sqlite\n", "f.yaml");
  REQUIRE(usual);
  CHECK(usual->store.empty());
  const auto shared = parse_settings("store: postgresql://fleet@db/fleet\ncell: cell-a\n", "f.yaml");
  REQUIRE(shared);
  CHECK(shared->store == "postgresql://fleet@db/fleet");
  CHECK(shared->cell == "cell-a");
  const auto bad = parse_settings("store: mysql://db\ncell: 'a#1'\n", "f.yaml");
  REQUIRE_FALSE(bad);
  CHECK(bad.error().message.find("store: must be sqlite, or the URL of a PostgreSQL database") != std::string::npos);
  CHECK(bad.error().message.find("cell: must be 1 to 64 of") != std::string::npos);
}

TEST_CASE("the account is provision unless the settings say otherwise, and no plain listener is opened unasked") {
  const auto usual = parse_settings("logLevel: info\n", "f.yaml");
  REQUIRE(usual);
  CHECK(usual->account == "provision");
  CHECK_FALSE(usual->plain_listen.has_value());
  const auto own = parse_settings(
      "account: ec-provisioning\nprovisionerId: prov-2\nbroker: {plainListen: \"127.0.0.1:1883\"}\n", "f.yaml");
  REQUIRE(own);
  CHECK(own->account == "ec-provisioning");
  CHECK(own->provisioner_id == "prov-2");
  REQUIRE(own->plain_listen.has_value());
  CHECK(own->plain_listen->port == 1883);
}

TEST_CASE("account and provisioner id have the form of a topic's level") {
  for (const std::string bad : {"a/b", "a:b", "a.b", "'+'", "'#'", "a@b", "''"}) {
    CAPTURE(bad);
    for (const std::string key : {"account", "provisionerId"}) {
      const auto settings = parse_settings(key + ": " + bad + "\n", "f.yaml");
      REQUIRE_FALSE(settings);
      CHECK(settings.error().message.find(key + ": must be 1 to 64 of") != std::string::npos);
    }
  }
  CHECK(parse_settings("account: " + std::string(64, 'a') + "\n", "f.yaml"));
  CHECK_FALSE(parse_settings("account: " + std::string(65, 'a') + "\n", "f.yaml"));
}
