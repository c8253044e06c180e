#include "core/base/console.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace fleet {
namespace {

int first_failure = 0;  // an errno

void note_failure() {
  if (first_failure == 0) first_failure = errno;
}

}  // namespace

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) note_failure();
}

void print_error(std::string_view line) {
  const std::string whole = std::string(line) + "\n";
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

Result<void> flush_output() {
  if (std::fflush(stdout) != 0) note_failure();
  if (first_failure == 0) return {};
  return fail(first_failure == EPIPE ? ErrorCode::kUnavailable : ErrorCode::kIo, "standard output: {}",
              std::strerror(first_failure));
}

}  // namespace fleet
