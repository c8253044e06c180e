#include "provisioner/packages/range.hpp"

#include <algorithm>
#include <charconv>

namespace fleet::provisioner {
namespace {

// All of `text` as a number that is not negative; nullopt otherwise, also for one that does not fit.
std::optional<std::int64_t> number_of(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::optional<ByteRange> choose_range(std::string_view header, std::int64_t file_size) {
  const ByteRange whole{0, file_size, false};
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit)) return whole;
  header.remove_prefix(kUnit.size());
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos) return whole;
  const std::string_view from = header.substr(0, dash);
  const std::string_view to = header.substr(dash + 1);
  const auto first = number_of(from);
  const auto last = number_of(to);
  if (from.empty()) {  // the last so many bytes
    if (!last) return whole;
    if (*last == 0 || file_size == 0) return std::nullopt;
    const std::int64_t size = std::min(*last, file_size);
    return ByteRange{file_size - size, size, true};
  }
  if (!first || (!to.empty() && !last) || (last && *last < *first)) return whole;
  if (*first >= file_size) return std::nullopt;
  const std::int64_t end = last ? std::min(*last, file_size - 1) : file_size - 1;
  return ByteRange{*first, end - *first + 1, true};
}

}  // namespace fleet::provisioner
