// The log: one line an event on stderr, "level component: message key=value …". Under systemd (JOURNAL_STREAM set) lines
// carry the journal's <priority> prefix instead of a time stamp. Thread-safe; a line is one write.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "core/base/result.hpp"

namespace fleet::log {

enum class Level { kDebug, kInfo, kWarn, kError };

// Lines below `level` are dropped. Default kInfo.
void set_level(Level level);
// "debug", "info", "warn", "error"; kInvalidArgument otherwise.
Result<Level> parse_level(std::string_view name);

// One key=value behind the message. Values with spaces or control characters are quoted and escaped.
struct Field {
  std::string_view key;
  std::string value;

  Field(std::string_view k, std::string v) : key(k), value(std::move(v)) {}
  template <typename T>
    requires(!std::is_convertible_v<T, std::string>)
  Field(std::string_view k, const T& v) : key(k), value(fmt::format("{}", v)) {}
};

void write(Level level, std::string_view component, std::string_view message, std::initializer_list<Field> fields = {});

inline void debug(std::string_view c, std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::kDebug, c, m, f);
}
inline void info(std::string_view c, std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::kInfo, c, m, f);
}
inline void warn(std::string_view c, std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::kWarn, c, m, f);
}
inline void error(std::string_view c, std::string_view m, std::initializer_list<Field> f = {}) {
  write(Level::kError, c, m, f);
}

}  // namespace fleet::log
