// The executor's side of handing owner credentials over to the owner's broker: what it came to, and what that lets go.
#include <utility>

#include "provisioner/provisioning/executor.hpp"
#include "provisioner/provisioning/journal.hpp"

namespace fleet::provisioner {

namespace {

struct Waiting {
  ProvisionRequest request;
  Attempt attempt;
};

Result<std::optional<Waiting>> waiting_for(Transaction& tx, std::int64_t attempt_id) {
  TRY_ASSIGN(std::optional<Attempt> attempt, tx.find_attempt(attempt_id));
  if (!attempt || attempt->state != AttemptState::kOpen || attempt->handover != Handover::kPending) {
    return std::optional<Waiting>();
  }
  TRY_ASSIGN(std::optional<ProvisionRequest> request, tx.find_request(attempt->request_id));
  if (!request) return fail(ErrorCode::kCorrupt, "attempt {}: its request is gone", attempt_id);
  return std::optional(Waiting{std::move(*request), std::move(*attempt)});
}

}  // namespace

Result<Outcome> Executor::on_handed_over(Transaction& tx, std::int64_t attempt_id, WallTime now) const {
  TRY_ASSIGN(std::optional<Waiting> waiting, waiting_for(tx, attempt_id));
  Outcome outcome;
  if (!waiting) return outcome;
  auto& [request, attempt] = *waiting;
  attempt.handover = Handover::kDone;
  attempt.moved_at = now;
  if (!std::exchange(attempt.handover_error, {}).empty()) {
    request.last_error.clear();
    request.updated_at = now;
    TRY(tx.update_progress(request));
  }
  TRY(tx.update_attempt(attempt));
  TRY(add_line(tx, request.id, attempt.id, kHandoverLine,
               "the owner's broker knows the device's credentials, username " + presentable(attempt.owner_username), now));
  TRY_ASSIGN(std::vector<Step> steps, tx.steps_without_messages(attempt.id));
  TRY(go_on(tx, request, attempt, std::move(steps), outcome, now));
  return outcome;
}

Result<Outcome> Executor::on_not_handed_over(Transaction& tx, std::int64_t attempt_id, const std::string& why,
                                             WallTime now) const {
  TRY_ASSIGN(std::optional<Waiting> waiting, waiting_for(tx, attempt_id));
  if (!waiting) return Outcome{};
  auto& [request, attempt] = *waiting;
  // moved_at stays: trying does not get the device anywhere.
  const std::string shown = presentable(why);
  if (attempt.handover_error == shown) return Outcome{};
  attempt.handover_error = shown;
  TRY(tx.update_attempt(attempt));
  request.last_error =
      "the owner's broker does not take the device's credentials, which is tried again: " + attempt.handover_error;
  request.updated_at = now;
  TRY(tx.update_progress(request));
  TRY(add_line_once(tx, request.id, attempt.id, kHandoverLine, request.last_error, now));
  return Outcome{};
}

Result<Outcome> Executor::on_handover_void(Transaction& tx, std::int64_t attempt_id, const std::string& why,
                                           WallTime now) const {
  TRY_ASSIGN(std::optional<Waiting> waiting, waiting_for(tx, attempt_id));
  Outcome outcome;
  if (!waiting) return outcome;
  auto& [request, attempt] = *waiting;
  TRY(fail_attempt(tx, request, attempt, why, now));
  outcome.endings.push_back({request.name, request.client_id, AttemptState::kFailed, request.last_error});
  return outcome;
}

}  // namespace fleet::provisioner
