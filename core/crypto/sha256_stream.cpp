#include "core/crypto/sha256_stream.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include "core/base/fd.hpp"
#include "core/crypto/openssl.hpp"

namespace fleet::crypto {

// What fails here fails only without memory or without a crypto provider: nothing could be trusted then.
Sha256Stream::Sha256Stream() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  if (!context_ || EVP_DigestInit_ex(context_.get(), sha256_digest(), nullptr) != 1) std::abort();
}

void Sha256Stream::add(std::string_view bytes) {
  if (EVP_DigestUpdate(context_.get(), data_of(bytes), bytes.size()) != 1) std::abort();
}

Bytes Sha256Stream::finish() {
  Bytes digest(32, '\0');
  if (EVP_DigestFinal_ex(context_.get(), data_of(digest), nullptr) != 1) std::abort();
  return digest;
}

Result<FileDigest> sha256_of_file(const std::filesystem::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail(errno_error(errno, path.string()));
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return fail(errno_error(errno, path.string()));
  if (!S_ISREG(found.st_mode)) return fail(ErrorCode::kInvalidArgument, "{}: not a regular file", path.string());
  Sha256Stream digest;
  FileDigest result;
  std::vector<char> buffer(256 * 1024);
  while (true) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno_error(errno, path.string()));
    if (got == 0) break;
    digest.add({buffer.data(), static_cast<std::size_t>(got)});
    result.size += got;
  }
  result.sha256 = digest.finish();
  return result;
}

}  // namespace fleet::crypto
