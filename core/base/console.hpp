// What command line programs print.
#pragma once

#include <string_view>

#include "core/base/result.hpp"

namespace fleet {

void print(std::string_view text);        // to stdout
void print_error(std::string_view line);  // to stderr, with a line end

// Whether all that was printed so far has got out: kIo "standard output: why" with the first failure, kUnavailable if
// the reader has gone (`… | head`), which is nobody's fault.
Result<void> flush_output();

}  // namespace fleet
