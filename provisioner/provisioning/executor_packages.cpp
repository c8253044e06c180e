// How the executor brings packages to devices (edc §4.5), hears of them, and lets go what waits for them.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/base/secret.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/provisioning/heard.hpp"
#include "provisioner/provisioning/journal.hpp"
#include "provisioner/provisioning/opening.hpp"
#include "provisioner/provisioning/plan.hpp"
#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {

namespace {

// Gives all of the attempt's steps their topics and payloads.
Result<void> read_messages(Transaction& tx, std::int64_t attempt_id, std::vector<Step>& steps) {
  TRY_ASSIGN(std::vector<Step> whole, tx.steps_of(attempt_id));
  for (Step& step : steps) {
    const auto same = std::find_if(whole.begin(), whole.end(), [&](const Step& each) { return each.ordinal == step.ordinal; });
    if (same == whole.end()) return fail(ErrorCode::kInternal, "attempt {}, step {}: not in the store", attempt_id, step.ordinal);
    step.topic = std::move(same->topic);
    step.payload = std::move(same->payload);
  }
  return {};
}

// 53 bits: exact wherever a number is a double.
std::int64_t random_job_id() {
  std::int64_t id = 0;
  for (const char byte : random_bytes(7)) id = (id << 8) | static_cast<unsigned char>(byte);
  return id & ((std::int64_t{1} << 53) - 1);
}

}  // namespace

Result<std::vector<StepContent>> Executor::package_steps(const ProvisionRequest& request,
                                                         const Opening& opening) const {
  std::vector<StepContent> steps;
  for (const Package& package : opening.packages) {
    const bool required = package.required_before_configuration;
    if (package.source == PackageSource::kInline) {
      if (!settings_.read_package) return fail(ErrorCode::kUnsupported, "package {}: not served here", package.name);
      TRY_ASSIGN(Bytes content, settings_.read_package(package));
      steps.emplace_back(
          InlinePackageContent{package.name, package.version, package.file_name, std::move(content), required});
      continue;
    }
    std::string url = package.url;
    if (package.source == PackageSource::kFile) {
      if (!settings_.package_url) return fail(ErrorCode::kUnsupported, "package {}: not served here", package.name);
      TRY_ASSIGN(url, settings_.package_url(package, request.id, opening.attempt_number));
    }
    steps.emplace_back(
        PackageContent{package.name, package.version, std::move(url), package.sha256, required, random_job_id()});
  }
  return steps;
}

Result<Outcome> Executor::on_notice(Transaction& tx, const std::string& client_id, const JobNotice& notice,
                                    WallTime now) const {
  const auto is_named = [&](const Step& step) { return step.job_id == notice.job_id; };
  TRY_ASSIGN(Heard heard, hear(tx, client_id, is_named, [&](std::int64_t id) { return tx.find_step_by_job(id, notice.job_id); }));
  Step* const step = heard.find(is_named);
  const NoticeVerdict verdict = judge_notice(heard.known_attempt(), step, notice);
  Outcome outcome;
  if (const auto* ignored = std::get_if<IgnoreReply>(&verdict)) {
    TRY(ignore(tx, heard, *ignored, outcome, now));
    return outcome;
  }

  ProvisionRequest& request = *heard.request;
  Attempt& attempt = *heard.attempt;
  const int progress_before = std::exchange(step->progress, progress_after(*step, notice));
  step->notified_at = now;
  if (notice.state == JobNotice::State::kFailed) {
    step->installed = false;
  } else if (notice.state == JobNotice::State::kDone && notice.phase == JobNotice::Phase::kInstall) {
    step->installed = true;
  }
  TRY(tx.update_step(*step));
  attempt.moved_at = now;
  if (const auto* failed = std::get_if<FailAttempt>(&verdict)) {
    TRY(fail_attempt(tx, request, attempt, failed->cause, now));
    outcome.endings.push_back({request.name, client_id, AttemptState::kFailed, request.last_error});
    return outcome;
  }
  if (const auto* failed = std::get_if<NoteFailure>(&verdict)) {
    TRY(add_line(tx, request.id, attempt.id, kPackageLine, failed->note + "; it is optional", now));
  } else if (const auto reached = milestone(progress_before, step->progress)) {
    TRY(add_line(tx, request.id, attempt.id, kPackageLine, fmt::format("{}: {}", step->summary, *reached), now));
  }
  TRY(go_on(tx, request, attempt, std::move(heard.steps), outcome, now));
  return outcome;
}

Result<void> Executor::go_on(Transaction& tx, ProvisionRequest& request, Attempt& attempt, std::vector<Step> steps,
                             Outcome& outcome, WallTime now) const {
  const auto is_held = [](const Step& step) { return step.held; };
  const bool goes_out = std::any_of(steps.begin(), steps.end(), is_held) && obstacles(attempt, steps).empty();
  if (goes_out) TRY(read_messages(tx, attempt.id, steps));
  for (Step& step : steps) {
    if (!step.held || !goes_out) continue;
    step.held = false;
    step.sent_at = now;
    step.send_count = 1;
    TRY(tx.update_step(step));
    TRY(add_line(tx, request.id, attempt.id, kSentLine, "sent " + step.summary, now));
    outcome.send.push_back({request.client_id, step.topic, step.payload});
  }
  if (is_time_to_hand_over(attempt, steps)) outcome.hand_over.push_back(attempt.id);
  attempt.due_at = next_due(attempt, steps);
  TRY(tx.update_attempt(attempt));
  const JobStatus status = status_of(steps);
  if (request.status == status) return {};
  request.status = status;
  request.updated_at = now;
  return tx.update_progress(request);
}

}  // namespace fleet::provisioner
