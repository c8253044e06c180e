#include "provisioner/cli/unnamed_file.hpp"

#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <fcntl.h>
#include <unistd.h>

#include "core/base/file.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kWho = "a file for the import in ";

std::string folder() {
  const char* const given = std::getenv("TMPDIR");
  return given != nullptr && *given != '\0' ? given : "/var/tmp";
}

Failure failed(int error) {
  return fail(errno_error(error, std::string(kWho) + folder()));
}

}  // namespace

Result<UnnamedFile> UnnamedFile::create() {
  const std::string in = folder();
  int fd = ::open(in.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kPrivateFile);
  if (fd < 0) {  // not every file system has files without names
    std::string path = in + "/provisioner-import.XXXXXX";
    fd = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd >= 0) ::unlink(path.c_str());
  }
  if (fd < 0) return failed(errno);
  std::FILE* const file = ::fdopen(fd, "w+");
  if (file == nullptr) {
    ::close(fd);
    return fail(ErrorCode::kInternal, "{}{}: cannot be opened", kWho, in);
  }
  return UnnamedFile(file);
}

Result<void> UnnamedFile::write(const void* bytes, std::size_t size) {
  errno = 0;
  if (std::fwrite(bytes, 1, size, file_.get()) == size) return {};
  return failed(errno);
}

Result<void> UnnamedFile::read(void* bytes, std::size_t size) {
  errno = 0;
  if (std::fread(bytes, 1, size, file_.get()) == size) return {};
  return failed(errno == 0 ? EIO : errno);
}

Result<void> UnnamedFile::rewind() {
  errno = 0;
  if (std::fflush(file_.get()) != 0 || std::fseek(file_.get(), 0, SEEK_SET) != 0) return failed(errno);
  return {};
}

}  // namespace fleet::provisioner
