#include "agent/apply/removal.hpp"

#include <cerrno>
#include <stdio.h>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/secret.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

Result<std::vector<fs::path>> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    entries.push_back(it->path());
  }
  if (error) return fail(errno_error(error.value(), folder.string()));
  return entries;
}

}  // namespace

Result<fs::path> set_aside(const fs::path& path, const fs::path& folder) {
  fs::path aside = folder / fmt::format(".{}.{}.tmp", path.filename().string(), to_hex(random_bytes(6)));
  if (::rename(path.c_str(), aside.c_str()) != 0) return fail(errno_error(errno, path.string()));
  return aside;
}

Result<void> remove_tree(const fs::path& path, const std::function<bool()>& go_on) {
  std::error_code error;
  if (fs::is_directory(fs::symlink_status(path, error))) {
    TRY_ASSIGN(const std::vector<fs::path> entries, entries_of(path));
    for (const fs::path& entry : entries) TRY(remove_tree(entry, go_on));
  }
  if (!go_on()) return fail(ErrorCode::kUnavailable, "{}: stopped before it was removed", path.string());
  fs::remove(path, error);
  if (error) return fail(errno_error(error.value(), path.string()));
  return {};
}

}  // namespace fleet::agent
