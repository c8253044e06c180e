// Provision requests, what a piece of work has seen of them, and what of them concerns admission.
#include <algorithm>

#include "provisioner/store/columns.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {
namespace {

// What admission_of() looks at.
#define ADMISSION_COLUMNS "client_id, username, connect_verifier, enabled, activates_on, expires_on, status, updated_at, completed_at"
constexpr std::size_t kAdmissionsPage = 10'000;

Result<AdmissionRow> read_admission_row(RowReader& row) {
  TRY_ASSIGN(const ProvisionRequest request, read_admission(row));
  return admission_of(request);
}

// A device may put anything into what it says of itself; jsonb takes no NUL.
TextMap without_nul(TextMap facts) {
  for (auto& [name, value] : facts) std::replace(value.begin(), value.end(), '\0', ' ');
  return facts;
}

// $1 is the id; $20 optlock, $21 created_at, $22 updated_at.
Result<Parameters> values_of(const ProvisionRequest& request, std::int64_t id, std::int64_t optlock) {
  Parameters values;
  TRY(to_values::request(values, request, id, optlock, without_nul(request.facts)));
  return values;
}

Error changed_meanwhile(const ProvisionRequest& request) {
  return {ErrorCode::kConflict, fmt::format("request {}: changed by somebody else meanwhile", request.name)};
}

}  // namespace

void PgTransaction::begin_piece() {
  focus_ = {};
  owners_.clear();
  seen_.clear();
  lengthened_.clear();
  account_.reset();
  locked_ = in_the_way_ = false;
}

// The first request of a piece of work is not waited for: nobody else's is held up by it. Whoever changes many (an apply)
// does wait for the others, while it holds some; deadlocks are PostgreSQL's to find.
PgTransaction::Locking PgTransaction::ask_locked(const Lockable& query, const Parameters& parameters) {
  const bool waits = std::exchange(locked_, true);
  const std::string_view text = access_ == Access::kRead ? query.plain : waits ? query.waiting : query.at_once;
  return {query, parameters, connection_.ask(text, parameters), access_ == Access::kWrite && !waits};
}

Result<void> PgTransaction::read_focused_request(const Locking& asked) {
  const Rows rows = connection_.rows(asked.ticket);
  if (rows.empty() && asked.may_miss) {
    TRY_ASSIGN(const Rows there, connection_.query(asked.query.plain, asked.parameters));
    if (!there.empty()) {
      in_the_way_ = true;
      return fail(ErrorCode::kUnavailable, "{}: another cell is at work on this request; try again", connection_.name());
    }
  }
  TRY_ASSIGN(focus_.request, read_one<ProvisionRequest>(rows, read_request));
  if (focus_.request) seen_[focus_.request->id] = {admission_of(*focus_.request), focus_.request->optlock};
  return {};
}

Result<std::int64_t> PgTransaction::next_id(std::vector<std::int64_t>& stock, std::string_view sql) {
  if (stock.empty()) {
    TRY_ASSIGN(const Rows rows, connection_.query(sql));
    for (std::size_t i = rows.size(); i > 0; --i) stock.push_back(RowReader(rows, i - 1).integer());
    if (stock.empty()) return fail(ErrorCode::kCorrupt, "{}: a sequence gives no numbers", connection_.name());
  }
  const std::int64_t id = stock.back();
  stock.pop_back();
  return id;
}

Result<std::optional<ProvisionRequest>> PgTransaction::find_one(const Lockable& query, const Parameters& parameters) {
  const Locking asked = ask_locked(query, parameters);
  TRY(connection_.sync());
  focus_ = {};
  TRY(read_focused_request(asked));
  return focus_.request;
}

Result<WantedRows> PgTransaction::admission_rows(const std::set<std::string>& client_ids) {
  WantedRows wanted;
  for (const std::string& client_id : client_ids) wanted[client_id] = std::nullopt;
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " ADMISSION_COLUMNS " FROM request WHERE client_id = ANY($1::text[])",
                                                Parameters().texts({client_ids.begin(), client_ids.end()})));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowReader row(rows, i);
    TRY_ASSIGN(AdmissionRow admission, read_admission_row(row));
    wanted[admission.client_id] = std::move(admission);
  }
  return wanted;
}

Result<void> PgTransaction::all_admission_rows(const std::function<Result<void>(const AdmissionRow&)>& each) {
  std::string behind;
  while (true) {
    TRY_ASSIGN(const Rows rows, connection_.query("SELECT " ADMISSION_COLUMNS " FROM request WHERE client_id > $1 ORDER BY client_id LIMIT $2",
                                                  Parameters().text(behind).integer(static_cast<std::int64_t>(kAdmissionsPage))));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      RowReader row(rows, i);
      TRY_ASSIGN(const AdmissionRow admission, read_admission_row(row));
      TRY(each(admission));
      behind = admission.client_id;
    }
    if (rows.size() < kAdmissionsPage) return {};
  }
}

Result<void> PgTransaction::insert_request(ProvisionRequest& request) {
  TRY_ASSIGN(const std::int64_t id,
             next_id(request_ids_, "SELECT nextval(pg_get_serial_sequence('request', 'id')) FROM generate_series(1, 100)"));
  TRY_ASSIGN(const Parameters values, values_of(request, id, request.optlock));
  connection_.send("INSERT INTO request (id, name, profile, client_id, username, connect_verifier, username_verifier, "
                   "activation_key_verifier, activation_key_used, labels, params, enabled, activates_on, expires_on, "
                   "retry_max_attempts, status, failures, last_error, facts, optlock, created_at, updated_at, completed_at, "
                   "configuration, packages, secure_url, tight) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, "
                   "$18, $19, $20, $21, $22, $23, $24, $25, $26, $27)",
                   values);
  request.id = id;
  seen_[id] = {admission_of(request), request.optlock};
  touched_[request.client_id] = seen_[id].row;
  return {};
}

Result<PgTransaction::Seen*> PgTransaction::seen_as(const ProvisionRequest& request) {
  if (!seen_.contains(request.id)) {
    TRY_ASSIGN(const auto found, find_request(request.id));
    if (!found) return fail(ErrorCode::kNotFound, "request {}: no such request", request.name);
  }
  Seen& seen = seen_[request.id];
  if (seen.optlock == request.optlock) return &seen;
  return fail(ErrorCode::kConflict, "request {}: changed by somebody else meanwhile (optlock {}, now {})", request.name,
              request.optlock, seen.optlock);
}

void PgTransaction::note_written(Seen& seen, ProvisionRequest& request) {
  ++request.optlock;
  AdmissionRow now = admission_of(request);
  if (seen.row != now) {
    touched_[seen.row.client_id].reset();
    touched_[request.client_id] = now;
  }
  seen = {std::move(now), request.optlock};
  if (focus_.request && focus_.request->id == request.id) focus_.request = request;
}

Result<void> PgTransaction::update_request(ProvisionRequest& request) {
  TRY_ASSIGN(Seen* const seen, seen_as(request));
  TRY_ASSIGN(const Parameters values, values_of(request, request.id, request.optlock + 1));
  connection_.send("UPDATE request SET name = $2, profile = $3, client_id = $4, username = $5, connect_verifier = $6, "
                   "username_verifier = $7, activation_key_verifier = $8, activation_key_used = $9, labels = $10, params = $11, "
                   "enabled = $12, activates_on = $13, expires_on = $14, retry_max_attempts = $15, status = $16, failures = $17, "
                   "last_error = $18, facts = $19, optlock = $20, created_at = $21, updated_at = $22, completed_at = $23, "
                   "configuration = $24, packages = $25, secure_url = $26, tight = $27 WHERE id = $1 AND optlock = $20 - 1",
                   values, changed_meanwhile(request));
  note_written(*seen, request);
  return {};
}

Result<void> PgTransaction::update_progress(ProvisionRequest& request) {
  TRY_ASSIGN(Seen* const seen, seen_as(request));
  TRY_ASSIGN(const std::string facts, to_json(without_nul(request.facts)));
  connection_.send("UPDATE request SET activation_key_used = $2, status = $3, failures = $4, last_error = $5, facts = $6, optlock = $7, "
                   "updated_at = $8, completed_at = $9 WHERE id = $1 AND optlock = $7 - 1",
                   Parameters()
                       .integer(request.id)
                       .flag(request.activation_key_used)
                       .text(to_string(request.status))
                       .integer(request.failures)
                       .text(request.last_error)
                       .text(facts)
                       .integer(request.optlock + 1)
                       .time(request.updated_at)
                       .time(request.completed_at),
                   changed_meanwhile(request));
  note_written(*seen, request);
  return {};
}

Result<void> PgTransaction::delete_request(std::int64_t id) {
  if (!seen_.contains(id)) {
    TRY_ASSIGN(const auto found, find_request(id));
    if (!found) return fail(ErrorCode::kNotFound, "request {}: no such request", id);
  }
  connection_.send("DELETE FROM request WHERE id = $1", Parameters().integer(id));
  touched_[seen_[id].row.client_id].reset();
  seen_.erase(id);
  focus_ = {};
  owners_.clear();
  return {};
}

Result<std::optional<ProvisionRequest>> PgTransaction::find_request(std::int64_t id) {
  if (focus_.request && focus_.request->id == id) return focus_.request;
  return find_one(FLEET_LOCKABLE("SELECT " FLEET_REQUEST_COLUMNS " FROM request WHERE id = $1"), Parameters().integer(id));
}

Result<std::optional<ProvisionRequest>> PgTransaction::find_request_by_name(std::string_view name) {
  if (!is_storable(name)) return std::optional<ProvisionRequest>();
  if (focus_.request && focus_.request->name == name) return focus_.request;
  return find_one(FLEET_LOCKABLE("SELECT " FLEET_REQUEST_COLUMNS " FROM request WHERE name = $1"), Parameters().text(name));
}

Result<std::optional<ProvisionRequest>> PgTransaction::find_request_by_client_id(std::string_view client_id) {
  if (!is_storable(client_id)) return std::optional<ProvisionRequest>();
  if (focus_.request && focus_.request->client_id == client_id) return focus_.request;
  const Parameters values = Parameters().text(client_id);
  const Locking request = ask_locked(FLEET_LOCKABLE("SELECT " FLEET_REQUEST_COLUMNS " FROM request WHERE client_id = $1"), values);
  Connection::Ticket attempt = 0, steps = 0;
  ask_latest_attempt(values, attempt, steps);
  TRY(read_focus(request, attempt, steps, true));
  return focus_.request;
}

// What follows from its answer concerns other requests too (one username, one password): whoever asks is alone with that
// question until the commit.
Result<std::optional<ProvisionRequest>> PgTransaction::find_request_by_username(std::string_view username) {
  if (!is_storable(username)) return std::optional<ProvisionRequest>();
  if (access_ == Access::kWrite) connection_.ask("SELECT pg_advisory_xact_lock(5066550)");
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " FLEET_REQUEST_COLUMNS " FROM request WHERE username = $1 LIMIT 1",
                                                Parameters().text(username)));
  return read_one<ProvisionRequest>(rows, read_request);
}

Result<std::vector<ProvisionRequest>> PgTransaction::requests_with_username(std::string_view username) {
  if (!is_storable(username)) return std::vector<ProvisionRequest>();
  if (access_ == Access::kWrite) connection_.ask("SELECT pg_advisory_xact_lock(5066550)");
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " FLEET_REQUEST_COLUMNS " FROM request WHERE username = $1 ORDER BY name",
                                                Parameters().text(username)));
  return read_all<ProvisionRequest>(rows, read_request);
}

Result<std::vector<ProvisionRequest>> PgTransaction::list_requests(const RequestFilter& filter) {
  Parameters values;
  // The number of conditions shapes the text, so it is prepared each time.
  TRY_ASSIGN(const std::string where, where_of(filter, values));
  std::string sql = "SELECT " FLEET_REQUEST_COLUMNS " FROM request WHERE " + where;
  sql += " AND request.name > " + values.text(filter.after).last() + " ORDER BY request.name";
  sql += " LIMIT " + values.integer(static_cast<std::int64_t>(filter.limit)).last();
  TRY_ASSIGN(const Rows rows, connection_.query_once(sql, values));
  return read_all<ProvisionRequest>(rows, read_request);
}

Result<std::vector<std::string>> PgTransaction::expired_between(WallTime after, WallTime until) {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT client_id FROM request WHERE expires_on > $1 AND expires_on <= $2 ORDER BY expires_on",
                                                Parameters().time(after).time(until)));
  return read_all<std::string>(rows, [](RowReader& row) -> Result<std::string> { return row.text(); });
}

// Each cell ends the connections of its own broker.
Result<std::optional<WallTime>> PgTransaction::expiries_ended_until() {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT value FROM counter WHERE name = 'expiries_ended_until:' || $1",
                                                Parameters().text(cell_name_)));
  return read_one<WallTime>(rows, [](RowReader& row) -> Result<WallTime> { return row.time(); });
}

Result<void> PgTransaction::note_expiries_ended_until(WallTime time) {
  connection_.send("INSERT INTO counter (name, value) VALUES ('expiries_ended_until:' || $1, $2) "
                   "ON CONFLICT (name) DO UPDATE SET value = $2",
                   Parameters().text(cell_name_).time(time));
  return {};
}

Result<std::map<JobStatus, std::int64_t>> PgTransaction::count_requests() {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT status, count(*) FROM request GROUP BY status"));
  std::map<JobStatus, std::int64_t> counts;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowReader row(rows, i);
    TRY_ASSIGN(const JobStatus status, enum_from(row.text(), JobStatus::kCreated, JobStatus::kStopped));
    counts[status] = row.integer();
  }
  return counts;
}

}  // namespace fleet::provisioner::postgres
