#include "provisioner/provisioning/journal.hpp"

#include <utility>

#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {

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
  return tx.update_request(request);
}

}  // namespace fleet::provisioner
