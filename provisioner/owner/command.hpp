// Runs a program of the operator's: input on its stdin, a time limit, nothing of it left behind.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"

namespace fleet::provisioner {

struct CommandResult {
  int exit_code = 0;
  std::string errors;  // the beginning of what it wrote to stderr, on one line; its stdout is dropped
};

// `command[0]` is a path; no shell. The program gets PATH and its locale as environment, no open files but its input and
// outputs, and a process group of its own; it is killed with that at `limit` (kTimedOut) and when `stopping` becomes true
// (kUnavailable). kIo, kNotFound or kPermissionDenied if it cannot be started; kUnavailable if a signal ended it.
Result<CommandResult> run_command(const std::vector<std::string>& command, const Secret& input, Seconds limit,
                                  const std::atomic<bool>& stopping);

}  // namespace fleet::provisioner
