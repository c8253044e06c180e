// DER (X.690), as much of it as certificates and requests need. Private to core/crypto. OpenSSL 3.0 looks up its decoders
// anew for each public key that it meets in a certificate or a request, which takes longer than signing does; what happens
// once a device is therefore written and read here.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "core/base/bytes.hpp"

namespace fleet::crypto::der {

enum Tag : std::uint8_t {
  kBoolean = 0x01,
  kInteger = 0x02,
  kBitString = 0x03,
  kOctetString = 0x04,
  kObjectId = 0x06,
  kUtf8String = 0x0c,
  kPrintableString = 0x13,
  kUtcTime = 0x17,
  kGeneralizedTime = 0x18,
  kSequence = 0x30,
  kSet = 0x31,
};
// [number], primitive and constructed (around a whole element).
constexpr std::uint8_t context_primitive(int number) { return static_cast<std::uint8_t>(0x80 + number); }
constexpr std::uint8_t context(int number) { return static_cast<std::uint8_t>(0xa0 + number); }

// One element; its content is the parts, one behind the other.
Bytes element(std::uint8_t tag, std::initializer_list<std::string_view> parts);

// Without unused bits.
Bytes bit_string(std::string_view bytes);

// Reads elements one after the other. Only what DER allows: lengths of definite form, as short as they can be, up to
// 16 MiB. The views live as long as the text that is read.
class Reader {
 public:
  explicit Reader(std::string_view der) : rest_(der) {}

  struct Element {
    std::string_view whole, content;
  };
  // nullopt if the next element is missing, broken or of another tag.
  std::optional<Element> next(std::uint8_t tag);
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace fleet::crypto::der
