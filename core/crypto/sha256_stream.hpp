// SHA-256 of what comes in pieces, and of files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"

struct evp_md_ctx_st;

namespace fleet::crypto {

class Sha256Stream {
 public:
  Sha256Stream();
  void add(std::string_view bytes);
  // 32 bytes, of all that was added; once only.
  Bytes finish();

 private:
  std::shared_ptr<evp_md_ctx_st> context_;
};

struct FileDigest {
  Bytes sha256;  // 32 bytes
  std::int64_t size = 0;
};
// Reads the whole file; kNotFound, kPermissionDenied, kIo. kInvalidArgument for what is no regular file.
Result<FileDigest> sha256_of_file(const std::filesystem::path& path);

}  // namespace fleet::crypto
