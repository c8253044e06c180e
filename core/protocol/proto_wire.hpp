// The protobuf wire format (https://protobuf.dev/programming-guides/encoding), as far as KuraPayload needs it. Internal
// to core/protocol.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"

namespace fleet::protocol::wire {

enum class Type : std::uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kLengthDelimited = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5
};

struct Tag {
  std::uint32_t field = 0;
  Type type = Type::kVarint;
};

// Reads a message field by field. A failure sticks: the reader is then done(), error() says why, and every read gives
// an empty value, so that a loop `while (!done())` needs one check, behind it. Borrows the bytes.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  bool done() const { return rest_.empty(); }
  // Why the bytes are malformed; empty as long as they are not.
  std::string_view error() const { return error_; }

  // The next field's tag. Field numbers are 1..2^29-1.
  Tag tag();
  // The value of the field whose tag was just read; another wire type than the one asked for is a failure.
  std::uint64_t varint(Tag tag);
  std::uint64_t fixed64(Tag tag);
  std::uint32_t fixed32(Tag tag);
  std::string_view bytes(Tag tag);
  // Reads over a field of any wire type, groups included (nested at most 100 deep, as in protobuf).
  void skip(Tag tag);

 private:
  bool expect(Tag tag, Type type);
  void fail(std::string_view why);
  std::uint64_t raw_varint();
  std::string_view raw(std::uint64_t count);
  std::uint64_t little_endian(std::size_t count);

  std::string_view rest_;
  std::string_view error_;
};

std::size_t varint_size(std::uint64_t value);
// Tag, length and bytes of a length-delimited field.
std::size_t bytes_field_size(std::uint32_t field, std::size_t length);

void append_varint(Bytes& out, std::uint64_t value);
void append_tag(Bytes& out, std::uint32_t field, Type type);
void append_fixed64(Bytes& out, std::uint64_t value);
void append_fixed32(Bytes& out, std::uint32_t value);
void append_bytes_field(Bytes& out, std::uint32_t field, std::string_view bytes);

}  // namespace fleet::protocol::wire
