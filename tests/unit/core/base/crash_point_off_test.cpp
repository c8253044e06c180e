#include <cstdlib>

#include <doctest/doctest.h>

#include "core/base/crash_point.hpp"

TEST_CASE("programs that are shipped pass every crash point") {
  ::setenv("FLEET_CRASH_AT", "here", 1);
  fleet::crash_point("here");
  CHECK(std::getenv("FLEET_CRASH_AT") != nullptr);  // still alive
}
