// A folder of a test's own, removed with it.
#pragma once

#include <filesystem>
#include <string>

namespace fleet::test {

class TempFolder {
 public:
  // Mode 0755 below the system's temporary folder, so that a broker running as another user may enter it.
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

}  // namespace fleet::test
