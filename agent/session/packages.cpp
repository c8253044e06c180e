// Applications (edc §4.5): what the platform may ask for, and what it is told of a job.
//
// A package that fails is told by its final notification and is no refusal: whether the attempt can do without it is
// the platform's decision. Only one that came inline (DEPLOY-V1) has nothing but its reply to fail by.
#include <algorithm>

#include "agent/session/step.hpp"
#include "core/crypto/digest.hpp"

namespace fleet::agent {
namespace {

using protocol::DeployStage;
using protocol::DeployStatus;

constexpr int kProgressStep = 10;  // percent
constexpr Millis kProgressPause{5'000};

std::string name_of(const Package& package) {
  return fmt::format("{} {}", package.id.name, package.id.version);
}

}  // namespace

// --- requests

Session::Step::Answer Session::Step::exec_download(const Request& request) {
  TRY_ASSIGN(protocol::DownloadRequest wish, protocol::parse_download_request(request.payload));
  PackageJob job;
  job.job_id = wish.job_id;
  job.package = {std::move(wish.package), std::move(wish.sha256)};
  job.uri = std::move(wish.uri);
  job.install = wish.install;
  TRY(check_job(job));
  accept_job(request, std::move(job));
  return std::nullopt;
}

// The other half of a download without installation.
Session::Step::Answer Session::Step::exec_install(const Request& request) {
  TRY_ASSIGN(const protocol::InstallRequest wish, protocol::parse_install_request(request.payload));
  const std::vector<PackageJob>& jobs = state_.attempt->jobs;
  const auto download = std::find_if(jobs.begin(), jobs.end(), [&](const PackageJob& job) {
    return job.downloads && !job.is_inline() && job.package.id == wish.package;
  });
  if (download == jobs.end()) {
    return fail(ErrorCode::kNotFound, "no download of {} {} was asked for in this attempt", wish.package.name,
                wish.package.version);
  }
  PackageJob job = *download;
  job.job_id = wish.job_id;
  job.install = true;
  job.downloads = false;
  job.outcome.reset();
  job.error.clear();
  TRY(check_job(job));
  accept_job(request, std::move(job));
  return std::nullopt;
}

// Its content is not kept in the state: after a restart of this process the platform's repetition brings it again.
Session::Step::Answer Session::Step::exec_inline(const Request& request) {
  TRY_ASSIGN(protocol::InlinePackage inlined, protocol::parse_inline_package(request.payload));
  const PackageJob* known = find_job(request.head.request_id);
  if (known == nullptr) {
    PackageJob job;
    TRY_ASSIGN(job.package.id, protocol::package_id_of(inlined.file_name));
    job.package.sha256 = to_hex(crypto::sha256(inlined.content));
    TRY(check_job(job));
    job.request_id = request.head.request_id;
    job.requester = request.head.requester_client_id;
    known = &change().attempt->jobs.emplace_back(std::move(job));
  }
  if (!live_.told.contains(known->request_id)) {
    live_.answering = owed_for(request);
    fetch(*known, std::move(inlined.file_name), std::move(inlined.content));
  }
  return std::nullopt;
}

Result<void> Session::Step::check_job(const PackageJob& job) const {
  std::size_t packages = job.downloads ? 1 : 0;
  for (const PackageJob& other : state_.attempt->jobs) {
    if (other.downloads) ++packages;
    if (!job.is_inline() && !other.is_inline() && job.job_id == other.job_id) {
      return fail(ErrorCode::kInvalidArgument, "job.id {} is already taken in this attempt", job.job_id);
    }
    if (job.package.id == other.package.id && job.package.sha256 != other.package.sha256) {
      return fail(ErrorCode::kInvalidArgument, "{} with another content is already asked for in this attempt",
                  name_of(job.package));
    }
  }
  if (packages <= protocol::kMaxPackages) return {};
  return fail(ErrorCode::kInvalidArgument, "more than {} packages in one attempt", protocol::kMaxPackages);
}

void Session::Step::accept_job(const Request& request, PackageJob job) {
  job.request_id = request.head.request_id;
  job.requester = request.head.requester_client_id;
  note(fmt::format("package {} is asked for (job {})", name_of(job.package), job.job_id));
  change().attempt->jobs.push_back(job);
  reply_to(owed_for(request), {.code = 200, .error = {}, .retry_after_s = {}, .body = {}});
  fetch(job);
}

// --- at work

void Session::Step::fetch(const PackageJob& job, std::string file_name, Bytes content) {
  live_.told[job.request_id] = Told{job.downloads ? DeployStage::kDownload : DeployStage::kInstall, 0, now_.steady};
  act(FetchPackage{job.request_id, job.package, job.uri, std::move(file_name), std::move(content), job.install});
}

void Session::Step::resume_packages() {
  for (const PackageJob& job : state_.attempt->jobs) {
    if (!job.outcome && !job.is_inline()) fetch(job);
  }
}

PackageJob* Session::Step::find_job(std::string_view key) {
  if (!state_.attempt) return nullptr;
  std::vector<PackageJob>& jobs = state_.attempt->jobs;
  const auto found =
      std::find_if(jobs.begin(), jobs.end(), [&](const PackageJob& job) { return job.request_id == key; });
  return found == jobs.end() ? nullptr : &*found;
}

bool Session::Step::has_running_job() const {
  if (!state_.attempt) return false;
  const std::vector<PackageJob>& jobs = state_.attempt->jobs;
  return std::any_of(jobs.begin(), jobs.end(), [](const PackageJob& job) { return !job.outcome; });
}

// A slow link does not fail a download that is getting on.
void Session::Step::show_life() {
  if (is_set(Timer::kTimeout) && !state_.attempt->refused) set(Timer::kTimeout, config_.timeout);
}

void Session::Step::on(const PackageProgress& event) {
  const PackageJob* job = in_attempt() ? find_job(event.key) : nullptr;
  if (job == nullptr || job->outcome) return;
  show_life();
  Told& told = live_.told[event.key];
  const bool next_stage = event.stage != told.stage;
  if (!next_stage && event.percent < told.percent + kProgressStep && now_.steady < told.at + kProgressPause) return;
  if (next_stage && told.stage == DeployStage::kDownload) {
    notify(*job, DeployStage::kDownload, 100, DeployStatus::kCompleted);
  }
  told = Told{event.stage, event.percent, now_.steady};
  notify(*job, event.stage, std::clamp(event.percent, 0, 100), DeployStatus::kInProgress);
}

// --- the end of a job

void Session::Step::on(const PackageDone& event) {
  PackageJob* job = in_attempt() ? find_job(event.key) : nullptr;
  if (job == nullptr || job->outcome) return;
  note(fmt::format("package {} is {}", name_of(job->package), event.already ? "here already" : "here"));
  if (job->install) {
    std::vector<Package>& packages = change().attempt->staged.packages;
    if (std::find(packages.begin(), packages.end(), job->package) == packages.end()) packages.push_back(job->package);
  }
  end_job(*job, event.already ? DeployStatus::kAlreadyDone : DeployStatus::kCompleted);
}

void Session::Step::on(const PackageFailed& event) {
  PackageJob* job = in_attempt() ? find_job(event.key) : nullptr;
  if (job == nullptr || job->outcome) return;
  job->failed_stage = job->downloads ? event.stage : DeployStage::kInstall;
  job->error = printable(event.error.message);
  problem(fmt::format("package {} has failed: {}", name_of(job->package), job->error));
  end_job(*job, DeployStatus::kFailed);
}

void Session::Step::end_job(PackageJob& job, DeployStatus outcome) {
  change();
  job.outcome = outcome;
  show_life();
  const auto told = live_.told.extract(job.request_id);
  if (!job.is_inline()) {
    tell_outcome(job, told.empty() ? DeployStage::kDownload : told.mapped().stage);
  } else {
    const Owed owed{job.request_id, protocol::ReplyTopic{config_.account, job.requester,
                                                         std::string(protocol::kAppDeployV1), job.request_id}
                                        .str()};
    if (outcome == DeployStatus::kFailed) {
      refuse(owed, 500, fmt::format("package {}: {}", name_of(job.package), job.error));
    } else {
      protocol::KuraPayload reply = protocol::to_payload(
          protocol::Reply{.code = 200, .error = {}, .retry_after_s = {}, .body = {}}, to_unix_millis(now_.wall));
      protocol::add_installed_package(reply, job.package.id);
      reply_to(owed, reply);
    }
  }
  if (!live_.held || has_running_job()) return;
  Held held = std::move(*std::exchange(live_.held, std::nullopt));
  if (state_.attempt->refused) return refuse(held.owed, 400, std::string(kRefusedBefore));
  install(std::move(held.owed), std::move(held.configurations));
}

// --- notifications

PublishProvision Session::Step::notification(const PackageJob& job, DeployStage stage, int percent, DeployStatus status,
                                             std::string error) const {
  const protocol::NotifyTopic topic{config_.account, job.requester, std::string(protocol::kAppDeployV2),
                                    config_.client_id, std::string(protocol::to_string(stage))};
  const protocol::DeployNotification news{stage, job.job_id, percent, status, std::move(error)};
  return {topic.str(), protocol::encode(protocol::to_payload(news, to_unix_millis(now_.wall)))};
}

void Session::Step::notify(const PackageJob& job, DeployStage stage, int percent, DeployStatus status,
                           std::string error) {
  if (live_.link != Link::kUp || job.is_inline()) return;
  act(notification(job, stage, percent, status, std::move(error)));
}

// The last word on each stage, `from` on. One that failed to download is told as failed to install too: a platform may
// wait for exactly that.
void Session::Step::tell_outcome(const PackageJob& job, DeployStage from) {
  const bool failed = job.outcome == DeployStatus::kFailed;
  const auto tell = [&](DeployStage stage) {
    const bool failed_here = failed && stage >= job.failed_stage;
    const DeployStatus status = failed_here ? DeployStatus::kFailed : failed ? DeployStatus::kCompleted : *job.outcome;
    notify(job, stage, failed_here ? 0 : 100, status, failed_here ? job.error : std::string());
  };
  if (job.downloads && from == DeployStage::kDownload) tell(DeployStage::kDownload);
  if (job.install) tell(DeployStage::kInstall);
}

void Session::Step::tell_outcomes() {
  for (const PackageJob& job : state_.attempt->jobs) {
    if (job.outcome) tell_outcome(job);
  }
}

Effects Session::Step::packages_farewell(const std::string& why) const {
  Effects effects;
  if (!has_running_job()) return effects;
  effects.push_back(CancelPackages{});
  for (const PackageJob& job : state_.attempt->jobs) {
    if (job.outcome || job.is_inline() || live_.link != Link::kUp) continue;
    const DeployStage stage = job.downloads ? DeployStage::kDownload : DeployStage::kInstall;
    effects.push_back(notification(job, stage, 0, DeployStatus::kCancelled, why));
  }
  return effects;
}

}  // namespace fleet::agent
