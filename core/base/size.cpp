#include "core/base/size.hpp"

#include <array>
#include <charconv>

namespace fleet {
namespace {

struct Unit {
  std::string_view suffix;
  std::uint64_t bytes;
};
constexpr std::array<Unit, 5> kUnits{
    {{"TiB", std::uint64_t{1} << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}};

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
  const auto bad = [&] {
    return fail(ErrorCode::kMalformed, "'{}' is not a size: write it as 512KiB, 64MiB or 2GiB", text);
  };
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc()) return bad();
  const std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const Unit& unit : kUnits) {
    if (unit.suffix != suffix) continue;
    if (count > UINT64_MAX / unit.bytes) return bad();
    return count * unit.bytes;
  }
  return bad();
}

std::string format_size(std::uint64_t bytes) {
  for (const Unit& unit : kUnits) {
    if (bytes != 0 && bytes % unit.bytes == 0) return fmt::format("{}{}", bytes / unit.bytes, unit.suffix);
  }
  return "0";
}

}  // namespace fleet
