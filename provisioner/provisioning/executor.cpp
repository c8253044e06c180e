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

Result<std::vector<std::string>> split_chain(const std::string& pem) {
  std::vector<std::string> certificates;
  if (pem.empty()) return certificates;
  TRY_ASSIGN(const auto chain, crypto::Certificate::chain_from_pem(pem));
  for (const crypto::Certificate& certificate : chain) certificates.push_back(certificate.to_pem());
  return certificates;
}

}  // namespace

Executor::Executor(ExecutorSettings settings, const Dialect& dialect)
    : settings_(std::move(settings)), device_ca_chain_(split_chain(settings_.device_ca_chain_pem)), dialect_(dialect) {}

Result<Executor::Heard> Executor::hear(Transaction& tx, const std::string& client_id, const IsNamed& is,
                                       const FindNamed& find) const {
  Heard heard;
  TRY_ASSIGN(heard.request, tx.find_request_by_client_id(client_id));
  if (heard.request) {
    TRY_ASSIGN(heard.attempt, tx.latest_attempt(heard.request->id));
  }
  if (heard.attempt) {
    TRY_ASSIGN(heard.steps, tx.steps_without_messages(heard.attempt->id));
  }
  if (heard.request && heard.find(is) == nullptr) {
    // of an earlier attempt, or of none
    heard.attempt.reset();
    heard.steps.clear();
    TRY_ASSIGN(std::optional<Step> step, find(heard.request->id));
    if (step) {
      TRY_ASSIGN(heard.attempt, tx.find_attempt(step->attempt_id));
      TRY_ASSIGN(heard.steps, tx.steps_without_messages(step->attempt_id));
    }
  }
  if (heard.attempt) TRY(tx.take_attempt(*heard.attempt));  // the device is here
  return heard;
}

Result<void> Executor::ignore(Transaction& tx, const Heard& heard, const IgnoreReply& verdict, Outcome& outcome,
                              WallTime now) const {
  if (verdict.miss) ++outcome.misses;
  if (!heard.request || verdict.note.empty()) return {};
  return add_line_once(tx, heard.request->id, heard.attempt ? std::optional(heard.attempt->id) : std::nullopt,
                       verdict.miss ? kRefusedLine : kReplyLine, verdict.note, now);
}

Result<Outcome> Executor::on_replies(Transaction& tx, const std::string& client_id, const std::vector<StepReply>& replies,
                                     WallTime now) const {
  Outcome outcome;
  std::optional<Heard> heard;
  for (const StepReply& reply : replies) {
    const auto is_named = [&](const Step& step) { return step.rid == reply.rid; };
    if (!heard || heard->find(is_named) == nullptr) {
      if (heard) TRY(write_heard(tx, *heard, outcome, now));
      TRY_ASSIGN(heard, hear(tx, client_id, is_named, [&](std::int64_t id) { return tx.find_step(id, reply.rid); }));
    }
    TRY(on_reply(tx, *heard, client_id, reply, outcome, now));
  }
  if (heard) TRY(write_heard(tx, *heard, outcome, now));
  return outcome;
}

Result<void> Executor::on_reply(Transaction& tx, Heard& heard, const std::string& client_id, const StepReply& reply,
                                Outcome& outcome, WallTime now) const {
  Step* const step = heard.find([&](const Step& each) { return each.rid == reply.rid; });
  const ReplyVerdict verdict = judge_reply(heard.known_attempt(), step, reply);
  if (const auto* ignored = std::get_if<IgnoreReply>(&verdict)) return ignore(tx, heard, *ignored, outcome, now);

  auto& [request, attempt, steps, changed, accepted, moved] = heard;
  if (std::holds_alternative<RecordedReply>(verdict)) {
    return answer(outcome, client_id, attempt->nonce, attempt->hello_id, {.answer = Answer::kRecorded}, now);
  }
  if (std::holds_alternative<AnswerStep>(verdict) && step->kind == StepKind::kSigningRequest) {
    Step asked = *step;
    TRY(write_heard(tx, heard, outcome, now));
    TRY(on_signing_request(tx, *request, *attempt, std::move(asked), reply, outcome, now));
    heard = Heard{};  // there are more steps now
    return {};
  }

  step->reply_code = reply.code;
  step->reply_error = presentable(reply.error);
  step->replied_at = now;
  heard.note_change(*step);
  attempt->moved_at = now;
  moved = true;
  if (const auto* failed = std::get_if<FailAttempt>(&verdict)) {
    moved = false;
    TRY(write_steps(tx, heard, true, now));
    TRY(fail_attempt(tx, *request, *attempt, failed->cause, now));
    outcome.endings.push_back({request->name, client_id, AttemptState::kFailed, request->last_error});
    return {};
  }
  accepted.push_back(step->summary);
  if (std::holds_alternative<CompleteAttempt>(verdict)) {
    moved = false;
    TRY(write_steps(tx, heard, true, now));
    TRY(complete(tx, *request, *attempt, now));
    outcome.endings.push_back({request->name, client_id, AttemptState::kCompleted, ""});
    TRY(answer(outcome, client_id, attempt->nonce, attempt->hello_id, {.answer = Answer::kRecorded}, now));
  }
  return {};
}

Result<void> Executor::write_steps(Transaction& tx, Heard& heard, bool attempt_ends, WallTime now) const {
  for (const std::size_t place : std::exchange(heard.changed, {})) {
    TRY(attempt_ends ? tx.update_last(heard.steps[place]) : tx.update_step(heard.steps[place]));
  }
  const std::vector<std::string> accepted = std::exchange(heard.accepted, {});
  if (accepted.empty()) return {};
  return add_line(tx, heard.request->id, heard.attempt->id, kReplyLine,
                  fmt::format("the device accepted {}", fmt::join(accepted, "; ")), now);
}

Result<void> Executor::write_heard(Transaction& tx, Heard& heard, Outcome& outcome, WallTime now) const {
  TRY(write_steps(tx, heard, false, now));
  if (!std::exchange(heard.moved, false)) return {};
  return go_on(tx, *heard.request, *heard.attempt, std::move(heard.steps), outcome, now);
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
