// The text of a scalar: what it means, and how it is shown to people. Internal to core/config.
#pragma once

#include <string>
#include <string_view>

namespace fleet::config {

// RFC 8259 §6: no leading zeros, no plus sign, no hex, no infinities.
bool is_json_number(std::string_view text);

// For error messages: in single quotes, control characters as '?', cut after 40 bytes with "…".
std::string shown(std::string_view text);

}  // namespace fleet::config
