#include "core/base/time.hpp"

#include <array>
#include <charconv>
#include <optional>

namespace fleet {
namespace {

struct Unit {
  std::string_view suffix;
  std::int64_t millis;
};
constexpr std::array<Unit, 5> kUnits{{{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};

std::optional<std::int64_t> digits(std::string_view text) {
  if (text.empty() || text.size() > 15) return std::nullopt;
  std::uint64_t value = 0;  // unsigned: no sign is taken, not even that of -0
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

}  // namespace

WallTime wall_now() { return std::chrono::floor<Millis>(std::chrono::system_clock::now()); }

std::string format_time(WallTime time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<Seconds>(time - day));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count());
}

Result<WallTime> parse_time(std::string_view text) {
  const auto bad = [&] {
    return fail(ErrorCode::kMalformed, "'{}' is not a time: write it as 2026-11-20T10:00:00Z", text);
  };
  const auto number = [&](std::size_t at, std::size_t count) -> std::optional<int> {
    if (at + count > text.size()) return std::nullopt;
    const auto value = digits(text.substr(at, count));
    return value ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
  };
  const auto year = number(0, 4), month = number(5, 2), day = number(8, 2);
  if (!year || !month || !day || text[4] != '-' || text[7] != '-') return bad();
  const std::chrono::year_month_day date(std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok()) return bad();
  WallTime time = std::chrono::sys_days(date);
  if (text.size() == 10) return time;

  const auto hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  if ((text[10] != 'T' && text[10] != 't' && text[10] != ' ') || !hour || !minute || !second || text[13] != ':' ||
      text[16] != ':' || *hour > 23 || *minute > 59 || *second > 60) {
    return bad();
  }
  time += std::chrono::hours(*hour) + std::chrono::minutes(*minute) + Seconds(*second);
  std::size_t at = 19;
  if (at < text.size() && text[at] == '.') {
    std::int64_t scale = 100;
    const std::size_t first = ++at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale /= 10) {
      time += Millis((text[at] - '0') * scale);
    }
    if (at == first) return bad();
  }
  const std::string_view zone = text.substr(at);
  if (zone == "Z" || zone == "z") return time;
  const auto zone_hour = number(at + 1, 2), zone_minute = number(at + 4, 2);
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':' || !zone_hour || !zone_minute ||
      *zone_hour > 23 || *zone_minute > 59) {
    return bad();
  }
  const auto offset = std::chrono::hours(*zone_hour) + std::chrono::minutes(*zone_minute);
  return zone[0] == '+' ? time - offset : time + offset;
}

Result<Millis> parse_duration(std::string_view text) {
  const auto bad = [&] {
    return fail(ErrorCode::kMalformed, "'{}' is not a duration: write it as 90s, 5m, 36h or 365d", text);
  };
  const std::size_t split = text.find_first_not_of("0123456789");
  const auto count = digits(text.substr(0, split));
  if (!count) return bad();
  const std::string_view suffix = split == std::string_view::npos ? "s" : text.substr(split);
  for (const Unit& unit : kUnits) {
    if (unit.suffix == suffix) {
      if (*count > INT64_MAX / 2 / unit.millis) return bad();
      return Millis(*count * unit.millis);
    }
  }
  return bad();
}

std::string format_duration(Millis duration) {
  for (const Unit& unit : kUnits) {
    if (duration.count() != 0 && duration.count() % unit.millis == 0) {
      return fmt::format("{}{}", duration.count() / unit.millis, unit.suffix);
    }
  }
  return "0s";
}

std::string format_age(Millis age) {
  const std::int64_t seconds = age.count() / 1000;
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 2 * 3600) return fmt::format("{} min", seconds / 60);
  if (seconds < 2 * 86400) return fmt::format("{} h", seconds / 3600);
  return fmt::format("{} d", seconds / 86400);
}

}  // namespace fleet
