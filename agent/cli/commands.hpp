// The commands behind the command line. Private to agent/cli.
#pragma once

#include <filesystem>
#include <string>

#include "agent/settings/settings.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

enum class OutputFormat { kTable, kJson };

// What every command gets from the command line.
struct Invocation {
  std::filesystem::path settings_file;  // empty: none, the defaults
  Overrides overrides;
  OutputFormat output = OutputFormat::kTable;
  bool new_key = false;
};

// Each returns the exit code of success or of an outcome that is no error (see cli.hpp).
Result<int> run_agent(const Invocation& invocation);
Result<int> show_status(const Invocation& invocation);
Result<int> show_identity(const Invocation& invocation);
Result<int> roll_back(const Invocation& invocation);
Result<int> reset_agent(const Invocation& invocation);

}  // namespace fleet::agent
