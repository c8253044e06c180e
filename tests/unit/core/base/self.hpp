// Running one test case of this program in a process of its own: for code that reads the environment once or kills.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "tests/support/process.hpp"

namespace fleet::test {

// Runs the test case of that name, which is marked doctest::skip() and so does not run by itself.
inline Outcome run_skipped_case(const std::string& name, std::map<std::string, std::string> environment) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  return run({self, "--no-skip", "--test-case=" + name}, {}, 30s, std::move(environment));
}

}  // namespace fleet::test
