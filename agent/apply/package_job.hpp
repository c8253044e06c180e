// What the agent and its package helper (package_helper.hpp) say to one another.
//
//   helper download FILE         one job on stdin, then the end of it: {"uri":…,"sha256":…,"roots":[PEM…],…,"limits":{…}}
//   helper unpack FILE FOLDER    the same: {"limits":{…}}
//
// The helper answers on stdout, a line each: {"done":BYTES,"total":BYTES} as often as it likes, and at the end
// {"outcome":"done","archive":BOOL} or {"outcome":"failed","code":NAME,"message":TEXT}. Both come from the same build.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "agent/apply/download.hpp"
#include "agent/apply/unpack.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

// The name of the helper's program, which stands beside the agent's.
inline constexpr std::string_view kPackageHelper = "provision-agent-packages";
inline constexpr std::string_view kDownloadJob = "download";
inline constexpr std::string_view kUnpackJob = "unpack";

struct DownloadJob {
  DownloadSource source;
  DownloadLimits limits;
};
std::string to_json(const DownloadJob& job);
// kMalformed for whatever to_json() does not write.
Result<DownloadJob> parse_download_job(std::string_view text);

std::string to_json(const UnpackLimits& limits);
Result<UnpackLimits> parse_unpack_job(std::string_view text);

struct JobProgress {
  std::uint64_t done = 0;
  std::uint64_t total = 0;  // 0: unknown
};
// True if the file was an archive, see unpack(); of a download it says nothing.
using JobOutcome = Result<bool>;
using JobReport = std::variant<JobProgress, JobOutcome>;

// One line, with its end.
std::string to_line(const JobProgress& progress);
std::string to_line(const JobOutcome& outcome);
// The line without its end; kMalformed for whatever to_line() does not write.
Result<JobReport> parse_report(std::string_view line);

}  // namespace fleet::agent
