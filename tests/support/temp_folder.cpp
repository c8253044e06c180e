#include "tests/support/temp_folder.hpp"

#include <sys/stat.h>

#include <cstdlib>
#include <stdexcept>
#include <system_error>

namespace fleet::test {

TempFolder::TempFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "fleet-test.XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  ::chmod(pattern.c_str(), 0755);
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace fleet::test
