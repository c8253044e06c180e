#include "core/base/bytes.hpp"

#include <array>
#include <optional>

namespace fleet {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::string_view kUpperHexDigits = "0123456789ABCDEF";
constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

// The value of each character of base64, -1 for all others.
constexpr std::array<std::int8_t, 256> kBase64Values = [] {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kBase64.size(); ++i) {
    values[static_cast<unsigned char>(kBase64[i])] = static_cast<std::int8_t>(i);
  }
  return values;
}();

unsigned byte_at(std::string_view bytes, std::size_t i) { return static_cast<unsigned char>(bytes[i]); }

std::optional<unsigned> hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

bool is_plain_in_topic(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
         std::string_view("-_~:@=").find(c) != std::string_view::npos;
}

}  // namespace

std::string to_hex(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    text += kHexDigits[byte_at(bytes, i) >> 4];
    text += kHexDigits[byte_at(bytes, i) & 15];
  }
  return text;
}

Result<Bytes> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0) return fail(ErrorCode::kMalformed, "hex: odd number of digits");
  Bytes bytes;
  bytes.reserve(hex.size() / 2);
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    const auto high = hex_value(hex[i]);
    const auto low = hex_value(hex[i + 1]);
    if (!high || !low) return fail(ErrorCode::kMalformed, "hex: character {} is not a hex digit", i);
    bytes += static_cast<char>((*high << 4) | *low);
  }
  return bytes;
}

std::string to_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    const unsigned group = byte_at(bytes, i) << 16 | (left > 1 ? byte_at(bytes, i + 1) << 8 : 0U) |
                           (left > 2 ? byte_at(bytes, i + 2) : 0U);
    text += kBase64[group >> 18];
    text += kBase64[(group >> 12) & 63];
    text += left > 1 ? kBase64[(group >> 6) & 63] : '=';
    text += left > 2 ? kBase64[group & 63] : '=';
  }
  return text;
}

Result<Bytes> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return fail(ErrorCode::kMalformed, "base64: length is not a multiple of 4");
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  Bytes bytes;
  bytes.reserve(text.size() / 4 * 3);
  unsigned group = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (i < text.size() - padding) {
      const std::int8_t known = kBase64Values[static_cast<unsigned char>(text[i])];
      if (known < 0) return fail(ErrorCode::kMalformed, "base64: bad character at {}", i);
      value = static_cast<unsigned>(known);
    }
    group = group << 6 | value;
    if (i % 4 == 3) {
      bytes += static_cast<char>(group >> 16 & 255);
      bytes += static_cast<char>(group >> 8 & 255);
      bytes += static_cast<char>(group & 255);
      group = 0;
    }
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

std::string to_base32(std::string_view bytes) {
  std::string text;
  unsigned buffer = 0;
  unsigned bits = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    buffer = (buffer << 8 | byte_at(bytes, i)) & 0xffff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += kBase32[(buffer >> bits) & 31];
    }
  }
  if (bits > 0) text += kBase32[(buffer << (5 - bits)) & 31];
  return text;
}

std::string percent_encode(std::string_view text) {
  std::string encoded;
  encoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_plain_in_topic(text[i])) {
      encoded += text[i];
    } else {
      encoded += '%';
      encoded += kUpperHexDigits[byte_at(text, i) >> 4];
      encoded += kUpperHexDigits[byte_at(text, i) & 15];
    }
  }
  return encoded;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return fail(ErrorCode::kMalformed, "percent escape cut short");
    const auto high = hex_value(text[i + 1]);
    const auto low = hex_value(text[i + 2]);
    if (!high || !low) return fail(ErrorCode::kMalformed, "percent escape without two hex digits");
    decoded += static_cast<char>((*high << 4) | *low);
    i += 2;
  }
  return decoded;
}

bool is_utf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const unsigned lead = byte_at(text, i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    std::size_t length = 0;
    unsigned smallest = 0;
    unsigned code = 0;
    if ((lead & 0xe0) == 0xc0) {
      length = 2, smallest = 0x80, code = lead & 0x1f;
    } else if ((lead & 0xf0) == 0xe0) {
      length = 3, smallest = 0x800, code = lead & 0x0f;
    } else if ((lead & 0xf8) == 0xf0) {
      length = 4, smallest = 0x10000, code = lead & 0x07;
    } else {
      return false;
    }
    if (i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      const unsigned next = byte_at(text, i + k);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    if (code < smallest || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
    i += length;
  }
  return true;
}

}  // namespace fleet
