// The executor's handling of hellos: edc §4 "Duplicates", §4.1.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/provisioning/journal.hpp"
#include "provisioner/provisioning/opening.hpp"
#include "provisioner/provisioning/plan.hpp"
#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {

namespace {

constexpr Seconds kNotNowPause{60};

}  // namespace

Result<Outcome> Executor::on_hello(Transaction& tx, const std::string& client_id, const Hello& hello,
                                   WallTime now) const {
  TRY_ASSIGN(std::optional<ProvisionRequest> request, tx.find_request_by_client_id(client_id));
  std::optional<Attempt> latest;
  std::vector<Step> steps;
  CredentialMatch matches;
  if (request) {
    TRY_ASSIGN(latest, tx.latest_attempt(request->id));
    matches = match(*request, hello);
  }
  if (latest) {
    TRY_ASSIGN(steps, tx.steps_of(latest->id));
    TRY(tx.take_attempt(*latest));  // the device is here
  }
  const HelloVerdict verdict = judge_hello(request ? &*request : nullptr, latest ? &*latest : nullptr, steps, matches,
                                           hello.nonce.value_or(Bytes{}), now);
  if (const auto* refusal = std::get_if<RefuseHello>(&verdict)) {
    return refuse(tx, request ? &*request : nullptr, client_id, hello, *refusal, now);
  }
  if (std::holds_alternative<RecordedHello>(verdict))
    return record_again(tx, std::move(*latest), client_id, hello, now);
  if (std::holds_alternative<RepeatHello>(verdict)) {
    return repeat(tx, std::move(*latest), std::move(steps), client_id, hello, now);
  }
  return open(tx, std::move(*request), std::move(latest), steps, std::get<OpenAttempt>(verdict), hello, now);
}

Result<Outcome> Executor::on_malformed_hello(Transaction& tx, const std::string& client_id,
                                             const std::optional<std::string>& hello_id,
                                             const std::optional<Bytes>& nonce, const std::string& why,
                                             WallTime now) const {
  TRY_ASSIGN(const std::optional<ProvisionRequest> request, tx.find_request_by_client_id(client_id));
  Hello hello;
  hello.hello_id = hello_id;
  hello.nonce = nonce;
  return refuse(tx, request ? &*request : nullptr, client_id, hello, bad_request(presentable(why)), now);
}

CredentialMatch Executor::match(const ProvisionRequest& request, const Hello& hello) const {
  const auto verifier = [&](std::string_view purpose, const Secret& secret) {
    return crypto::secret_verifier(settings_.verifier_key, purpose, request.client_id, secret.reveal());
  };
  // Both are worked out whatever the first says: the time tells nothing.
  const bool username = constant_time_equal(hello.username, request.username);
  const bool password = constant_time_equal(verifier(kConnectPurpose, hello.password), request.connect_verifier);
  CredentialMatch matches{.login = username && password, .activation_key = true};
  if (request.activation_key_verifier) {
    const Secret key = hello.activation_key.value_or(Secret{});
    matches.activation_key =
        constant_time_equal(verifier(kActivationKeyPurpose, key), *request.activation_key_verifier);
  }
  return matches;
}

Result<void> Executor::answer(Outcome& outcome, const std::string& client_id, const Bytes& nonce,
                              const std::string& hello_id, const AnswerDetails& details, WallTime now) const {
  if (hello_id.empty()) return {};
  TRY_ASSIGN(Outgoing message, dialect_.answer_message(client_id, nonce, hello_id, details, now));
  outcome.send.push_back(std::move(message));
  return {};
}

Result<Outcome> Executor::refuse(Transaction& tx, const ProvisionRequest* request, const std::string& client_id,
                                 const Hello& hello, const RefuseHello& refusal, WallTime now) const {
  AnswerDetails details{.answer = refusal.answer, .message = refusal.message, .retry_after = refusal.retry_after};
  if (refusal.answer == Answer::kNotNow) details.retry_after = kNotNowPause;
  if (request != nullptr) {
    if (refusal.answer == Answer::kNotNow) {
      TRY(note_not_served(tx, *request, refusal, now));
    } else {
      TRY(add_line_once(tx, request->id, std::nullopt, kRefusedLine, refusal.note, now));
    }
  }
  Outcome outcome;
  if (refusal.answer == Answer::kWrongCredentials) outcome.secrets = Outcome::Secrets::kWrong;
  TRY(answer(outcome, client_id, hello.nonce.value_or(Bytes{}), hello.hello_id.value_or(""), details, now));
  return outcome;
}

// The device is well, the platform is not: that is for the operator to see on the request itself.
Result<void> Executor::note_not_served(Transaction& tx, const ProvisionRequest& request, const RefuseHello& refusal,
                                       WallTime now) const {
  TRY(add_line_once(tx, request.id, std::nullopt, kRefusedLine, refusal.note, now));
  if (request.last_error == refusal.note) return {};
  ProvisionRequest changed = request;
  changed.last_error = refusal.note;
  changed.updated_at = now;
  return tx.update_progress(changed);
}

Result<Outcome> Executor::record_again(Transaction& tx, Attempt attempt, const std::string& client_id,
                                       const Hello& hello, WallTime now) const {
  const std::string hello_id = hello.hello_id.value_or("");
  if (attempt.hello_id != hello_id) {
    attempt.hello_id = hello_id;
    TRY(tx.update_attempt(attempt));
  }
  TRY(add_line_once(tx, attempt.request_id, attempt.id, kHelloLine,
                    "the device asked again and was told that it is provisioned", now));
  Outcome outcome{.secrets = Outcome::Secrets::kRight};
  TRY(answer(outcome, client_id, attempt.nonce, attempt.hello_id, {.answer = Answer::kRecorded}, now));
  return outcome;
}

Result<Outcome> Executor::repeat(Transaction& tx, Attempt attempt, std::vector<Step> steps,
                                 const std::string& client_id, const Hello& hello, WallTime now) const {
  // moved_at stays: a device that only says hello does not get anywhere.
  attempt.hello_id = hello.hello_id.value_or("");
  Outcome outcome{.secrets = Outcome::Secrets::kRight};
  TRY(answer(outcome, client_id, attempt.nonce, attempt.hello_id, {.answer = Answer::kAccepted}, now));
  std::vector<Step> repeated;
  for (Step& step : steps) {
    if (!worth_repeating(step, now)) continue;
    step.sent_at = now;
    ++step.send_count;
    TRY(tx.update_step(step));
    outcome.send.push_back({client_id, step.topic, step.payload});
    repeated.push_back(step);
  }
  attempt.due_at = next_due(attempt, steps);
  TRY(tx.update_attempt(attempt));
  if (repeated.empty()) return outcome;
  TRY(add_line_once(tx, attempt.request_id, attempt.id, kHelloLine,
                    fmt::format("the device said hello again; sent again: {}", owed(repeated)), now));
  return outcome;
}

Result<Outcome> Executor::open(Transaction& tx, ProvisionRequest request, std::optional<Attempt> latest,
                               const std::vector<Step>& steps, const OpenAttempt& verdict, const Hello& hello,
                               WallTime now) const {
  std::optional<crypto::Csr> csr;
  if (hello.csr_der) {
    auto read = crypto::Csr::from_der(*hello.csr_der);
    if (!read) {
      const std::string why = with_context(std::move(read).error(), "certificate signing request").message;
      return refuse(tx, &request, request.client_id, hello, bad_request(why), now);
    }
    csr = std::move(*read);
  }
  TRY_ASSIGN(auto prepared, prepare(tx, request, csr));
  if (const auto* refusal = std::get_if<RefuseHello>(&prepared)) {
    return refuse(tx, &request, request.client_id, hello, *refusal, now);
  }
  Opening opening = std::get<Opening>(std::move(prepared));

  std::optional<AfterFailure> failure;
  const std::string owing = owed(steps);
  const std::string cause = owing.empty()
                                ? std::string("the device started over while the owner's broker had yet to take its credentials")
                                : fmt::format("the device started over while it owed its reply to {}", owing);
  if (verdict.counts) failure = after_failure(request, opening.profile.retry_max_attempts, cause);
  if (failure && failure->status == JobStatus::kAbandoned) {
    TRY(fail_attempt(tx, request, *latest, cause, now));
    const RefuseHello gone{Answer::kGone, fmt::format("abandoned after {} failed attempts", request.failures),
                           "hello refused: the request is abandoned"};
    TRY_ASSIGN(Outcome outcome, refuse(tx, &request, request.client_id, hello, gone, now));
    outcome.endings.push_back({request.name, request.client_id, AttemptState::kFailed, request.last_error});
    return outcome;
  }

  // Whatever can fail outside the store comes before the first write: a hello that is not served leaves all as it was.
  TRY_ASSIGN(const auto refusal, certify(request, opening, now));
  if (refusal) return refuse(tx, &request, request.client_id, hello, *refusal, now);

  Attempt attempt;
  attempt.request_id = request.id;
  attempt.number = latest ? latest->number + 1 : 1;
  attempt.nonce = hello.nonce.value_or(Bytes{});
  attempt.hello_id = hello.hello_id.value_or("");
  attempt.timeout = opening.profile.attempt_timeout;
  attempt.started_at = attempt.moved_at = now;
  opening.attempt_number = attempt.number;
  if (opening.account.credentials == OwnerCredentials::kPassword) {
    attempt.handover = Handover::kPending;
    attempt.owner_account = opening.account.name;
    attempt.owner_password = random_password();
    attempt.owner_username = give_owner_login(opening.configurations, request.client_id, attempt.owner_password);
  }
  const auto plan = plan_of(request, opening);
  if (!plan) return refuse(tx, &request, request.client_id, hello, not_now(plan.error().message), now);
  auto new_steps = make_steps(request.client_id, attempt, *plan, 0, now);
  if (!new_steps) return refuse(tx, &request, request.client_id, hello, not_now(new_steps.error().message), now);
  attempt.due_at = next_due(attempt, *new_steps);

  if (verdict.supersede) {
    TRY(end_attempt(tx, *latest, AttemptState::kSuperseded, cause, now));
    TRY(add_line(tx, request.id, latest->id, kSupersededLine, failure ? failure->last_error : cause, now));
  }
  if (failure) {
    request.failures = failure->failures;
    request.last_error = failure->last_error;
  }
  request.status = JobStatus::kStarted;
  request.facts = hello.facts;
  request.updated_at = now;
  TRY(tx.update_progress(request));
  TRY(tx.insert_attempt(attempt));
  const std::string reason = presentable(hello.reason, 64);
  TRY(add_line(
      tx, request.id, attempt.id, kHelloLine,
      fmt::format("hello accepted{}: attempt {} begins", reason.empty() ? "" : " (" + reason + ")", attempt.number),
      now));
  if (opening.certificate) TRY(keep_certificate(tx, attempt, opening, now));

  Outcome outcome{.secrets = Outcome::Secrets::kRight};
  if (verdict.supersede) outcome.endings.push_back({request.name, request.client_id, AttemptState::kSuperseded, latest->error});
  TRY(answer(outcome, request.client_id, attempt.nonce, attempt.hello_id, {.answer = Answer::kAccepted}, now));
  TRY(begin_steps(tx, request, attempt, std::move(*new_steps), outcome, now));
  return outcome;
}

}  // namespace fleet::provisioner
