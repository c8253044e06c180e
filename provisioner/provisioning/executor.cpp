// The executor's handling of replies and of time: edc §4 "End", "Order", "Time".
#include "provisioner/provisioning/executor.hpp"

#include <utility>

#include <fmt/format.h>

#include "core/protocol/esf_xml.hpp"
#include "provisioner/provisioning/heard.hpp"
#include "provisioner/provisioning/journal.hpp"
#include "provisioner/provisioning/plan.hpp"
#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {

namespace {

// What the broker lets through is 1 MiB; the rest is for the message around it.
constexpr std::size_t kMaxConfigurationSize = 960 * 1024;

}  // namespace

Executor::Executor(ExecutorSettings settings, const Dialect& dialect)
    : settings_(std::move(settings)), dialect_(dialect) {}

Result<Executor::Heard> Executor::hear(Transaction& tx, const std::string& client_id, std::optional<Step> step) const {
  Heard heard;
  heard.step = std::move(step);
  TRY_ASSIGN(heard.request, tx.find_request_by_client_id(client_id));
  if (heard.step) {
    TRY_ASSIGN(heard.attempt, tx.find_attempt(heard.step->attempt_id));
  }
  heard.own = heard.request && heard.attempt && heard.attempt->request_id == heard.request->id;
  if (heard.own) TRY(tx.take_attempt(*heard.attempt));  // the device is here
  return heard;
}

Result<Outcome> Executor::ignore(Transaction& tx, const Heard& heard, const IgnoreReply& verdict, WallTime now) const {
  if (heard.request && !verdict.note.empty()) {
    TRY(add_line_once(tx, heard.request->id, heard.own ? std::optional(heard.attempt->id) : std::nullopt,
                      verdict.miss ? kRefusedLine : kReplyLine, verdict.note, now));
  }
  Outcome outcome;
  outcome.misses = verdict.miss ? 1 : 0;
  return outcome;
}

Result<Outcome> Executor::on_reply(Transaction& tx, const std::string& client_id, const StepReply& reply,
                                   WallTime now) const {
  TRY_ASSIGN(std::optional<Step> known, tx.find_step(reply.rid));
  TRY_ASSIGN(Heard heard, hear(tx, client_id, std::move(known)));
  const ReplyVerdict verdict = judge_reply(heard.known_attempt(), heard.known_step(), heard.own, reply);
  if (const auto* ignored = std::get_if<IgnoreReply>(&verdict)) return ignore(tx, heard, *ignored, now);

  Outcome outcome;
  auto& [request, step, attempt, own] = heard;
  if (std::holds_alternative<RecordedReply>(verdict)) {
    TRY(answer(outcome, client_id, attempt->nonce, attempt->hello_id, {.answer = Answer::kRecorded}, now));
    return outcome;
  }

  if (std::holds_alternative<AnswerStep>(verdict) && step->kind == StepKind::kSigningRequest) {
    return on_signing_request(tx, std::move(*request), std::move(*attempt), std::move(*step), reply, now);
  }

  step->reply_code = reply.code;
  step->reply_error = presentable(reply.error);
  step->replied_at = now;
  TRY(tx.update_step(*step));
  attempt->moved_at = now;
  if (const auto* failed = std::get_if<FailAttempt>(&verdict)) {
    TRY(fail_attempt(tx, *request, *attempt, failed->cause, now));
    outcome.endings.push_back({request->name, client_id, AttemptState::kFailed, request->last_error});
    return outcome;
  }
  TRY(add_line(tx, request->id, attempt->id, kReplyLine, "the device accepted " + step->summary, now));
  if (std::holds_alternative<CompleteAttempt>(verdict)) {
    TRY(complete(tx, *request, *attempt, now));
    outcome.endings.push_back({request->name, client_id, AttemptState::kCompleted, ""});
    TRY(answer(outcome, client_id, attempt->nonce, attempt->hello_id, {.answer = Answer::kRecorded}, now));
    return outcome;
  }
  TRY(go_on(tx, *request, *attempt, outcome, now));
  return outcome;
}

Result<void> Executor::complete(Transaction& tx, ProvisionRequest& request, Attempt& attempt, WallTime now) const {
  TRY(end_attempt(tx, attempt, AttemptState::kCompleted, "", now));
  TRY(add_line(tx, request.id, attempt.id, kCompletedLine,
               fmt::format("provisioned in attempt {}, {} after its hello", attempt.number,
                           format_age(now - attempt.started_at)),
               now));
  request.status = JobStatus::kCompleted;
  request.completed_at = now;
  request.activation_key_used = request.activation_key_verifier.has_value();
  request.last_error.clear();
  request.updated_at = now;
  return tx.update_progress(request);
}

Result<void> Executor::on_return(Transaction& tx, WallTime now) const {
  return tx.put_off_deadlines(now, kReturnGrace);
}

Result<Executor::Swept> Executor::sweep(Transaction& tx, WallTime now, std::size_t limit) const {
  TRY_ASSIGN(std::vector<Attempt> due, tx.due_attempts(now, limit));
  Swept swept{.more = due.size() == limit};
  for (Attempt& attempt : due) {
    TRY_ASSIGN(std::optional<ProvisionRequest> request, tx.find_request(attempt.request_id));
    if (!request) return fail(ErrorCode::kCorrupt, "attempt {}: its request is gone", attempt.id);
    TRY_ASSIGN(std::vector<Step> steps, tx.steps_of(attempt.id));
    const DueVerdict verdict = judge_due(attempt, steps, now);
    if (const auto* expired = std::get_if<ExpireAttempt>(&verdict)) {
      TRY(fail_attempt(tx, *request, attempt, expired->cause, now));
      swept.outcome.endings.push_back({request->name, request->client_id, AttemptState::kFailed, request->last_error});
      continue;
    }
    const auto& places = std::get<ResendSteps>(verdict).places;
    for (const std::size_t place : places) {
      Step& step = steps[place];
      step.sent_at = now;
      ++step.send_count;
      TRY(tx.update_step(step));
      swept.outcome.send.push_back({request->client_id, step.topic, step.payload});
    }
    if (!places.empty()) {
      TRY(add_line_once(tx, request->id, attempt.id, kSentLine, "no reply yet; sent again: " + owed(steps), now));
    }
    attempt.due_at = next_due(attempt, steps);
    TRY(tx.update_attempt(attempt));
  }
  return swept;
}

Result<bool> Executor::note(Transaction& tx, const std::string& client_id, std::string_view kind,
                            const std::string& what, const std::string& circumstances, WallTime now) const {
  TRY_ASSIGN(const std::optional<ProvisionRequest> request, tx.find_request_by_client_id(client_id));
  if (!request) return false;
  TRY(add_incident(tx, request->id, kind, presentable(what), presentable(circumstances), now));
  return true;
}

Result<void> Executor::check_renders(const ProvisionRequest& request, const Profile& profile,
                                     const Account& account) const {
  TRY_ASSIGN(const protocol::Configurations configurations, render_configuration(request, profile, account));
  TRY_ASSIGN(const std::string xml, protocol::to_xml(configurations));
  if (xml.size() > kMaxConfigurationSize) {
    return fail(ErrorCode::kInvalidArgument, "configuration: {} bytes, more than the {} that a message takes",
                xml.size(), kMaxConfigurationSize);
  }
  TRY(render_packages(request, profile));
  return {};
}

}  // namespace fleet::provisioner
