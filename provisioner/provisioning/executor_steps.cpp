// How the executor puts an attempt's steps together: the device's key and its certificate (edc §4.4), the messages.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "provisioner/provisioning/executor.hpp"
#include "provisioner/provisioning/journal.hpp"
#include "provisioner/provisioning/opening.hpp"
#include "provisioner/provisioning/plan.hpp"
#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {

namespace {

constexpr Millis kDay{86'400'000};
// The broker closes the connection of whoever sends more than 1 MiB: it would be ours, with every device behind it.
constexpr std::size_t kLargestMessage = 1024 * 1024 - 1024;

// A certificate that ends within its attempt is as good as an expired one (edc §4.4, reuse); one that was issued by a
// clock that was ahead is not valid yet.
bool is_reusable(const IssuedCertificate& certificate, WallTime now) {
  if (certificate.not_before > now) return false;
  const Millis margin = std::min(kDay, (certificate.not_after - certificate.not_before) / 10);
  return certificate.not_after - now > margin;
}

Result<crypto::Csr> brought_by(const StepReply& reply) {
  if (!reply.signing_request_pem) return fail(ErrorCode::kMalformed, "the reply holds none");
  return crypto::Csr::from_pem(*reply.signing_request_pem);
}

}  // namespace

RefuseHello not_now(const std::string& why) {
  return {Answer::kNotNow, "the platform cannot provision this device now", "hello not served: " + why};
}

RefuseHello bad_request(const std::string& why) {
  return {Answer::kMalformed, why, "hello refused: " + why};
}

Result<std::variant<RefuseHello, Executor::Opening>> Executor::prepare(Transaction& tx, const ProvisionRequest& request,
                                                                       const std::optional<crypto::Csr>& csr) const {
  using Prepared = std::variant<RefuseHello, Opening>;
  std::optional<IssuedCertificate> certificate;
  if (csr) {
    TRY_ASSIGN(certificate, tx.certificate_of_key(csr->public_key().spki_sha256()));
  }
  if (certificate && certificate->client_id != request.client_id) {
    return Prepared(bad_request("the key is known for another device: a device makes its own key"));
  }
  TRY_ASSIGN(auto profile, tx.find_profile(request.profile));
  if (!profile) return Prepared(not_now(fmt::format("profile {}: no such profile; apply it", request.profile)));
  TRY_ASSIGN(auto account, tx.find_account(profile->account));
  if (!account) return Prepared(not_now(fmt::format("account {}: no such account; apply it", profile->account)));
  auto configurations = render_configuration(request, *profile, *account);
  if (!configurations) {
    return Prepared(
        not_now(fmt::format("profile {}: {}; correct it and apply it", profile->name, configurations.error().message)));
  }
  auto packages = render_packages(request, *profile);
  if (!packages) {
    return Prepared(
        not_now(fmt::format("profile {}: {}; correct it and apply it", profile->name, packages.error().message)));
  }
  return Prepared(Opening{std::move(*profile), std::move(*account), std::move(*configurations), std::move(*packages),
                          csr ? std::optional(csr->public_key()) : std::nullopt, std::move(certificate)});
}

Result<std::optional<RefuseHello>> Executor::certify(const ProvisionRequest& request, Opening& opening,
                                                     WallTime now) const {
  if (!opening.key || !opening.needs_certificate()) {
    opening.certificate.reset();
    return std::optional<RefuseHello>{};
  }
  if (opening.certificate && is_reusable(*opening.certificate, now)) return std::optional<RefuseHello>{};
  auto issued = settings_.issue(request.client_id, *opening.key, opening.profile.certificate_validity, now);
  if (!issued) return std::optional(not_now("the device CA does not issue: " + issued.error().message));
  opening.certificate = IssuedCertificate{.serial = issued->serial,
                                          .spki_sha256 = opening.key->spki_sha256(),
                                          .client_id = request.client_id,
                                          .request_id = request.id,
                                          .pem = issued->to_pem(),
                                          .not_before = issued->not_before,
                                          .not_after = issued->not_after,
                                          .issued_at = now};
  opening.newly_issued = true;
  return std::optional<RefuseHello>{};
}

Result<void> Executor::keep_certificate(Transaction& tx, const Attempt& attempt, const Opening& opening,
                                        WallTime now) const {
  const IssuedCertificate& certificate = *opening.certificate;
  if (opening.newly_issued) TRY(tx.insert_certificate(certificate));
  return add_line(
      tx, attempt.request_id, attempt.id, kCertificateLine,
      fmt::format("device certificate {} {}, valid until {}", certificate.serial,
                  opening.newly_issued ? "issued" : "used again for the same key", format_time(certificate.not_after)),
      now);
}

Result<std::vector<StepContent>> Executor::plan_of(const ProvisionRequest& request, const Opening& opening) const {
  std::vector<std::string> chain;
  if (opening.needs_certificate()) {
    if (!opening.certificate) return make_plan_without_key(settings_.signing_chain_pem, request.client_id);
    if (!device_ca_chain_) return fail(device_ca_chain_.error());
    chain.push_back(opening.certificate->pem);
    chain.insert(chain.end(), device_ca_chain_->begin(), device_ca_chain_->end());
  }
  TRY_ASSIGN(std::vector<StepContent> packages, package_steps(request, opening));
  return make_plan(settings_.signing_chain_pem, std::move(chain), opening.account, std::move(packages),
                   opening.configurations);
}

Result<std::vector<Step>> Executor::make_steps(const std::string& client_id, const Attempt& attempt,
                                               const std::vector<StepContent>& plan, int first_ordinal,
                                               WallTime now) const {
  std::vector<Step> steps;
  for (const StepContent& content : plan) {
    Step step;
    step.ordinal = first_ordinal++;
    step.kind = kind_of(content);
    step.rid = random_id();
    step.summary = summary_of(content);
    step.sent_at = now;
    auto message = dialect_.step_message(client_id, attempt.nonce, step.rid, content, now);
    if (!message) return fail(with_context(std::move(message).error(), step.summary + " cannot be sent"));
    if (message->topic.size() + message->payload.size() > kLargestMessage) {
      return fail(ErrorCode::kLimitExceeded, "{}: {} bytes, more than a message takes; make it smaller",
                  step.summary, message->payload.size());
    }
    step.topic = std::move(message->topic);
    step.payload = std::move(message->payload);
    if (const auto* package = std::get_if<PackageContent>(&content)) {
      step.job_id = package->job_id;
      step.optional = !package->required;
    } else if (const auto* inline_package = std::get_if<InlinePackageContent>(&content)) {
      step.optional = !inline_package->required;
    }
    steps.push_back(std::move(step));
  }
  hold_back(attempt, steps);
  return steps;
}

Result<void> Executor::begin_steps(Transaction& tx, const ProvisionRequest& request, const Attempt& attempt,
                                   std::vector<Step> steps, Outcome& outcome, WallTime now) const {
  const std::vector<std::string> waits_for = obstacles(attempt, steps);
  std::vector<std::string> sent;
  for (Step& step : steps) step.attempt_id = attempt.id;
  TRY(tx.insert_steps(steps));
  for (Step& step : steps) {
    if (step.held) {
      TRY(add_line(tx, request.id, attempt.id, kHeldLine,
                   fmt::format("{} waits for {}", step.summary, fmt::join(waits_for, ", ")), now));
      continue;
    }
    sent.push_back(std::move(step.summary));
    outcome.send.push_back({request.client_id, std::move(step.topic), std::move(step.payload)});
  }
  if (sent.empty()) return {};
  return add_line(tx, request.id, attempt.id, kSentLine, fmt::format("sent {}", fmt::join(sent, "; ")), now);
}

// The signing request that the platform had to ask for is here: the rest of the plan follows it.
Result<void> Executor::on_signing_request(Transaction& tx, ProvisionRequest request, Attempt attempt, Step step,
                                          const StepReply& reply, Outcome& outcome, WallTime now) const {
  step.reply_code = reply.code;
  step.replied_at = now;
  attempt.moved_at = now;
  const auto fail_with_cause = [&](const std::string& cause) -> Result<void> {
    TRY(tx.update_step(step));
    TRY(fail_attempt(tx, request, attempt, cause, now));
    outcome.endings.push_back({request.name, request.client_id, AttemptState::kFailed, request.last_error});
    return {};
  };
  const auto fail_with = [&](const std::string& why) -> Result<void> {
    step.reply_error = presentable(why);
    return fail_with_cause("the device's certificate signing request cannot be used: " + why);
  };
  const auto csr = brought_by(reply);
  if (!csr) return fail_with(presentable(csr.error().message));
  TRY_ASSIGN(auto prepared, prepare(tx, request, *csr));
  auto* const opening = std::get_if<Opening>(&prepared);
  std::optional<RefuseHello> refusal;
  std::vector<Step> steps;
  if (opening != nullptr && attempt.handover != Handover::kNone) {
    if (const auto why = not_of(attempt, opening->account)) return fail_with_cause(*why);
  }
  if (opening == nullptr) {
    refusal = std::get<RefuseHello>(std::move(prepared));
  } else {
    // It was asked for because the device gets a certificate: an account that has changed since does not change that.
    opening->profile.wants_certificate = true;
    TRY_ASSIGN(refusal, certify(request, *opening, now));
  }
  if (!refusal) {
    opening->attempt_number = attempt.number;
    // the login is the attempt's since it was opened
    if (!attempt.owner_username.empty()) {
      keep_owner_login(opening->configurations, attempt.owner_username, attempt.owner_password);
    }
    auto plan = plan_of(request, *opening);
    if (plan) plan->erase(plan->begin());  // the signing certificates opened the attempt
    auto made = plan ? make_steps(request.client_id, attempt, *plan, step.ordinal + 1, now)
                     : Result<std::vector<Step>>(fail(plan.error()));
    if (made) {
      steps = std::move(*made);
    } else {
      refusal = not_now(made.error().message);
    }
  }
  if (refusal && refusal->answer != Answer::kNotNow) return fail_with(refusal->message);
  if (refusal) {
    // Not the device's fault: the step stays unanswered, so it is sent again, and the device repeats its reply.
    return note_not_served(tx, request, *refusal, now);
  }

  TRY(tx.update_step(step));
  TRY(add_line(tx, request.id, attempt.id, kReplyLine, "the device accepted " + step.summary, now));
  TRY(keep_certificate(tx, attempt, *opening, now));
  TRY(begin_steps(tx, request, attempt, std::move(steps), outcome, now));
  TRY_ASSIGN(std::vector<Step> all, tx.steps_without_messages(attempt.id));
  return go_on(tx, request, attempt, std::move(all), outcome, now);
}

}  // namespace fleet::provisioner
