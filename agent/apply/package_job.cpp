#include "agent/apply/package_job.hpp"

#include <algorithm>

#include <boost/json.hpp>

namespace fleet::agent {
namespace {

namespace json = boost::json;

Result<json::object> parse_object(std::string_view text) {
  boost::system::error_code error;
  json::value value = json::parse({text.data(), text.size()}, error);
  if (error || !value.is_object()) return fail(ErrorCode::kMalformed, "package job: not a JSON object");
  return std::move(value.as_object());
}

Failure missing(std::string_view name) {
  return fail(ErrorCode::kMalformed, "package job: {} is missing or of another type", name);
}

Result<std::uint64_t> number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  boost::system::error_code error;
  const auto got = value != nullptr ? value->to_number<std::uint64_t>(error) : 0;
  if (value == nullptr || error) return missing(name);
  return got;
}

Result<std::string> text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_string()) return missing(name);
  return std::string(value->as_string());
}

Result<bool> flag(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_bool()) return missing(name);
  return value->as_bool();
}

Result<json::object> object_in(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_object()) return missing(name);
  return value->as_object();
}

Result<Millis> millis(const json::object& object, std::string_view name) {
  TRY_ASSIGN(const std::uint64_t count, number(object, name));
  return Millis(static_cast<Millis::rep>(count));
}

std::string line_of(const json::object& object) {
  return json::serialize(object) + "\n";
}

// JSON is UTF-8, and a server's words are whatever it likes.
std::string as_utf8(std::string text) {
  if (!is_utf8(text)) std::replace_if(text.begin(), text.end(), [](unsigned char c) { return c >= 0x80; }, '?');
  return text;
}

ErrorCode parse_code(std::string_view name) {
  for (int code = 0; code < static_cast<int>(ErrorCode::kInternal); ++code) {
    if (to_string(static_cast<ErrorCode>(code)) == name) return static_cast<ErrorCode>(code);
  }
  return ErrorCode::kInternal;
}

}  // namespace

std::string to_json(const DownloadJob& job) {
  json::array roots;
  for (const crypto::Certificate& root : job.source.roots) roots.emplace_back(root.to_pem());
  const DownloadLimits& limits = job.limits;
  return json::serialize(json::object{{"uri", job.source.uri},
                                      {"sha256", job.source.sha256},
                                      {"roots", std::move(roots)},
                                      {"verificationTime", to_unix_millis(job.source.verification_time)},
                                      {"allowFile", job.source.allow_file},
                                      {"limits",
                                       {{"maxSize", limits.max_size},
                                        {"diskReserve", limits.disk_reserve},
                                        {"connectMs", limits.connect.count()},
                                        {"stallMs", limits.stall.count()},
                                        {"totalMs", limits.total.count()},
                                        {"barrenTries", limits.barren_tries},
                                        {"firstPauseMs", limits.first_pause.count()}}}});
}

Result<DownloadJob> parse_download_job(std::string_view job_text) {
  TRY_ASSIGN(const json::object object, parse_object(job_text));
  TRY_ASSIGN(const json::object limits, object_in(object, "limits"));
  DownloadJob job;
  TRY_ASSIGN(job.source.uri, text(object, "uri"));
  TRY_ASSIGN(job.source.sha256, text(object, "sha256"));
  const json::value* roots = object.if_contains("roots");
  if (roots == nullptr || !roots->is_array()) return missing("roots");
  for (const json::value& pem : roots->as_array()) {
    if (!pem.is_string()) return missing("roots");
    TRY_ASSIGN(crypto::Certificate root, crypto::Certificate::from_pem(std::string_view(pem.as_string())));
    job.source.roots.push_back(std::move(root));
  }
  TRY_ASSIGN(const std::uint64_t time, number(object, "verificationTime"));
  job.source.verification_time = from_unix_millis(static_cast<std::int64_t>(time));
  TRY_ASSIGN(job.source.allow_file, flag(object, "allowFile"));
  TRY_ASSIGN(job.limits.max_size, number(limits, "maxSize"));
  TRY_ASSIGN(job.limits.disk_reserve, number(limits, "diskReserve"));
  TRY_ASSIGN(job.limits.connect, millis(limits, "connectMs"));
  TRY_ASSIGN(job.limits.stall, millis(limits, "stallMs"));
  TRY_ASSIGN(job.limits.total, millis(limits, "totalMs"));
  TRY_ASSIGN(const std::uint64_t tries, number(limits, "barrenTries"));
  job.limits.barren_tries = static_cast<int>(tries);
  TRY_ASSIGN(job.limits.first_pause, millis(limits, "firstPauseMs"));
  return job;
}

std::string to_json(const UnpackLimits& limits) {
  return json::serialize(json::object{{"limits",
                                       {{"maxSize", limits.max_size},
                                        {"maxEntries", limits.max_entries},
                                        {"maxDepth", limits.max_depth},
                                        {"diskReserve", limits.disk_reserve}}}});
}

Result<UnpackLimits> parse_unpack_job(std::string_view job_text) {
  TRY_ASSIGN(const json::object object, parse_object(job_text));
  TRY_ASSIGN(const json::object values, object_in(object, "limits"));
  UnpackLimits limits;
  TRY_ASSIGN(limits.max_size, number(values, "maxSize"));
  TRY_ASSIGN(limits.max_entries, number(values, "maxEntries"));
  TRY_ASSIGN(limits.max_depth, number(values, "maxDepth"));
  TRY_ASSIGN(limits.disk_reserve, number(values, "diskReserve"));
  return limits;
}

std::string to_line(const JobProgress& progress) {
  return line_of({{"done", progress.done}, {"total", progress.total}});
}

std::string to_line(const JobOutcome& outcome) {
  if (outcome) return line_of({{"outcome", "done"}, {"archive", *outcome}});
  return line_of({{"outcome", "failed"},
                  {"code", to_string(outcome.error().code)},
                  {"message", as_utf8(outcome.error().message)}});
}

Result<JobReport> parse_report(std::string_view line) {
  TRY_ASSIGN(const json::object object, parse_object(line));
  if (!object.contains("outcome")) {
    JobProgress progress;
    TRY_ASSIGN(progress.done, number(object, "done"));
    TRY_ASSIGN(progress.total, number(object, "total"));
    return JobReport(progress);
  }
  TRY_ASSIGN(const std::string outcome, text(object, "outcome"));
  if (outcome == "done") {
    TRY_ASSIGN(const bool archive, flag(object, "archive"));
    return JobReport(JobOutcome(archive));
  }
  TRY_ASSIGN(const std::string code, text(object, "code"));
  TRY_ASSIGN(std::string message, text(object, "message"));
  return JobReport(JobOutcome(fail(Error{parse_code(code), std::move(message)})));
}

}  // namespace fleet::agent
