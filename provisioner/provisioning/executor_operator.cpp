// The executor's operator side: retry, enable, disable, delete.
#include <utility>

#include <fmt/format.h>

#include "provisioner/provisioning/executor.hpp"
#include "provisioner/provisioning/journal.hpp"

namespace fleet::provisioner {

namespace {

Result<ProvisionRequest> required(Transaction& tx, const std::string& name) {
  TRY_ASSIGN(std::optional<ProvisionRequest> request, tx.find_request_by_name(name));
  if (!request) return fail(ErrorCode::kNotFound, "request {}: no such request", name);
  return std::move(*request);
}

Result<std::optional<Attempt>> open_attempt(Transaction& tx, const ProvisionRequest& request) {
  TRY_ASSIGN(std::optional<Attempt> attempt, tx.latest_attempt(request.id));
  if (attempt && attempt->state != AttemptState::kOpen) attempt.reset();
  if (attempt) TRY(tx.take_attempt(*attempt));  // the operator is here
  return attempt;
}

}  // namespace

Result<Outcome> Executor::retry(Transaction& tx, const std::string& name, const std::string& by, WallTime now) const {
  TRY_ASSIGN(ProvisionRequest request, required(tx, name));
  TRY_ASSIGN(std::optional<Attempt> attempt, open_attempt(tx, request));
  Outcome outcome{.forgiven = {request.client_id}};
  if (attempt) {
    TRY(end_attempt(tx, *attempt, AttemptState::kSuperseded, "retried by " + by, now));
    // It waits for what will not come: on its next connection it says hello again.
    outcome.kick.push_back(request.client_id);
  }
  TRY(add_line(tx, request.id, attempt ? std::optional(attempt->id) : std::nullopt, kOperatorLine,
               fmt::format("armed again by {} (was {}, {} failures){}", by, to_string(request.status), request.failures,
                           request.enabled ? "" : "; it is still disabled"),
               now));
  request.status = JobStatus::kCreated;
  request.failures = 0;
  request.activation_key_used = false;
  request.completed_at.reset();
  request.last_error.clear();
  request.updated_at = now;
  TRY(tx.update_request(request));
  return outcome;
}

Result<Outcome> Executor::set_enabled(Transaction& tx, const std::string& name, bool enabled, const std::string& by,
                                      WallTime now) const {
  TRY_ASSIGN(ProvisionRequest request, required(tx, name));
  Outcome outcome;
  if (request.enabled == enabled) return outcome;
  std::optional<std::int64_t> attempt_id;
  if (!enabled) {
    TRY_ASSIGN(std::optional<Attempt> attempt, open_attempt(tx, request));
    if (attempt) {
      TRY(end_attempt(tx, *attempt, AttemptState::kStopped, "disabled by " + by, now));
      request.status = JobStatus::kStopped;
      attempt_id = attempt->id;
    }
    outcome.kick.push_back(request.client_id);
  }
  TRY(add_line(tx, request.id, attempt_id, kOperatorLine, fmt::format("{} by {}", enabled ? "enabled" : "disabled", by),
               now));
  request.enabled = enabled;
  request.updated_at = now;
  TRY(tx.update_request(request));
  return outcome;
}

Result<Outcome> Executor::remove(Transaction& tx, const std::string& name, const std::string& /*by*/,
                                 WallTime /*now*/) const {
  TRY_ASSIGN(const ProvisionRequest request, required(tx, name));
  Outcome outcome{.kick = {request.client_id}, .forgiven = {request.client_id}};
  TRY_ASSIGN(outcome.take_back, tx.give_up_logins(request.client_id));
  TRY(tx.delete_request(request.id));
  return outcome;
}

}  // namespace fleet::provisioner
