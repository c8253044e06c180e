// Bytes and their text forms.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.hpp"

namespace fleet {

// Binary data is held in std::string and passed as std::string_view throughout: one owning and one borrowing type.
using Bytes = std::string;

// Lower-case hex, two characters a byte.
std::string to_hex(std::string_view bytes);

// Accepts both cases; kMalformed on an odd length or another character.
Result<Bytes> from_hex(std::string_view hex);

// RFC 4648 §4, with padding, no line breaks.
std::string to_base64(std::string_view bytes);

// RFC 4648 §4; padding required, white space refused. kMalformed otherwise.
Result<Bytes> from_base64(std::string_view text);

// RFC 4648 §6 alphabet (A-Z2-7), no padding: 20 bytes make 32 characters.
std::string to_base32(std::string_view bytes);

// RFC 3986: every byte outside `A-Z a-z 0-9 - _ ~ : @ =` becomes %XX, so the result is one MQTT topic level.
std::string percent_encode(std::string_view text);

// The inverse; kMalformed on a bad escape.
Result<std::string> percent_decode(std::string_view text);

// True if `text` is well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
bool is_utf8(std::string_view text);

}  // namespace fleet
