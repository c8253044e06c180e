// Provision requests, and what of them concerns admission.
#include "provisioner/store/sql_filter.hpp"
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
namespace {

#define REQUEST_COLUMNS                                                                                            \
  "id, name, profile, client_id, username, connect_verifier, username_verifier, activation_key_verifier, "         \
  "activation_key_used, labels, params, enabled, activates_on, expires_on, retry_max_attempts, status, failures, " \
  "last_error, facts, optlock, created_at, updated_at, completed_at, configuration, packages, secure_url, tight"
// What admission_of() looks at, and what an update must check.
#define ADMISSION_COLUMNS                                                                                        \
  "client_id, username, connect_verifier, enabled, activates_on, expires_on, status, updated_at, completed_at, " \
  "optlock"

// ADMISSION_COLUMNS.
Result<ProvisionRequest> read_stored_admission(RowReader& row) {
  TRY_ASSIGN(ProvisionRequest request, read_admission(row));
  request.optlock = row.integer();
  return request;
}

// ?1 is the id for an update, NULL for an insert; ?20 optlock, ?21 created_at, ?22 updated_at.
Result<void> bind_request(sqlite::Statement& statement, const ProvisionRequest& request, std::optional<std::int64_t> id,
                          std::int64_t optlock) {
  Binder values(statement);
  return to_values::request(values, request, id, optlock, request.facts);
}

}  // namespace

Result<std::optional<AdmissionRow>> SqlTransaction::admission_row(std::string_view client_id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ADMISSION_COLUMNS " FROM request WHERE client_id = ?1"));
  Binder(*query).text(client_id);
  TRY_ASSIGN(const auto request, read_one<ProvisionRequest>(*query, read_stored_admission));
  return request ? std::optional(admission_of(*request)) : std::nullopt;
}

Result<void> SqlTransaction::all_admission_rows(const std::function<Result<void>(const AdmissionRow&)>& each) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ADMISSION_COLUMNS " FROM request ORDER BY client_id"));
  while (true) {
    TRY_ASSIGN(const bool found, query->next());
    if (!found) return {};
    RowReader row(*query);
    TRY_ASSIGN(const ProvisionRequest request, read_stored_admission(row));
    TRY(each(admission_of(request)));
  }
}

Result<std::int64_t> SqlTransaction::admission_generation() {
  TRY_ASSIGN(const auto query, statements_.use("SELECT value FROM counter WHERE name = 'admission_generation'"));
  TRY_ASSIGN(const bool row, query->next());
  if (!row) return fail(ErrorCode::kCorrupt, "{}: the counter admission_generation is missing", database_.path());
  return query->integer(0);
}

Result<void> SqlTransaction::bump_admission_generation() {
  TRY_ASSIGN(const auto change,
             statements_.use("UPDATE counter SET value = random() & 0x7fffffffffffffff WHERE name = 'admission_generation'"));
  return change->run();
}

Result<std::optional<SqlTransaction::StoredAdmission>> SqlTransaction::stored_admission(std::int64_t id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ADMISSION_COLUMNS " FROM request WHERE id = ?1"));
  Binder(*query).integer(id);
  TRY_ASSIGN(const auto request, read_one<ProvisionRequest>(*query, read_stored_admission));
  if (!request) return std::optional<StoredAdmission>();
  return std::optional(StoredAdmission{admission_of(*request), request->optlock});
}

Result<void> SqlTransaction::insert_request(ProvisionRequest& request) {
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO request (" REQUEST_COLUMNS
                             ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, "
                             "?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)"));
  TRY(bind_request(*change, request, std::nullopt, request.optlock));
  TRY(change->run());
  request.id = database_.last_insert_id();
  const auto [touched, is_first] = touched_.try_emplace(request.client_id, admission_of(request));
  if (!is_first) touched->second.reset();
  return {};
}

Result<SqlTransaction::StoredAdmission> SqlTransaction::current_admission(const ProvisionRequest& request) {
  TRY_ASSIGN(auto stored, stored_admission(request.id));
  if (!stored) return fail(ErrorCode::kNotFound, "request {}: no such request", request.name);
  if (stored->optlock != request.optlock) {
    return fail(ErrorCode::kConflict, "request {}: changed by somebody else meanwhile (optlock {}, now {})",
                request.name, request.optlock, stored->optlock);
  }
  return std::move(*stored);
}

void SqlTransaction::touch(const AdmissionRow& before, const ProvisionRequest& after) {
  if (before == admission_of(after)) return;
  touched_[before.client_id].reset();
  touched_[after.client_id].reset();
}

Result<void> SqlTransaction::update_request(ProvisionRequest& request) {
  TRY_ASSIGN(const StoredAdmission stored, current_admission(request));
  TRY_ASSIGN(const auto change,
             statements_.use("UPDATE request SET name = ?2, profile = ?3, client_id = ?4, username = ?5, "
                             "connect_verifier = ?6, username_verifier = ?7, activation_key_verifier = ?8, "
                             "activation_key_used = ?9, labels = ?10, params = ?11, enabled = ?12, activates_on = ?13, "
                             "expires_on = ?14, retry_max_attempts = ?15, status = ?16, failures = ?17, "
                             "last_error = ?18, facts = ?19, optlock = ?20, updated_at = ?22, completed_at = ?23, "
                             "configuration = ?24, packages = ?25, secure_url = ?26, tight = ?27 "
                             "WHERE id = ?1"));
  TRY(bind_request(*change, request, request.id, request.optlock + 1));
  TRY(change->run());
  ++request.optlock;
  touch(stored.row, request);
  known_.reset();
  return {};
}

// Few of the indexes hold any of this: a third of the cost of update_request. What the device said of itself is written, and
// checked to be JSON, only with the hello that says it.
Result<void> SqlTransaction::update_progress(ProvisionRequest& request) {
  std::optional<AdmissionRow> before;
  bool facts_changed = true;
  if (known_ && known_->id == request.id && known_->optlock == request.optlock) {
    before = admission_of(*known_);
    facts_changed = known_->facts != request.facts;
  } else {
    TRY_ASSIGN(StoredAdmission stored, current_admission(request));
    before = std::move(stored.row);
  }
#define PROGRESS_COLUMNS \
  "activation_key_used = ?2, status = ?3, failures = ?4, last_error = ?5, optlock = ?6, updated_at = ?7, completed_at = ?8"
  TRY_ASSIGN(const auto change,
             statements_.use(facts_changed ? "UPDATE request SET " PROGRESS_COLUMNS ", facts = ?9 WHERE id = ?1"
                                           : "UPDATE request SET " PROGRESS_COLUMNS " WHERE id = ?1"));
  Binder values(*change);
  values.integer(request.id)
      .flag(request.activation_key_used)
      .text(to_string(request.status))
      .integer(request.failures)
      .text(request.last_error)
      .integer(request.optlock + 1)
      .time(request.updated_at)
      .time(request.completed_at);
  if (facts_changed) {
    TRY_ASSIGN(const std::string facts, to_json(request.facts));
    values.text(facts);
  }
  TRY(change->run());
  ++request.optlock;
  touch(*before, request);
  known_.reset();
  return {};
}

Result<void> SqlTransaction::delete_request(std::int64_t id) {
  TRY_ASSIGN(const auto stored, stored_admission(id));
  if (!stored) return fail(ErrorCode::kNotFound, "request {}: no such request", id);
  TRY_ASSIGN(const auto change, statements_.use("DELETE FROM request WHERE id = ?1"));
  Binder(*change).integer(id);
  TRY(change->run());
  known_.reset();
  touched_[stored->row.client_id].reset();
  return {};
}

Result<std::optional<ProvisionRequest>> SqlTransaction::find_request(std::int64_t id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " REQUEST_COLUMNS " FROM request WHERE id = ?1"));
  Binder(*query).integer(id);
  return read_one<ProvisionRequest>(*query, read_request);
}

Result<std::optional<ProvisionRequest>> SqlTransaction::find_request_by_name(std::string_view name) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " REQUEST_COLUMNS " FROM request WHERE name = ?1"));
  Binder(*query).text(name);
  return read_one<ProvisionRequest>(*query, read_request);
}

Result<std::optional<ProvisionRequest>> SqlTransaction::find_request_by_client_id(std::string_view client_id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " REQUEST_COLUMNS " FROM request WHERE client_id = ?1"));
  Binder(*query).text(client_id);
  TRY_ASSIGN(known_, read_one<ProvisionRequest>(*query, read_request));
  return known_;
}

Result<std::optional<ProvisionRequest>> SqlTransaction::find_request_by_username(std::string_view username) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " REQUEST_COLUMNS " FROM request WHERE username = ?1 LIMIT 1"));
  Binder(*query).text(username);
  return read_one<ProvisionRequest>(*query, read_request);
}

Result<std::vector<ProvisionRequest>> SqlTransaction::requests_with_username(std::string_view username) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " REQUEST_COLUMNS " FROM request WHERE username = ?1 ORDER BY name"));
  Binder(*query).text(username);
  return read_all<ProvisionRequest>(*query, read_request);
}

Result<std::vector<ProvisionRequest>> SqlTransaction::list_requests(const RequestFilter& filter) {
  // The number of conditions shapes the text, so it is prepared each time.
  TRY_ASSIGN(sqlite::Statement query, database_.prepare("SELECT " REQUEST_COLUMNS " FROM request WHERE name > ? AND " +
                                                        where_of(filter) + " ORDER BY name LIMIT ?"));
  Binder binder(query);
  binder.text(filter.after);
  TRY(bind_filter(binder, filter));
  binder.integer(static_cast<std::int64_t>(filter.limit));
  return read_all<ProvisionRequest>(query, read_request);
}

Result<std::vector<std::string>> SqlTransaction::expired_between(WallTime after, WallTime until) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT client_id FROM request WHERE expires_on > ?1 AND expires_on <= ?2"));
  Binder(*query).time(after).time(until);
  std::vector<std::string> client_ids;
  while (true) {
    TRY_ASSIGN(const bool row, query->next());
    if (!row) return client_ids;
    client_ids.push_back(query->text(0));
  }
}

Result<std::optional<WallTime>> SqlTransaction::expiries_ended_until() {
  TRY_ASSIGN(const auto query, statements_.use("SELECT value FROM counter WHERE name = 'expiries_ended_until'"));
  TRY_ASSIGN(const bool row, query->next());
  return row ? std::optional(from_unix_millis(query->integer(0))) : std::nullopt;
}

Result<void> SqlTransaction::note_expiries_ended_until(WallTime time) {
  TRY_ASSIGN(const auto change, statements_.use("INSERT INTO counter (name, value) VALUES ('expiries_ended_until', ?1) "
                                                "ON CONFLICT (name) DO UPDATE SET value = ?1"));
  Binder(*change).time(time);
  return change->run();
}

Result<std::map<JobStatus, std::int64_t>> SqlTransaction::count_requests() {
  TRY_ASSIGN(const auto query, statements_.use("SELECT status, count(*) FROM request GROUP BY status"));
  std::map<JobStatus, std::int64_t> counts;
  while (true) {
    TRY_ASSIGN(const bool row, query->next());
    if (!row) return counts;
    TRY_ASSIGN(const JobStatus status, enum_from(query->text(0), JobStatus::kCreated, JobStatus::kStopped));
    counts[status] = query->integer(1);
  }
}

}  // namespace fleet::provisioner
