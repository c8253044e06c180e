#include "core/config/scalar.hpp"

namespace fleet::config {
namespace {

constexpr std::size_t kMostShown = 40;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Removes the digits that `text` begins with; false if there are none.
bool skip_digits(std::string_view& text) {
  if (text.empty() || !is_digit(text.front())) return false;
  while (!text.empty() && is_digit(text.front())) text.remove_prefix(1);
  return true;
}

bool skip(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

bool is_json_number(std::string_view text) {
  skip(text, "-");
  if (!skip(text, "0") && !skip_digits(text)) return false;
  if (skip(text, ".") && !skip_digits(text)) return false;
  if (skip(text, "eE")) {
    skip(text, "+-");
    if (!skip_digits(text)) return false;
  }
  return text.empty();
}

std::string shown(std::string_view text) {
  std::string out = "'";
  std::size_t end = text.size();
  if (end > kMostShown) {
    end = kMostShown;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80) --end;  // not inside a character
  }
  for (const char c : text.substr(0, end)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  if (end < text.size()) out += "…";
  return out + "'";
}

}  // namespace fleet::config
