// Which package files may go: those that no profile and no request names any more, and that no device is fetching.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/packages/folder.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// An attempt that began while a file was named may still download it: while it is open, and for kCompletedGrace after it
// was completed. On the store's thread, within the transaction that it is given: no apply finds a file that then goes.
class PackageSweep {
 public:
  // An upload comes before the apply that names it.
  static constexpr Seconds kUploadGrace{3600};

  // At once all files that nothing names; none while any attempt may download. How many went.
  Result<std::size_t> remove_unnamed(Transaction& tx, const PackageFolder& folder, WallTime now);
  // The same for the files `dropped` (SHA-256) only; what must stay is left to the rounds.
  Result<void> remove_dropped(Transaction& tx, const PackageFolder& folder, const std::vector<std::string>& dropped,
                              WallTime now);
  // Called from time to time: removes what has been found unnamed for kUploadGrace and may not be downloaded by an
  // attempt that began before it was. This way also go the files of deleted requests and of uploads whose apply was
  // refused.
  Result<std::size_t> round(Transaction& tx, const PackageFolder& folder, WallTime now);

 private:
  std::map<std::string, WallTime> unnamed_since_;  // by SHA-256: as far as a round has seen it
};

}  // namespace fleet::provisioner
