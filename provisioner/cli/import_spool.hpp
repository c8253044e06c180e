// The requests of a long import between their check and their apply: on the disk, read once and decoded once however long
// that takes, and the same when the source has changed meanwhile. Private to provisioner/cli.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "core/base/result.hpp"
#include "core/config/node.hpp"
#include "provisioner/cli/unnamed_file.hpp"

namespace fleet::provisioner {

struct ImportedRequest {
  std::string name, client_id, username;
  std::uint64_t password = 0;  // a hash of the one that is given; 0: none
  bool wants_key = false;      // generateActivationKey: true
  std::uint32_t file = 0;      // its number among the sources, for messages
  config::Mark mark;           // in it
  std::string json;            // the document without generateActivationKey, its spec last
};

// The document with more in its spec: `json` as above, `more` as "\"key\":value".
std::string with_spec(const std::string& json, const std::string& more);

class ImportSpool {
 public:
  static Result<ImportSpool> create();

  Result<void> add(const ImportedRequest& request);
  // What was added is read from its beginning; nothing is added after that.
  Result<void> rewind();
  Result<std::optional<ImportedRequest>> next();
  std::uint64_t size() const { return size_; }

 private:
  explicit ImportSpool(UnnamedFile file) : file_(std::move(file)) {}

  UnnamedFile file_;
  std::uint64_t size_ = 0, read_ = 0;
};

}  // namespace fleet::provisioner
