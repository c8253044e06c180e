#include "provisioner/provisioning/rules.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace fleet::provisioner {

namespace {

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

// The device has been sent it and owes something for it.
bool is_owed(const Step& step) {
  return !step.held && !is_finished(step);
}

// The attempt has failed if the device starts over while it owes this; what is left of an optional package is no failure.
bool counts(const Step& step) {
  return is_owed(step) && !step.optional;
}

bool is_package(const Step& step) {
  return step.kind == StepKind::kPackage || step.kind == StepKind::kInlinePackage;
}

// When a step that is owed is sent again.
WallTime resend_at(const Step& step) {
  // Without a word from the device its request may be lost. An inline package's one reply comes late; repeated under the
  // same rid the request does no harm.
  if (!is_package(step) || (!step.replied_at && !step.notified_at)) return step.sent_at + kResendAfter;
  WallTime heard = step.sent_at;
  if (step.replied_at) heard = std::max(heard, *step.replied_at);
  if (step.notified_at) heard = std::max(heard, *step.notified_at);
  return heard + kPackageResendAfter;
}

std::string in_words(std::string_view what, std::string_view words) {
  const std::string said = presentable(words);
  return said.empty() ? std::string(what) : fmt::format("{}: {}", what, said);
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
  return OpenAttempt{.supersede = true, .counts = std::any_of(steps.begin(), steps.end(), counts)};
}

ReplyVerdict judge_reply(const Attempt* attempt, const Step* step, const StepReply& reply) {
  if (attempt == nullptr || step == nullptr) {
    return IgnoreReply{true, "a reply to nothing that this device was asked was ignored"};
  }
  const StepKind expected = step->kind == StepKind::kSigningRequest ? StepKind::kTrustedCertificate : step->kind;
  if (reply.kind != expected) {
    return IgnoreReply{true, fmt::format("a reply under the name of another step was ignored: {} for {}",
                                         to_string(reply.kind), to_string(step->kind))};
  }
  if (step->held) return IgnoreReply{true, "a reply to what has not been asked yet was ignored"};
  const bool confirms = step->kind == StepKind::kConfiguration && reply.code == 200;
  if (attempt->state == AttemptState::kCompleted && confirms) return RecordedReply{};
  if (step->replied_at) return IgnoreReply{};
  if (attempt->state != AttemptState::kOpen) {
    return IgnoreReply{false, fmt::format("the reply {} to the {} came after attempt {} had ended", reply.code,
                                          to_string(step->kind), attempt->number)};
  }
  if (confirms) return CompleteAttempt{};
  if (reply.code == 200) return AnswerStep{};
  // An optional package too: a device that has refused one request refuses all that follow (edc §4, order).
  const std::string what = is_package(*step) ? step->summary : "the " + std::string(to_string(step->kind));
  return FailAttempt{in_words(fmt::format("the device refused {} ({})", what, reply.code), reply.error)};
}

NoticeVerdict judge_notice(const Attempt* attempt, const Step* step, const JobNotice& notice) {
  if (attempt == nullptr || step == nullptr) {
    return IgnoreReply{true, "news of no package that this device was asked to install was ignored"};
  }
  if (attempt->state != AttemptState::kOpen || step->held || step->installed || is_finished(*step)) return IgnoreReply{};
  if (notice.state != JobNotice::State::kFailed) return AdvanceStep{};
  const bool download = notice.phase == JobNotice::Phase::kDownload;
  std::string cause =
      in_words(fmt::format("the device could not {} {}", download ? "download" : "install", step->summary), notice.error);
  if (step->optional) return NoteFailure{std::move(cause)};
  return FailAttempt{std::move(cause)};
}

int progress_after(const Step& step, const JobNotice& notice) {
  const int in_phase = notice.state == JobNotice::State::kDone ? 100 : std::clamp(notice.progress, 0, 100);
  const int progress = notice.phase == JobNotice::Phase::kInstall ? 100 + in_phase : in_phase;
  return std::max(step.progress, progress);
}

std::optional<std::string> milestone(int before, int after) {
  if (after <= before) return std::nullopt;
  const auto passes = [&](int mark) { return before < mark && after >= mark; };
  if (passes(200)) return "installed";
  if (passes(150)) return "half installed";
  if (passes(100)) return "downloaded";
  if (passes(50)) return "half downloaded";
  if (passes(1)) return "download begun";
  return std::nullopt;
}

bool is_finished(const Step& step) {
  if (step.installed == false) return true;
  if (!step.replied_at) return false;
  return step.reply_code != 200 || !step.job_id || step.installed.has_value();
}

std::vector<std::string> obstacles(const Attempt& attempt, const std::vector<Step>& steps) {
  std::vector<std::string> names;
  if (attempt.handover == Handover::kPending) names.emplace_back("the owner's broker to take the device's credentials");
  for (const Step& step : steps) {
    if (is_package(step) && !step.optional && !is_finished(step)) names.push_back(step.summary);
  }
  return names;
}

bool is_time_to_hand_over(const Attempt& attempt, const std::vector<Step>& steps) {
  if (attempt.state != AttemptState::kOpen || attempt.handover != Handover::kPending) return false;
  return std::any_of(steps.begin(), steps.end(), [](const Step& step) { return step.held; }) &&
         std::none_of(steps.begin(), steps.end(), counts);
}

void hold_back(const Attempt& attempt, std::vector<Step>& steps) {
  const bool blocked = !obstacles(attempt, steps).empty();
  for (Step& step : steps) {
    if (step.kind != StepKind::kConfiguration || !blocked) continue;
    step.held = true;
    step.send_count = 0;
  }
}

DueVerdict judge_due(const Attempt& open, const std::vector<Step>& steps, WallTime now) {
  if (now >= open.moved_at + open.timeout) {
    if (is_time_to_hand_over(open, steps)) {
      return ExpireAttempt{in_words(fmt::format("the owner's broker has not taken the device's credentials for {}",
                                                format_duration(open.timeout)),
                                    open.handover_error)};
    }
    return ExpireAttempt{fmt::format("nothing moved for {}: the device owes its reply to {}",
                                     format_duration(open.timeout), owed(steps))};
  }
  ResendSteps resend;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (is_owed(steps[i]) && now >= resend_at(steps[i])) resend.places.push_back(i);
  }
  return resend;
}

bool worth_repeating(const Step& step, WallTime now) {
  if (!is_owed(step)) return false;
  // a time in the future was written by a clock that has been set back since
  const bool just_sent = step.sent_at <= now && now - step.sent_at < kFloodPause;
  return step.send_count <= kFloodSends || !just_sent;
}

WallTime next_due(const Attempt& open, const std::vector<Step>& steps) {
  WallTime due = open.moved_at + open.timeout;
  for (const Step& step : steps) {
    if (is_owed(step)) due = std::min(due, resend_at(step));
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
  bool package_begun = false;
  bool packages = false, packages_owed = false, others_owed = false, held = false;
  for (const Step& step : steps) {
    any_done = any_done || step.replied_at || step.notified_at;
    held = held || step.held;
    if (is_package(step)) {
      if (step.optional) continue;
      packages = true;
      packages_owed = packages_owed || is_owed(step);
      package_begun = package_begun || step.replied_at || step.notified_at;
    } else if (step.kind != StepKind::kConfiguration) {
      others_owed = others_owed || is_owed(step);
    }
  }
  if (!any_done) return JobStatus::kStarted;
  if (packages_owed) return package_begun || !others_owed ? JobStatus::kAppsInstalling : JobStatus::kRunning;
  if (!others_owed && !held) return JobStatus::kConfUpdating;
  return packages ? JobStatus::kAppsInstalled : JobStatus::kRunning;
}

std::string owed(const std::vector<Step>& steps) {
  std::string text;
  std::optional<StepKind> last;
  for (const Step& step : steps) {
    if (!is_owed(step) || step.kind == last) continue;
    if (!text.empty()) text += ", ";
    text += to_string(step.kind);
    last = step.kind;
  }
  return text;
}

std::optional<std::string> not_of(const Attempt& attempt, const Account& account) {
  if (account.name != attempt.owner_account) {
    return fmt::format("the profile's account has changed from {} to {} since the attempt began", attempt.owner_account,
                       account.name);
  }
  if (account.credentials != OwnerCredentials::kPassword) {
    return fmt::format("account {} has no passwords any more since the attempt began", account.name);
  }
  return std::nullopt;
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
