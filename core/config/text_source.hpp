// Text that comes piece by piece: a file, a pipe, a string of a test.
#pragma once

#include <cstddef>
#include <functional>

#include "core/base/result.hpp"

namespace fleet::config {

// Puts at most `size` bytes into `buffer` and says how many; 0 at the end. Errors name what is read.
using TextSource = std::function<Result<std::size_t>(char* buffer, std::size_t size)>;

}  // namespace fleet::config
