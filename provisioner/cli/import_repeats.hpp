// What a long import has twice that may be there once: names, client ids, and usernames with different passwords. Private to
// provisioner/cli.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/config/decoder.hpp"
#include "provisioner/cli/import_spool.hpp"
#include "provisioner/cli/unnamed_file.hpp"

namespace fleet::provisioner {

// Writes down 24 bytes a request, and looks at so many of them at a time that its memory does not grow with their number. Only
// where these meet are the requests themselves looked at again.
class RepeatFinder {
 public:
  // `at_once`: how many requests' hashes may be in memory, roughly.
  explicit RepeatFinder(std::size_t at_once = 256 * 1024) : at_once_(at_once) {}

  // In the order of the spool.
  Result<void> add(const ImportedRequest& request);

  // `gets_password`: whether one will be made for the request of that number. `files`: their names by number. Finds no more
  // than about `most` problems. Once, behind all add().
  Result<std::vector<config::Problem>> find(ImportSpool& spool, const std::vector<std::string>& files,
                                            const std::function<bool(std::uint64_t)>& gets_password, std::size_t most);

 private:
  std::size_t at_once_;
  std::optional<UnnamedFile> hashes_;  // of each request those of name, client id and username
  std::uint64_t size_ = 0;
};

}  // namespace fleet::provisioner
