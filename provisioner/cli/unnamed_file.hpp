// A file without a name for what a long import cannot keep in memory. Private to provisioner/cli.
#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>

#include "core/base/result.hpp"

namespace fleet::provisioner {

// In TMPDIR or /var/tmp, only this user's, and gone with the process. Errors (kNoSpace, kIo, …) name the folder.
class UnnamedFile {
 public:
  static Result<UnnamedFile> create();

  Result<void> write(const void* bytes, std::size_t size);
  // What was written is read from its beginning; nothing is written after that.
  Result<void> rewind();
  // That many bytes; kIo if there are not so many.
  Result<void> read(void* bytes, std::size_t size);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  explicit UnnamedFile(std::FILE* file) : file_(file) {}

  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace fleet::provisioner
