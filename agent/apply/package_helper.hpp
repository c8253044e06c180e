// Fetches and unpacks packages in a process of its own: libcurl and libarchive, with the thirty libraries that they bring,
// are neither in an idle agent's memory nor beside its keys while they read what strangers have written.
#pragma once

#include <filesystem>

#include "agent/apply/download.hpp"
#include "agent/apply/package_job.hpp"
#include "agent/apply/unpack.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

// Runs the program at `program` for each job and waits for its end. The process is killed when the job is cancelled, and
// goes with ours when that is killed: what it leaves is what a killed agent leaves. Any thread, several at a time.
class PackageHelper {
 public:
  explicit PackageHelper(std::filesystem::path program) : program_(std::move(program)) {}

  // The helper that stands beside the running program.
  static std::filesystem::path installed();

  // As fleet::agent::download() and unpack(), except that `progress` is called here and in this thread, first when the
  // helper has told where it stands, then five times a second. Besides their errors: kInternal if the helper cannot be
  // started or does not keep to its protocol, kUnavailable if it was killed.
  Result<void> download(const DownloadSource& source, const std::filesystem::path& file, const DownloadLimits& limits,
                        const DownloadProgress& progress) const;
  Result<bool> unpack(const std::filesystem::path& file, const std::filesystem::path& folder, const UnpackLimits& limits,
                      const UnpackProgress& progress) const;

 private:
  std::filesystem::path program_;
};

}  // namespace fleet::agent
