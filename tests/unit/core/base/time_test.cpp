#include "core/base/time.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace std::chrono_literals;

TEST_CASE("times are written in RFC 3339 and read back") {
  CHECK(format_time(from_unix_millis(0)) == "1970-01-01T00:00:00Z");
  CHECK(format_time(from_unix_millis(1'790'000'000'999)) == "2026-09-21T14:13:20Z");
  CHECK(format_time(from_unix_millis(-1)) == "1969-12-31T23:59:59Z");
  CHECK(parse_time("2026-09-21T14:13:20Z").value() == from_unix_millis(1'790'000'000'000));
  CHECK(to_unix_millis(wall_now()) > 1'700'000'000'000);
}

TEST_CASE("times are read with fraction, offset or as a bare date") {
  const auto millis = [](std::string_view text) { return to_unix_millis(parse_time(text).value()); };
  CHECK(millis("1970-01-02") == 86'400'000);
  CHECK(millis("1970-01-01T00:00:01.5Z") == 1'500);
  CHECK(millis("1970-01-01T00:00:01.123456789Z") == 1'123);
  CHECK(millis("1970-01-01T01:30:00+01:30") == 0);
  CHECK(millis("1969-12-31T22:00:00-02:00") == 0);
  CHECK(millis("1970-01-01t00:00:00z") == 0);
  CHECK(millis("1970-01-01 00:00:00Z") == 0);
  CHECK(millis("2024-02-29") == 1'709'164'800'000);
  CHECK(millis("1969-12-31T23:59:60Z") == 0);  // a leap second
}

TEST_CASE("what is no time is malformed") {
  for (const auto* bad : {"",
                          "2026",
                          "2026-11",
                          "2026-1-1",
                          "2026-11-20T",
                          "2026-11-20T10",
                          "2026-11-20T10:00",
                          "2026-11-20T10:00:00",
                          "2026-13-01",
                          "2026-00-01",
                          "2026-02-29",
                          "2026-11-31",
                          "2026-11-20T24:00:00Z",
                          "2026-11-20T10:60:00Z",
                          "2026-11-20T10:00:61Z",
                          "2026-11-20T10:00:00.Z",
                          "2026-11-20T10:00:00+1",
                          "2026-11-20T10:00:00+24:00",
                          "2026-11-20T10:00:00+01:60",
                          "2026-11-20T10:00:00Zx",
                          "2026/11/20",
                          "20261120",
                          " 2026-11-20",
                          "2026-11-20 ",
                          "2026-11-20T-0:00:00Z",
                          "2026-11-20T10:-0:00Z",
                          "-026-11-20",
                          "2026-11-20X10:00:00Z",
                          "tomorrow"}) {
    CAPTURE(bad);
    REQUIRE_FALSE(parse_time(bad));
    CHECK(parse_time(bad).error().code == ErrorCode::kMalformed);
  }
}

TEST_CASE("durations are read in their units and written in the shortest") {
  CHECK(parse_duration("90s").value() == 90s);
  CHECK(parse_duration("90").value() == 90s);
  CHECK(parse_duration("5m").value() == 5min);
  CHECK(parse_duration("36h").value() == 36h);
  CHECK(parse_duration("365d").value() == 365 * 24h);
  CHECK(parse_duration("250ms").value() == 250ms);
  CHECK(parse_duration("0").value() == 0s);
  for (const auto* bad : {"", "s", "-5s", "-0s", "+5s", "1.5h", "5 m", "5M", "5min", "1h30m", "99999999999999d",
                          "999999999999999999999s", " 5s", "5s "}) {
    CAPTURE(bad);
    REQUIRE_FALSE(parse_duration(bad));
    CHECK(parse_duration(bad).error().code == ErrorCode::kMalformed);
  }
  CHECK(format_duration(90s) == "90s");
  CHECK(format_duration(300s) == "5m");
  CHECK(format_duration(36h) == "36h");
  CHECK(format_duration(48h) == "2d");
  CHECK(format_duration(1500ms) == "1500ms");
  CHECK(format_duration(0ms) == "0s");
  for (const auto duration : {Millis(1), Millis(90'000), Millis(86'400'000), Millis(1'500)}) {
    CHECK(parse_duration(format_duration(duration)).value() == duration);
  }
}

TEST_CASE("ages are written for people") {
  CHECK(format_age(3s) == "3 s");
  CHECK(format_age(119s) == "119 s");
  CHECK(format_age(120s) == "2 min");
  CHECK(format_age(119min) == "119 min");
  CHECK(format_age(5h) == "5 h");
  CHECK(format_age(12 * 24h) == "12 d");
}
