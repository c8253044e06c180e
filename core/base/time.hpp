// Time: wall clock for records and certificates, monotonic clock for waiting, and their text forms.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.hpp"

namespace fleet {

using Millis = std::chrono::milliseconds;
using Seconds = std::chrono::seconds;

// A point of wall-clock time, millisecond precision, UTC.
using WallTime = std::chrono::sys_time<Millis>;
// A point of monotonic time; only differences mean anything.
using SteadyTime = std::chrono::steady_clock::time_point;

WallTime wall_now();

inline std::int64_t to_unix_millis(WallTime time) { return time.time_since_epoch().count(); }
inline WallTime from_unix_millis(std::int64_t millis) { return WallTime(Millis(millis)); }

// "2026-11-20T10:21:35Z" (RFC 3339, UTC, whole seconds).
std::string format_time(WallTime time);

// RFC 3339 with "Z" or an offset, fraction optional; also a bare date "2026-11-20" (midnight UTC). kMalformed otherwise.
Result<WallTime> parse_time(std::string_view text);

// "90s", "5m", "36h", "365d", "250ms"; a bare number is seconds. No sign, no fraction. kMalformed otherwise.
Result<Millis> parse_duration(std::string_view text);

// The shortest of the forms above that is exact, e.g. "5m", "90s".
std::string format_duration(Millis duration);

// For people: "3 s", "2 min", "5 h", "12 d".
std::string format_age(Millis age);

}  // namespace fleet
