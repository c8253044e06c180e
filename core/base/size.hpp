// Sizes in bytes, and their text forms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.hpp"

namespace fleet {

// "512KiB", "64MiB", "2GiB", "1TiB"; a bare number is bytes. No sign, no fraction. kMalformed otherwise.
Result<std::uint64_t> parse_size(std::string_view text);

// The shortest of the forms above that is exact, e.g. "64MiB", "1500".
std::string format_size(std::uint64_t bytes);

}  // namespace fleet
