#include "core/base/crash_point.hpp"

#include <cstdio>
#include <signal.h>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/unit/core/base/self.hpp"

using fleet::crash_point;
using fleet::test::run_skipped_case;

namespace {
constexpr int kKilled = 128 + SIGKILL;
constexpr const char* kChild = "child: passes crash points a and b twice";
}  // namespace

TEST_CASE("child: passes crash points a and b twice" * doctest::skip()) {
  for (int i = 0; i < 2; ++i) {
    crash_point("a");
    crash_point("b");
    fmt::print(stderr, "pass {} done\n", i);  // not buffered: a killed process flushes nothing
  }
}

TEST_CASE("a process stops at the named point, at the pass that was asked for") {
  const auto at = [](const char* value) { return run_skipped_case(kChild, {{"FLEET_CRASH_AT", value}}); };
  CHECK(at("a").exit_code == kKilled);
  CHECK(at("b:1").exit_code == kKilled);
  const auto second = at("b:2");
  CHECK(second.exit_code == kKilled);
  CHECK(second.errors.find("pass 0 done") != std::string::npos);
  CHECK(second.errors.find("pass 1 done") == std::string::npos);
}

TEST_CASE("points that are not named are passed") {
  for (const auto* value : {"", "c", "b:3", "a:0", "ab", "a:x"}) {
    CAPTURE(value);
    const int expected = std::string_view(value) == "a:x" ? kKilled : 0;  // no number: the first pass
    CHECK(run_skipped_case(kChild, {{"FLEET_CRASH_AT", value}}).exit_code == expected);
  }
}
