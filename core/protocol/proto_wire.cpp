#include "core/protocol/proto_wire.hpp"

#include <array>

namespace fleet::protocol::wire {
namespace {

constexpr std::size_t kMaxGroupDepth = 100;
constexpr std::uint64_t kMaxField = (1U << 29) - 1;

constexpr std::uint64_t tag_bits(std::uint32_t field, Type type) {
  return std::uint64_t{field} << 3 | static_cast<std::uint64_t>(type);
}

void append_little_endian(Bytes& out, std::uint64_t value, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace

void Reader::fail(std::string_view why) {
  if (error_.empty()) error_ = why;
  rest_ = {};
}

bool Reader::expect(Tag tag, Type type) {
  if (tag.type != type) fail("a known field has another wire type");
  return tag.type == type;
}

std::uint64_t Reader::raw_varint() {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < rest_.size() && i < 10; ++i) {
    const auto byte = static_cast<unsigned char>(rest_[i]);
    if (i == 9 && byte > 1) break;
    value |= std::uint64_t{byte & 0x7fU} << (7 * i);
    if ((byte & 0x80) == 0) {
      rest_.remove_prefix(i + 1);
      return value;
    }
  }
  fail(rest_.size() < 10 ? "cut short" : "a varint of more than 64 bits");
  return 0;
}

std::string_view Reader::raw(std::uint64_t count) {
  if (count > rest_.size()) {
    fail("cut short");
    return {};
  }
  const std::string_view bytes = rest_.substr(0, static_cast<std::size_t>(count));
  rest_.remove_prefix(bytes.size());
  return bytes;
}

std::uint64_t Reader::little_endian(std::size_t count) {
  const std::string_view bytes = raw(count);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

Tag Reader::tag() {
  const std::uint64_t bits = raw_varint();
  const std::uint64_t field = bits >> 3;
  const auto type = static_cast<unsigned>(bits & 7);
  if (field == 0 || field > kMaxField || type > static_cast<unsigned>(Type::kFixed32)) {
    fail("not a protobuf tag");
    return {};
  }
  return {static_cast<std::uint32_t>(field), static_cast<Type>(type)};
}

std::uint64_t Reader::varint(Tag tag) {
  return expect(tag, Type::kVarint) ? raw_varint() : 0;
}

std::uint64_t Reader::fixed64(Tag tag) {
  return expect(tag, Type::kFixed64) ? little_endian(8) : 0;
}

std::uint32_t Reader::fixed32(Tag tag) {
  return expect(tag, Type::kFixed32) ? static_cast<std::uint32_t>(little_endian(4)) : 0;
}

std::string_view Reader::bytes(Tag tag) {
  if (!expect(tag, Type::kLengthDelimited)) return {};
  return raw(raw_varint());
}

void Reader::skip(Tag tag) {
  std::array<std::uint32_t, kMaxGroupDepth> open{};
  std::size_t depth = 0;
  while (true) {
    switch (tag.type) {
      case Type::kVarint:
        raw_varint();
        break;
      case Type::kFixed64:
        raw(8);
        break;
      case Type::kFixed32:
        raw(4);
        break;
      case Type::kLengthDelimited:
        raw(raw_varint());
        break;
      case Type::kStartGroup:
        if (depth == open.size()) return fail("groups nested too deep");
        open[depth++] = tag.field;
        break;
      case Type::kEndGroup:
        if (depth == 0 || open[depth - 1] != tag.field) return fail("the end of a group that is not open");
        --depth;
        break;
    }
    if (depth == 0 || !error_.empty()) return;
    tag = this->tag();
  }
}

std::size_t varint_size(std::uint64_t value) {
  std::size_t size = 1;
  for (; value >= 0x80; value >>= 7) ++size;
  return size;
}

std::size_t bytes_field_size(std::uint32_t field, std::size_t length) {
  return varint_size(tag_bits(field, Type::kLengthDelimited)) + varint_size(length) + length;
}

void append_varint(Bytes& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

void append_tag(Bytes& out, std::uint32_t field, Type type) {
  append_varint(out, tag_bits(field, type));
}

void append_fixed64(Bytes& out, std::uint64_t value) {
  append_little_endian(out, value, 8);
}

void append_fixed32(Bytes& out, std::uint32_t value) {
  append_little_endian(out, value, 4);
}

void append_bytes_field(Bytes& out, std::uint32_t field, std::string_view bytes) {
  append_tag(out, field, Type::kLengthDelimited);
  append_varint(out, bytes.size());
  out += bytes;
}

}  // namespace fleet::protocol::wire
