#include "provisioner/provisioning/rules.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace fleet::provisioner {

namespace {

// A step that was repeated so short a time ago is not repeated for yet another hello.
constexpr Millis kRepeatPause{2000};
// After so many failures attempts begin at least so far apart.
constexpr int kManyFailures = 5;
constexpr Seconds kAttemptPause{10};
constexpr std::string_view kWrongCredentialsMessage = "wrong username, password or activation key";

RefuseHello wrong_credentials(std::string_view what) {
  return {Answer::kWrongCredentials, std::string(kWrongCredentialsMessage), fmt::format("hello refused: {}", what)};
}

// What the device is told is what the timeline tells.
RefuseHello refuse(Answer answer, std::string message) {
  std::string note = "hello refused: " + message;
  return {answer, std::move(message), std::move(note)};
}

bool unanswered(const Step& step) {
  return !step.replied_at;
}

std::optional<RefuseHello> check_permission(const ProvisionRequest& request, WallTime now) {
  if (request.activates_on && now < *request.activates_on) {
    return refuse(Answer::kForbidden, fmt::format("not active before {}", format_time(*request.activates_on)));
  }
  if (request.expires_on && now >= *request.expires_on) {
    return refuse(Answer::kGone, fmt::format("expired on {}", format_time(*request.expires_on)));
  }
  if (request.status == JobStatus::kAbandoned) {
    return refuse(Answer::kGone, fmt::format("abandoned after {} failed attempts", request.failures));
  }
  return std::nullopt;
}

bool too_soon(const ProvisionRequest& request, const Attempt* latest, WallTime now) {
  if (latest == nullptr || request.failures < kManyFailures) return false;
  // a start in the future was written by a clock that has been set back since
  return latest->started_at <= now && now - latest->started_at < kAttemptPause;
}

}  // namespace

HelloVerdict judge_hello(const ProvisionRequest* request, const Attempt* latest, const std::vector<Step>& steps,
                         const CredentialMatch& match, std::string_view nonce, WallTime now) {
  if (request == nullptr) return wrong_credentials("no such request");
  if (!match.login) return wrong_credentials("wrong username or password");
  if (!match.activation_key) return wrong_credentials("activation key missing or wrong");
  if (!request->enabled) return refuse(Answer::kForbidden, "the provision request is disabled");

  // An attempt that is completed stays so, whatever became of the permission since: its device must learn it.
  const bool same = latest != nullptr && !nonce.empty() && latest->nonce == nonce;
  if (same && latest->state == AttemptState::kCompleted) return RecordedHello{};
  if (request->status == JobStatus::kCompleted) return refuse(Answer::kAlreadyProvisioned, "already provisioned");
  if (request->activation_key_verifier && request->activation_key_used) {
    return wrong_credentials("activation key already used");
  }
  if (auto refusal = check_permission(*request, now)) return *std::move(refusal);

  const bool open = latest != nullptr && latest->state == AttemptState::kOpen;
  if (open && same) return RepeatHello{};
  if (too_soon(*request, latest, now)) {
    RefuseHello refusal = refuse(Answer::kTooMany, fmt::format("{} attempts have failed, the last began just now",
                                                               request->failures));
    refusal.retry_after = kAttemptPause;
    return refusal;
  }
  if (!open) return OpenAttempt{};
  return OpenAttempt{.supersede = true, .counts = std::any_of(steps.begin(), steps.end(), unanswered)};
}

ReplyVerdict judge_reply(const Attempt* attempt, const Step* step, bool own, const StepReply& reply) {
  if (attempt == nullptr || step == nullptr) return IgnoreReply{true, "a reply to nothing that was asked was ignored"};
  if (!own) return IgnoreReply{true, "a reply to what another device was asked was ignored"};
  const StepKind expected = step->kind == StepKind::kSigningRequest ? StepKind::kTrustedCertificate : step->kind;
  if (reply.kind != expected) {
    return IgnoreReply{true, fmt::format("a reply under the name of another step was ignored: {} for {}",
                                         to_string(reply.kind), to_string(step->kind))};
  }
  const bool confirms = step->kind == StepKind::kConfiguration && reply.code == 200;
  if (attempt->state == AttemptState::kCompleted && confirms) return RecordedReply{};
  if (step->replied_at) return IgnoreReply{};
  if (attempt->state != AttemptState::kOpen) {
    return IgnoreReply{false, fmt::format("the reply {} to the {} came after attempt {} had ended", reply.code,
                                          to_string(step->kind), attempt->number)};
  }
  if (confirms) return CompleteAttempt{};
  if (reply.code == 200) return AnswerStep{};
  const std::string words = presentable(reply.error);
  return FailAttempt{fmt::format("the device refused the {} ({}){}", to_string(step->kind), reply.code,
                                 words.empty() ? "" : ": " + words)};
}

DueVerdict judge_due(const Attempt& open, const std::vector<Step>& steps, WallTime now) {
  if (now >= open.moved_at + open.timeout) {
    return ExpireAttempt{fmt::format("nothing moved for {}: the device owes its reply to {}",
                                     format_duration(open.timeout), owed(steps))};
  }
  ResendSteps resend;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (unanswered(steps[i]) && now >= steps[i].sent_at + kResendAfter) resend.places.push_back(i);
  }
  return resend;
}

bool worth_repeating(const Step& step, WallTime now) {
  if (!unanswered(step)) return false;
  const bool just_sent = step.sent_at <= now && now - step.sent_at < kRepeatPause;
  return step.send_count <= 1 || !just_sent;
}

WallTime next_due(const Attempt& open, const std::vector<Step>& steps) {
  WallTime due = open.moved_at + open.timeout;
  for (const Step& step : steps) {
    if (unanswered(step)) due = std::min(due, step.sent_at + kResendAfter);
  }
  return due;
}

AfterFailure after_failure(const ProvisionRequest& request, int max_attempts, std::string_view cause) {
  AfterFailure after;
  after.failures = request.failures + 1;
  const int max = request.retry_max_attempts.value_or(max_attempts);
  if (max >= 0 && after.failures >= max) {
    after.status = JobStatus::kAbandoned;
    after.last_error = fmt::format(
        "{}. The request is abandoned after {} failed attempt{}: remove the cause, then \"provisioner retry request "
        "{}\"",
        cause, after.failures, after.failures == 1 ? "" : "s", request.name);
  } else if (max < 0) {
    after.last_error = fmt::format("{}. The device tries again by itself after its retry interval", cause);
  } else {
    after.last_error = fmt::format("{}. The device tries again by itself after its retry interval (failure {} of {})",
                                   cause, after.failures, max);
  }
  return after;
}

JobStatus status_of(const std::vector<Step>& steps) {
  bool any_done = false;
  bool only_configuration_owed = true;
  for (const Step& step : steps) {
    if (!unanswered(step)) {
      any_done = true;
    } else if (step.kind != StepKind::kConfiguration) {
      only_configuration_owed = false;
    }
  }
  if (!any_done) return JobStatus::kStarted;
  return only_configuration_owed ? JobStatus::kConfUpdating : JobStatus::kRunning;
}

std::string owed(const std::vector<Step>& steps) {
  std::string text;
  std::optional<StepKind> last;
  for (const Step& step : steps) {
    if (!unanswered(step) || step.kind == last) continue;
    if (!text.empty()) text += ", ";
    text += to_string(step.kind);
    last = step.kind;
  }
  return text;
}

std::string presentable(std::string_view text, std::size_t limit) {
  const bool cut = text.size() > limit;
  if (cut) {
    // not within a character: its further bytes are 10xxxxxx
    while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U) --limit;
    text = text.substr(0, limit);
  }
  std::string result(text);
  std::replace_if(
      result.begin(), result.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return cut ? result + "…" : result;
}

}  // namespace fleet::provisioner
