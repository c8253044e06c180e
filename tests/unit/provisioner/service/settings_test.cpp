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
