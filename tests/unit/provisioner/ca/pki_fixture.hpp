// A PKI on disk for tests, and its files.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

#include "provisioner/ca/pki.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::test {

inline constexpr Millis kDay = std::chrono::hours(24);

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
inline void must(const Result<void>& result) {
  if (!result) throw std::runtime_error(result.error().message);
}

inline std::string get(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}
// Overwrites in place: the mode stays.
inline void put(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

inline unsigned mode_of(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) throw std::runtime_error(path.string() + ": not there");
  return status.st_mode & 07777;
}

inline provisioner::PkiOptions options() {
  provisioner::PkiOptions made;
  made.name = "Test";
  made.broker_hosts = {"localhost", "127.0.0.1"};
  return made;
}

// A fresh PKI in a folder of its own.
struct PkiOnDisk {
  TempFolder parent;
  std::filesystem::path folder = parent / "pki";
  WallTime now = wall_now();

  PkiOnDisk() { must(provisioner::init_pki(folder, options(), now)); }
  std::filesystem::path operator/(std::string_view name) const { return folder / name; }
  Result<provisioner::Pki> load() const { return provisioner::load_pki(folder, now); }
};

inline Outcome openssl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "openssl");
  return run(std::move(arguments));
}

}  // namespace fleet::test
