#include "provisioner/service/package_sweep.hpp"

#include <algorithm>
#include <set>

#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {
namespace {

// An attempt that began by `begun` may still download.
Result<bool> downloads_go_on(Transaction& tx, WallTime begun, WallTime now) {
  return tx.has_live_attempt(begun, now - kCompletedGrace);
}

}  // namespace

Result<std::size_t> PackageSweep::remove_unnamed(Transaction& tx, const PackageFolder& folder, WallTime now) {
  TRY_ASSIGN(const bool go_on, downloads_go_on(tx, now, now));
  if (go_on) return 0;
  TRY_ASSIGN(const PackageFiles files, tx.package_files());
  return folder.keep_only(files.all);
}

Result<void> PackageSweep::remove_dropped(Transaction& tx, const PackageFolder& folder,
                                          const std::vector<std::string>& dropped, WallTime now) {
  if (dropped.empty()) return {};
  TRY_ASSIGN(const bool go_on, downloads_go_on(tx, now, now));
  if (go_on) return {};
  TRY_ASSIGN(const PackageFiles files, tx.package_files());
  for (const std::string& sha256 : dropped) {
    if (!files.all.contains(sha256)) TRY(folder.remove(sha256));
  }
  return {};
}

Result<std::size_t> PackageSweep::round(Transaction& tx, const PackageFolder& folder, WallTime now) {
  TRY_ASSIGN(const PackageFiles files, tx.package_files());
  TRY_ASSIGN(const std::set<std::string> present, folder.list());
  std::map<std::string, WallTime> unnamed;
  for (const std::string& sha256 : present) {
    if (files.all.contains(sha256)) continue;
    const auto seen = unnamed_since_.find(sha256);
    // a clock that was set back begins anew
    unnamed[sha256] = seen == unnamed_since_.end() ? now : std::min(seen->second, now);
  }
  std::size_t removed = 0;
  for (auto file = unnamed.begin(); file != unnamed.end();) {
    bool stays = now < file->second + kUploadGrace;
    if (!stays) {
      TRY_ASSIGN(stays, downloads_go_on(tx, file->second, now));
    }
    if (stays) {
      ++file;
      continue;
    }
    TRY(folder.remove(file->first));
    file = unnamed.erase(file);
    ++removed;
  }
  unnamed_since_ = std::move(unnamed);
  return removed;
}

}  // namespace fleet::provisioner
