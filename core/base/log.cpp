#include "core/base/log.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <iterator>

#include "core/base/time.hpp"

namespace fleet::log {
namespace {

std::atomic<Level> threshold{Level::kInfo};

struct LevelName {
  std::string_view name;
  int priority;  // syslog(3)
};
constexpr std::array<LevelName, 4> kLevels{{{"debug", 7}, {"info", 6}, {"warn", 4}, {"error", 3}}};

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

void append_escaped(std::string& line, std::string_view text) {
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (is_control(c)) {
      fmt::format_to(std::back_inserter(line), "\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      line += c;
    }
  }
}

void append_value(std::string& line, std::string_view value) {
  const bool plain = !value.empty() && value.find_first_of(" \"=\\") == std::string_view::npos &&
                     std::none_of(value.begin(), value.end(), is_control);
  if (!plain) line += '"';
  append_escaped(line, value);
  if (!plain) line += '"';
}

}  // namespace

void set_level(Level level) { threshold = level; }

Result<Level> parse_level(std::string_view name) {
  for (std::size_t i = 0; i < kLevels.size(); ++i) {
    if (kLevels[i].name == name) return static_cast<Level>(i);
  }
  return fail(ErrorCode::kInvalidArgument, "log level '{}': use debug, info, warn or error", name);
}

void write(Level level, std::string_view component, std::string_view message, std::initializer_list<Field> fields) {
  if (level < threshold.load(std::memory_order_relaxed)) return;
  static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
  const LevelName& name = kLevels[static_cast<std::size_t>(level)];
  std::string line;
  if (journal) {
    line = fmt::format("<{}>{}: ", name.priority, component);
  } else {
    line = fmt::format("{} {:5} {}: ", format_time(wall_now()), name.name, component);
  }
  // A message may quote a peer: control characters must not forge a second line.
  for (const char c : message) line += is_control(c) ? ' ' : c;
  for (const Field& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  line += '\n';
  // A log that cannot be written has nobody to tell.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace fleet::log
