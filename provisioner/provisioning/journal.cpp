#include "provisioner/provisioning/journal.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {

namespace {

// More than there are sorts of incidents, so that they cannot take turns in pushing out what really happened.
constexpr std::size_t kIncidentsCompared = 64;

bool is_incident(std::string_view kind) {
  return kind == kRefusedLine || kind == kDeniedLine || kind == kLockedLine;
}

std::string without_digits(std::string_view text) {
  std::string rest;
  std::copy_if(text.begin(), text.end(), std::back_inserter(rest), [](char c) { return c < '0' || c > '9'; });
  return rest;
}

// Whether a line that begins with `what` says no more than that, but for circumstances: " (…" or ", from …". What a lockout
// counts grows with each one; elsewhere a number may be all that tells two things apart, as in the topics of two devices.
bool says(const TimelineEntry& line, const std::string& what) {
  const bool counts = line.kind == kLockedLine;
  const std::string text = counts ? without_digits(line.text) : line.text;
  const std::string wanted = counts ? without_digits(what) : what;
  if (!text.starts_with(wanted)) return false;
  const std::string_view rest = std::string_view(text).substr(wanted.size());
  return rest.empty() || rest.starts_with(" (") || rest.starts_with(", from ");
}

}  // namespace

Result<void> add_line(Transaction& tx, std::int64_t request_id, std::optional<std::int64_t> attempt_id,
                      std::string_view kind, std::string text, WallTime now) {
  return tx.add_timeline({request_id, attempt_id, now, std::string(kind), std::move(text)});
}

Result<void> add_line_once(Transaction& tx, std::int64_t request_id, std::optional<std::int64_t> attempt_id,
                           std::string_view kind, std::string text, WallTime now) {
  TRY_ASSIGN(const std::vector<TimelineEntry> last, tx.timeline_of(request_id, 1));
  if (!last.empty() && last.back().attempt_id == attempt_id && last.back().kind == kind && last.back().text == text)
    return {};
  return add_line(tx, request_id, attempt_id, kind, std::move(text), now);
}

Result<void> add_incident(Transaction& tx, std::int64_t request_id, std::string_view kind, const std::string& what,
                          const std::string& circumstances, WallTime now) {
  TRY_ASSIGN(const std::vector<TimelineEntry> last, tx.timeline_of(request_id, kIncidentsCompared));
  for (auto line = last.rbegin(); line != last.rend() && is_incident(line->kind); ++line) {
    if (line->kind == kind && says(*line, what)) return {};
  }
  return add_line(tx, request_id, std::nullopt, kind, what + circumstances, now);
}

Result<void> end_attempt(Transaction& tx, Attempt& attempt, AttemptState state, std::string error, WallTime now) {
  attempt.state = state;
  attempt.error = std::move(error);
  attempt.ended_at = now;
  attempt.due_at.reset();
  attempt.owner_password = Secret();
  if (attempt.handover == Handover::kPending) attempt.handover = Handover::kNone;
  TRY(tx.update_attempt(attempt));
  return tx.forget_messages(attempt.id);
}

Result<int> max_attempts_of(Transaction& tx, const ProvisionRequest& request) {
  TRY_ASSIGN(const std::optional<Profile> profile, tx.find_profile(request.profile));
  return profile.value_or(Profile{}).retry_max_attempts;
}

Result<void> fail_attempt(Transaction& tx, ProvisionRequest& request, Attempt& attempt, const std::string& cause,
                          WallTime now) {
  TRY_ASSIGN(const int max_attempts, max_attempts_of(tx, request));
  AfterFailure after = after_failure(request, max_attempts, cause);
  TRY(end_attempt(tx, attempt, AttemptState::kFailed, cause, now));
  TRY(add_line(tx, request.id, attempt.id, kFailedLine, after.last_error, now));
  request.failures = after.failures;
  request.status = after.status;
  request.last_error = std::move(after.last_error);
  request.updated_at = now;
  return tx.update_progress(request);
}

}  // namespace fleet::provisioner
