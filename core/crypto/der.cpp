#include "core/crypto/der.hpp"

namespace fleet::crypto::der {
namespace {

constexpr std::size_t kShortForm = 0x80;
constexpr std::size_t kMostLengthBytes = 3;

void append_length(Bytes& out, std::size_t length) {
  if (length < kShortForm) {
    out.push_back(static_cast<char>(length));
    return;
  }
  int bytes = 1;
  while ((length >> (8 * bytes)) != 0) ++bytes;
  out.push_back(static_cast<char>(kShortForm + static_cast<std::size_t>(bytes)));
  for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(length >> (8 * i)));
}

}  // namespace

Bytes element(std::uint8_t tag, std::initializer_list<std::string_view> parts) {
  std::size_t length = 0;
  for (const std::string_view part : parts) length += part.size();
  Bytes out;
  out.reserve(length + 2 + sizeof length);
  out.push_back(static_cast<char>(tag));
  append_length(out, length);
  for (const std::string_view part : parts) out.append(part);
  return out;
}

Bytes bit_string(std::string_view bytes) {
  constexpr std::string_view kNoUnusedBits("\0", 1);
  return element(kBitString, {kNoUnusedBits, bytes});
}

std::optional<Reader::Element> Reader::next(std::uint8_t tag) {
  const auto byte_at = [this](std::size_t at) { return static_cast<std::uint8_t>(rest_[at]); };
  if (rest_.size() < 2 || byte_at(0) != tag) return std::nullopt;
  std::size_t head = 2;
  std::size_t length = byte_at(1);
  if (length >= kShortForm) {
    const std::size_t bytes = length - kShortForm;
    if (bytes == 0 || bytes > kMostLengthBytes || rest_.size() < head + bytes) return std::nullopt;
    length = 0;
    for (std::size_t i = 0; i < bytes; ++i) length = length << 8U | byte_at(head + i);
    const std::size_t least = bytes == 1 ? kShortForm : std::size_t{1} << (8 * (bytes - 1));
    if (length < least) return std::nullopt;
    head += bytes;
  }
  if (rest_.size() - head < length) return std::nullopt;
  const Element found{rest_.substr(0, head + length), rest_.substr(head, length)};
  rest_.remove_prefix(head + length);
  return found;
}

}  // namespace fleet::crypto::der
