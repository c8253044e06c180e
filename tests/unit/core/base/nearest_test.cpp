#include "core/base/nearest.hpp"

#include <doctest/doctest.h>

using fleet::nearest;

TEST_CASE("the nearest key is the one that was meant, or none") {
  const std::vector<std::string> keys{"broker-url", "client-id", "password-file", "a"};
  CHECK(nearest("broker-ulr", keys) == "broker-url");
  CHECK(nearest("brokerUrl", keys) == "broker-url");
  CHECK(nearest("clientid", keys) == "client-id");
  CHECK(nearest("b", keys) == "a");
  CHECK(nearest("", keys) == "a");
  CHECK(nearest("timeout", keys) == "");
  CHECK(nearest("password", {"name", "userPassword", "userPasswordFile"}) == "userPassword");
  CHECK(nearest("password", {"userPassword", "ownerPassword"}) == "");
  CHECK(nearest("url", keys) == "");
  CHECK(nearest("x", {}) == "");
  CHECK(nearest(std::string(100'000, 'x'), keys) == "");
}
