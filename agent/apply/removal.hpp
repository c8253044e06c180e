// Removing in two steps: at once out of the way, under a name that nobody looks for, and for good when there is time.
// In between a new thing may take the old one's place.
#pragma once

#include <filesystem>
#include <functional>

#include "core/base/result.hpp"

namespace fleet::agent {

// Renames `path` to ".….tmp" in `folder`, on the same file system: what has such a name is removed by the next start, so
// a crash leaves nothing. The new name.
Result<std::filesystem::path> set_aside(const std::filesystem::path& path, const std::filesystem::path& folder);

// Removes a file or a folder, one entry after the other, as long as `go_on` agrees: kUnavailable if it does not. Not
// being there is fine. Blocks; any thread.
Result<void> remove_tree(const std::filesystem::path& path, const std::function<bool()>& go_on);

}  // namespace fleet::agent
