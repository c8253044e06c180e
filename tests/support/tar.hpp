// Archives for tests, good ones and such as no tar would make.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

struct archive;

namespace fleet::test {

class Tar {
 public:
  // Begins a .tar.gz at `path`; finished by close() or the destructor.
  explicit Tar(const std::filesystem::path& path);
  ~Tar();
  Tar(const Tar&) = delete;
  Tar& operator=(const Tar&) = delete;

  Tar& file(const std::string& path, std::string_view content, int mode = 0644);
  // A file of that many zeros: compressed it is almost nothing.
  Tar& zeros(const std::string& path, std::int64_t size);
  Tar& folder(const std::string& path);
  Tar& symlink(const std::string& path, const std::string& target);
  Tar& hardlink(const std::string& path, const std::string& target);
  Tar& device(const std::string& path);
  Tar& pipe(const std::string& path);
  void close();

 private:
  archive* archive_;
};

}  // namespace fleet::test
