// What a long import has twice that may be there once: names, client ids, and usernames with different passwords. Private to
// provisioner/cli.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "core/config/decoder.hpp"
#include "provisioner/cli/import_spool.hpp"

namespace fleet::provisioner {

// Remembers 24 bytes a request. Only where these meet are the requests themselves looked at again.
class RepeatFinder {
 public:
  // In the order of the spool.
  void add(const ImportedRequest& request);

  // `gets_password`: whether one will be made for the request of that number. `files`: their names by number. Finds no more
  // than about `most` problems. The finder is empty then.
  Result<std::vector<config::Problem>> find(ImportSpool& spool, const std::vector<std::string>& files,
                                            const std::function<bool(std::uint64_t)>& gets_password, std::size_t most);

 private:
  std::deque<std::uint64_t> names_, client_ids_, usernames_;
};

}  // namespace fleet::provisioner
