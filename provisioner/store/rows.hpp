// The model's values as rows of a table, for every store: which columns there are, in which order they are read, and in which
// they are written. Private to provisioner/store and provisioner/store_postgres.
//
// `row` reads the columns of one row in turn, `values` takes the parameters of a statement in turn: RowReader and Binder on
// SQLite, RowReader and Parameters on PostgreSQL. Reading fails with kCorrupt for what no store has written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.hpp"
#include "provisioner/provisioning/model.hpp"
#include "provisioner/store/columns.hpp"
#include "provisioner/store/store.hpp"

#define STEP_COLUMNS                                                                                       \
  "attempt_id, ordinal, kind, rid, summary, sent_at, send_count, reply_code, reply_error, replied_at, held, " \
  "optional, job_id, progress, notified_at, installed"
#define CERTIFICATE_COLUMNS "serial, spki_sha256, client_id, request_id, pem, not_before, not_after, issued_at"
#define TIMELINE_COLUMNS "request_id, attempt_id, at, kind, text"
#define LOGIN_COLUMNS "id, account, client_id, username, given_up"
#define AUDIT_COLUMNS "at, until, times, source, kind, who, client_id, text"

namespace fleet::provisioner {

// The enumerator, from `first` to `last`, whose to_string() is `name`; kCorrupt if there is none.
template <typename E>
Result<E> enum_from(std::string_view name, E first, E last) {
  for (int i = static_cast<int>(first); i <= static_cast<int>(last); ++i) {
    if (to_string(static_cast<E>(i)) == name) return static_cast<E>(i);
  }
  return fail(ErrorCode::kCorrupt, "stored name \"{}\": unknown", name);
}

inline constexpr auto read_account = [](auto& row) -> Result<Account> {
  Account account;
  account.name = row.text();
  account.broker_url = row.text();
  TRY_ASSIGN(account.ca_pem, list_from_json(row.text()));
  TRY_ASSIGN(account.credentials, enum_from(row.text(), OwnerCredentials::kX509, OwnerCredentials::kPassword));
  TRY_ASSIGN(account.tight, enum_from(row.text(), CredentialsTight::kInherited, CredentialsTight::kLoose));
  account.connector.database = row.text();
  TRY_ASSIGN(account.connector.command, list_from_json(row.text()));
  return account;
};

inline constexpr auto read_profile = [](auto& row) -> Result<Profile> {
  Profile profile;
  profile.name = row.text();
  profile.account = row.text();
  TRY_ASSIGN(profile.configuration, configurations_from_json(row.text()));
  profile.certificate_validity = row.duration();
  profile.retry_max_attempts = row.small();
  profile.attempt_timeout = row.duration();
  TRY_ASSIGN(profile.packages, packages_from_json(row.text()));
  profile.wants_certificate = row.flag();
  return profile;
};

inline constexpr auto read_request = [](auto& row) -> Result<ProvisionRequest> {
  ProvisionRequest request;
  request.id = row.integer();
  request.name = row.text();
  request.profile = row.text();
  request.client_id = row.text();
  request.username = row.text();
  request.connect_verifier = row.blob();
  request.username_verifier = row.blob();
  request.activation_key_verifier = row.maybe_blob();
  request.activation_key_used = row.flag();
  TRY_ASSIGN(request.labels, map_from_json(row.text()));
  TRY_ASSIGN(request.params, map_from_json(row.text()));
  request.enabled = row.flag();
  request.activates_on = row.maybe_time();
  request.expires_on = row.maybe_time();
  if (const auto attempts = row.maybe_integer()) request.retry_max_attempts = static_cast<int>(*attempts);
  TRY_ASSIGN(request.status, enum_from(row.text(), JobStatus::kCreated, JobStatus::kStopped));
  request.failures = row.small();
  request.last_error = row.text();
  TRY_ASSIGN(request.facts, map_from_json(row.text()));
  request.optlock = row.integer();
  request.created_at = row.time();
  request.updated_at = row.time();
  request.completed_at = row.maybe_time();
  if (const auto configuration = row.maybe_text()) {
    TRY_ASSIGN(request.configuration, configurations_from_json(*configuration));
  }
  if (const auto packages = row.maybe_text()) {
    TRY_ASSIGN(request.packages, packages_from_json(*packages));
  }
  request.secure_url = row.flag();
  TRY_ASSIGN(request.tight, enum_from(row.text(), CredentialsTight::kInherited, CredentialsTight::kLoose));
  return request;
};

// Only what admission_of() looks at.
inline constexpr auto read_admission = [](auto& row) -> Result<ProvisionRequest> {
  ProvisionRequest request;
  request.client_id = row.text();
  request.username = row.text();
  request.connect_verifier = row.blob();
  request.enabled = row.flag();
  request.activates_on = row.maybe_time();
  request.expires_on = row.maybe_time();
  TRY_ASSIGN(request.status, enum_from(row.text(), JobStatus::kCreated, JobStatus::kStopped));
  request.updated_at = row.time();
  request.completed_at = row.maybe_time();
  return request;
};

inline constexpr auto read_attempt = [](auto& row) -> Result<Attempt> {
  Attempt attempt;
  attempt.id = row.integer();
  attempt.request_id = row.integer();
  attempt.number = row.small();
  attempt.nonce = row.blob();
  attempt.hello_id = row.foreign_text();
  TRY_ASSIGN(attempt.state, enum_from(row.text(), AttemptState::kOpen, AttemptState::kStopped));
  attempt.timeout = row.duration();
  attempt.started_at = row.time();
  attempt.moved_at = row.time();
  attempt.ended_at = row.maybe_time();
  attempt.due_at = row.maybe_time();
  attempt.error = row.text();
  TRY_ASSIGN(attempt.handover, enum_from(row.text(), Handover::kNone, Handover::kDone));
  attempt.owner_username = row.text();
  attempt.owner_password = Secret(row.text());
  attempt.handover_error = row.text();
  attempt.owner_account = row.text();
  return attempt;
};

// Without its message (messages.hpp).
inline constexpr auto read_step = [](auto& row) -> Result<Step> {
  Step step;
  step.attempt_id = row.integer();
  step.ordinal = row.small();
  TRY_ASSIGN(step.kind, enum_from(row.text(), StepKind::kSigningCertificates, StepKind::kConfiguration));
  step.rid = row.text();
  step.summary = row.text();
  step.sent_at = row.time();
  step.send_count = row.small();
  if (const auto code = row.maybe_integer()) step.reply_code = static_cast<std::int32_t>(*code);
  step.reply_error = row.text();
  step.replied_at = row.maybe_time();
  step.held = row.flag();
  step.optional = row.flag();
  step.job_id = row.maybe_integer();
  step.progress = row.small();
  step.notified_at = row.maybe_time();
  step.installed = row.maybe_flag();
  return step;
};

// What insert_steps() demands.
inline Result<void> check_one_attempt(const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    if (step.attempt_id != steps.front().attempt_id) return fail(ErrorCode::kInternal, "steps of two attempts in one go");
  }
  return {};
}

inline constexpr auto read_certificate = [](auto& row) -> Result<IssuedCertificate> {
  IssuedCertificate certificate;
  certificate.serial = row.text();
  certificate.spki_sha256 = row.blob();
  certificate.client_id = row.text();
  certificate.request_id = row.integer();
  certificate.pem = row.text();
  certificate.not_before = row.time();
  certificate.not_after = row.time();
  certificate.issued_at = row.time();
  return certificate;
};

// CERTIFICATE_COLUMNS, then the request's name.
inline constexpr auto read_certificate_record = [](auto& row) -> Result<CertificateRecord> {
  TRY_ASSIGN(IssuedCertificate issued, read_certificate(row));
  return CertificateRecord{std::move(issued), row.maybe_text()};
};

inline constexpr auto read_timeline_entry = [](auto& row) -> Result<TimelineEntry> {
  TimelineEntry entry;
  entry.request_id = row.integer();
  entry.attempt_id = row.maybe_integer();
  entry.at = row.time();
  entry.kind = row.text();
  entry.text = row.text();
  return entry;
};

inline constexpr auto read_login = [](auto& row) -> Result<GivenLogin> {
  GivenLogin login;
  login.id = row.integer();
  login.account = row.text();
  login.client_id = row.text();
  login.username = row.text();
  login.given_up = row.flag();
  return login;
};

inline constexpr auto read_audit_entry = [](auto& row) -> Result<AuditEntry> {
  AuditEntry entry;
  entry.at = row.time();
  entry.until = row.time();
  entry.times = row.integer();
  TRY_ASSIGN(entry.source, enum_from(row.text(), AuditSource::kOperator, AuditSource::kDevice));
  entry.kind = row.text();
  entry.who = row.text();
  entry.client_id = row.text();
  entry.text = row.text();
  return entry;
};

inline constexpr auto read_failure_reason = [](auto& row) -> Result<FailureReason> {
  FailureReason reason;
  reason.cause = row.text();
  reason.requests = row.integer();
  reason.example = row.text();
  return reason;
};

inline constexpr auto read_id = [](auto& row) -> Result<std::int64_t> { return row.integer(); };

namespace to_values {

// In the order of the columns that are read above; JSON that cannot be written is kInvalidArgument.
template <typename Values>
Result<void> account(Values& values, const Account& account) {
  TRY_ASSIGN(const std::string ca_pem, to_json(account.ca_pem));
  TRY_ASSIGN(const std::string command, to_json(account.connector.command));
  values.text(account.name)
      .text(account.broker_url)
      .text(ca_pem)
      .text(to_string(account.credentials))
      .text(to_string(account.tight))
      .text(account.connector.database)
      .text(command);
  return {};
}

template <typename Values>
Result<void> profile(Values& values, const Profile& profile) {
  TRY_ASSIGN(const std::string configuration, to_json(profile.configuration));
  TRY_ASSIGN(const std::string packages, to_json(profile.packages));
  values.text(profile.name)
      .text(profile.account)
      .text(configuration)
      .duration(profile.certificate_validity)
      .integer(profile.retry_max_attempts)
      .duration(profile.attempt_timeout)
      .text(packages)
      .flag(profile.wants_certificate);
  return {};
}

// 1 is the id, none if the store gives it; 20 `optlock`, 21 created_at, 22 updated_at. `facts` in the place of the request's.
template <typename Values>
Result<void> request(Values& values, const ProvisionRequest& request, std::optional<std::int64_t> id, std::int64_t optlock,
                     const TextMap& facts) {
  TRY_ASSIGN(const std::string labels, to_json(request.labels));
  TRY_ASSIGN(const std::string params, to_json(request.params));
  TRY_ASSIGN(const std::string facts_json, to_json(facts));
  std::optional<std::string> configuration, packages;
  if (request.configuration) {
    TRY_ASSIGN(configuration, to_json(*request.configuration));
  }
  if (request.packages) {
    TRY_ASSIGN(packages, to_json(*request.packages));
  }
  values.integer(id)
      .text(request.name)
      .text(request.profile)
      .text(request.client_id)
      .text(request.username)
      .blob(request.connect_verifier)
      .blob(request.username_verifier)
      .maybe_blob(request.activation_key_verifier)
      .flag(request.activation_key_used)
      .text(labels)
      .text(params)
      .flag(request.enabled)
      .time(request.activates_on)
      .time(request.expires_on)
      .integer(request.retry_max_attempts ? std::optional<std::int64_t>(*request.retry_max_attempts) : std::nullopt)
      .text(to_string(request.status))
      .integer(request.failures)
      .text(request.last_error)
      .text(facts_json)
      .integer(optlock)
      .time(request.created_at)
      .time(request.updated_at)
      .time(request.completed_at)
      .maybe_text(configuration)
      .maybe_text(packages)
      .flag(request.secure_url)
      .text(to_string(request.tight));
  return {};
}

// 1 is the id, none if the store gives it.
template <typename Values>
void attempt(Values& values, const Attempt& attempt, std::optional<std::int64_t> id) {
  values.integer(id)
      .integer(attempt.request_id)
      .integer(attempt.number)
      .blob(attempt.nonce)
      .foreign_text(attempt.hello_id)
      .text(to_string(attempt.state))
      .duration(attempt.timeout)
      .time(attempt.started_at)
      .time(attempt.moved_at)
      .time(attempt.ended_at)
      .time(attempt.due_at)
      .text(attempt.error)
      .text(to_string(attempt.handover))
      .text(attempt.owner_username)
      .text(attempt.owner_password.reveal())
      .text(attempt.handover_error)
      .text(attempt.owner_account);
}

template <typename Values>
void step(Values& values, const Step& step) {
  values.integer(step.attempt_id)
      .integer(step.ordinal)
      .text(to_string(step.kind))
      .text(step.rid)
      .text(step.summary)
      .time(step.sent_at)
      .integer(step.send_count)
      .integer(step.reply_code ? std::optional<std::int64_t>(*step.reply_code) : std::nullopt)
      .text(step.reply_error)
      .time(step.replied_at)
      .flag(step.held)
      .flag(step.optional)
      .integer(step.job_id)
      .integer(step.progress)
      .time(step.notified_at)
      .flag(step.installed);
}

template <typename Values>
void certificate(Values& values, const IssuedCertificate& certificate) {
  values.text(certificate.serial)
      .blob(certificate.spki_sha256)
      .text(certificate.client_id)
      .integer(certificate.request_id)
      .text(certificate.pem)
      .time(certificate.not_before)
      .time(certificate.not_after)
      .time(certificate.issued_at);
}

template <typename Values>
void timeline_entry(Values& values, const TimelineEntry& entry) {
  values.integer(entry.request_id).integer(entry.attempt_id).time(entry.at).text(entry.kind).text(entry.text);
}

}  // namespace to_values

}  // namespace fleet::provisioner
