// Attempts and their steps: whose they are, and what a piece of work has seen of them.
#include <algorithm>
#include <array>
#include <string>

#include <fmt/format.h>

#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {
namespace {

#define ATTEMPT_COLUMNS                                                                                             \
  "attempt.id, attempt.request_id, attempt.number, attempt.nonce, attempt.hello_id, attempt.state, attempt.timeout_ms, " \
  "attempt.started_at, attempt.moved_at, attempt.ended_at, attempt.due_at, attempt.error, attempt.handover, "        \
  "attempt.owner_username, attempt.owner_password, attempt.handover_error, attempt.owner_account, attempt.fence, attempt.cell"
// So much is taken over at a time; the next round takes the rest.
constexpr std::int64_t kTakenOver = 500;

Parameters values_of(const Attempt& attempt, std::int64_t id) {
  Parameters values;
  to_values::attempt(values, attempt, id);
  values.integer(attempt.fence);
  return values;
}

// A step's message stands in its row: an old program beside this one, until it is upgraded too, would look for it there.
#define STEP_WITH_MESSAGE_COLUMNS STEP_COLUMNS ", topic, payload"

Result<Step> read_step_with_message(RowReader& row) {
  TRY_ASSIGN(Step step, read_step(row));
  step.topic = row.text();
  step.payload = row.blob();
  return step;
}

void add_with_message(Parameters& values, const Step& step) {
  to_values::step(values, step);
  values.text(step.topic).blob(step.payload);
}
constexpr std::size_t kStepValues = 18;
// So many steps go into one statement: more than most plans have.
constexpr std::size_t kStepsAtOnce = 8;

// The statement that inserts so many steps; each text is made once and lives for ever.
std::string_view step_insertion(std::size_t rows) {
  static const auto texts = [] {
    std::array<std::string, kStepsAtOnce> made;
    std::string text = "INSERT INTO step (" STEP_WITH_MESSAGE_COLUMNS ") VALUES ";
    std::size_t number = 0;
    for (std::string& one : made) {
      text += number == 0 ? "(" : ", (";
      for (std::size_t i = 0; i < kStepValues; ++i) text += fmt::format("{}${}", i == 0 ? "" : ", ", ++number);
      one = text += ")";
    }
    return made;
  }();
  return texts[rows - 1];
}

Error taken_over(std::int64_t attempt_id) {
  return {ErrorCode::kConflict, fmt::format("attempt {}: another cell has taken it over", attempt_id)};
}

}  // namespace

Result<Attempt> PgTransaction::read_attempt(RowReader& row) {
  TRY_ASSIGN(Attempt attempt, provisioner::read_attempt(row));
  attempt.fence = row.integer();
  owners_[attempt.id] = row.text();
  return attempt;
}

Result<std::vector<Attempt>> PgTransaction::read_attempts(const Rows& rows) {
  return read_all<Attempt>(rows, [this](RowReader& row) { return read_attempt(row); });
}

Result<void> PgTransaction::read_focus(const Locking& request, Connection::Ticket attempt, Connection::Ticket steps, bool latest) {
  focus_ = {};
  TRY(connection_.sync());
  const Rows attempts = connection_.rows(attempt), all_steps = connection_.rows(steps);
  TRY(read_focused_request(request));
  if (!focus_.request) return {};
  TRY_ASSIGN(focus_.attempt, read_one<Attempt>(attempts, [this](RowReader& row) { return read_attempt(row); }));
  focus_.knows_latest = latest;
  if (focus_.attempt) {
    TRY_ASSIGN(focus_.steps, read_all<Step>(all_steps, read_step_with_message));
  }
  return {};
}

void PgTransaction::ask_latest_attempt(const Parameters& client_id, Connection::Ticket& attempt, Connection::Ticket& steps) {
  attempt = connection_.ask("SELECT " ATTEMPT_COLUMNS " FROM attempt WHERE request_id = (SELECT id FROM request WHERE client_id = $1) "
                            "ORDER BY number DESC LIMIT 1", client_id);
  steps = connection_.ask("SELECT " STEP_WITH_MESSAGE_COLUMNS " FROM step WHERE attempt_id = (SELECT attempt.id FROM attempt WHERE request_id = "
                          "(SELECT id FROM request WHERE client_id = $1) ORDER BY number DESC LIMIT 1) ORDER BY ordinal", client_id);
}

const std::string* PgTransaction::owner_of(std::int64_t attempt_id) const {
  const auto found = owners_.find(attempt_id);
  return found == owners_.end() ? nullptr : &found->second;
}

// kNotFound if there is no such attempt.
Result<void> PgTransaction::must_own(std::int64_t attempt_id) {
  if (owner_of(attempt_id) == nullptr) {
    TRY_ASSIGN(const std::optional<Attempt> attempt, find_attempt(attempt_id));
    if (!attempt) return fail(ErrorCode::kNotFound, "attempt {}: no such attempt", attempt_id);
  }
  if (*owner_of(attempt_id) != cell_) return fail(taken_over(attempt_id));
  return {};
}

Result<void> PgTransaction::insert_attempt(Attempt& attempt) {
  TRY_ASSIGN(const std::int64_t id,
             next_id(attempt_ids_, "SELECT nextval(pg_get_serial_sequence('attempt', 'id')) FROM generate_series(1, 100)"));
  attempt.fence = 1;
  Parameters values = values_of(attempt, id);
  values.text(cell_);
  connection_.send("INSERT INTO attempt (id, request_id, number, nonce, hello_id, state, timeout_ms, started_at, moved_at, ended_at, "
                   "due_at, error, handover, owner_username, owner_password, handover_error, owner_account, fence, cell) "
                   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
                   values);
  // A walk over the index from the newest attempt; the steps go with their attempts. Not for the first hundred.
  if (attempt.number > kAttemptsKept) {
    connection_.send("DELETE FROM attempt WHERE request_id = $1 AND state <> 'OPEN' AND number <= "
                     "(SELECT number FROM attempt WHERE request_id = $1 AND state <> 'OPEN' ORDER BY number DESC LIMIT 1 OFFSET $2)",
                     Parameters().integer(attempt.request_id).integer(kAttemptsKept));
  }
  attempt.id = id;
  owners_[id] = cell_;
  if (focus_.request && focus_.request->id == attempt.request_id) {
    focus_.attempt = attempt;
    focus_.knows_latest = true;
    focus_.steps.emplace();
  }
  return {};
}

Result<void> PgTransaction::update_attempt(const Attempt& attempt) {
  TRY(must_own(attempt.id));
  Parameters values = values_of(attempt, attempt.id);
  values.text(cell_);
  connection_.send("UPDATE attempt SET request_id = $2, number = $3, nonce = $4, hello_id = $5, state = $6, timeout_ms = $7, "
                   "started_at = $8, moved_at = $9, ended_at = $10, due_at = $11, error = $12, handover = $13, owner_username = $14, "
                   "owner_password = $15, handover_error = $16, owner_account = $17 WHERE id = $1 AND fence = $18 AND cell = $19",
                   values, taken_over(attempt.id));
  if (focus_.attempt && focus_.attempt->id == attempt.id) focus_.attempt = attempt;
  return {};
}

Result<void> PgTransaction::take_attempt(Attempt& attempt) {
  if (owner_of(attempt.id) == nullptr) {
    TRY_ASSIGN(const std::optional<Attempt> found, find_attempt(attempt.id));
    if (!found) return fail(ErrorCode::kNotFound, "attempt {}: no such attempt", attempt.id);
  }
  if (*owner_of(attempt.id) == cell_) return {};
  connection_.send("UPDATE attempt SET cell = $2, fence = fence + 1 WHERE id = $1 AND fence = $3",
                   Parameters().integer(attempt.id).text(cell_).integer(attempt.fence), taken_over(attempt.id));
  ++attempt.fence;
  owners_[attempt.id] = cell_;
  if (focus_.attempt && focus_.attempt->id == attempt.id) focus_.attempt->fence = attempt.fence;
  return {};
}

Result<std::optional<Attempt>> PgTransaction::find_attempt(std::int64_t id) {
  if (focus_.attempt && focus_.attempt->id == id) return focus_.attempt;
  const Parameters values = Parameters().integer(id);
  const Locking request = ask_locked(
      FLEET_LOCKABLE("SELECT " FLEET_REQUEST_COLUMNS " FROM request WHERE id = (SELECT request_id FROM attempt WHERE attempt.id = $1)"), values);
  const auto attempt = connection_.ask("SELECT " ATTEMPT_COLUMNS " FROM attempt WHERE id = $1", values);
  const auto steps = connection_.ask("SELECT " STEP_WITH_MESSAGE_COLUMNS " FROM step WHERE attempt_id = $1 ORDER BY ordinal", values);
  TRY(read_focus(request, attempt, steps, false));
  return focus_.attempt;
}

Result<std::optional<Attempt>> PgTransaction::latest_attempt(std::int64_t request_id) {
  if (focus_.request && focus_.request->id == request_id && focus_.knows_latest) return focus_.attempt;
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " ATTEMPT_COLUMNS
                                                " FROM attempt WHERE request_id = $1 ORDER BY number DESC LIMIT 1",
                                                Parameters().integer(request_id)));
  return read_one<Attempt>(rows, [this](RowReader& row) { return read_attempt(row); });
}

Result<std::vector<Attempt>> PgTransaction::attempts_of(std::int64_t request_id) {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " ATTEMPT_COLUMNS " FROM attempt WHERE request_id = $1 ORDER BY number",
                                                Parameters().integer(request_id)));
  return read_attempts(rows);
}

// What cells that have died have left: whoever looks first has it. Requests that somebody holds are left for the next time.
Result<void> PgTransaction::take_over_orphans() {
  // Nearly always there are none: each dead cell's are looked for in the index of what is open.
  TRY_ASSIGN(const Rows orphans,
             connection_.query("SELECT open.id FROM cell CROSS JOIN LATERAL (SELECT id FROM attempt WHERE state = 'OPEN' AND attempt.cell = "
                               "cell.holder LIMIT $2) AS open WHERE cell.lease_until <= clock_timestamp() AND cell.holder <> $1 LIMIT $2",
                               Parameters().text(cell_).integer(kTakenOver)));
  if (orphans.empty()) return {};
  connection_.send("UPDATE attempt SET cell = $1, fence = fence + 1 WHERE id = ANY(ARRAY(SELECT attempt.id FROM attempt JOIN request "
                   "ON request.id = attempt.request_id WHERE attempt.state = 'OPEN' AND attempt.cell <> $1 AND attempt.cell IN (SELECT holder "
                   "FROM cell WHERE lease_until <= clock_timestamp()) LIMIT $2 FOR UPDATE OF attempt, request SKIP LOCKED))",
                   Parameters().text(cell_).integer(kTakenOver));
  return {};
}

Result<std::vector<Attempt>> PgTransaction::due_attempts(WallTime now, std::size_t limit) {
  TRY(take_over_orphans());
  TRY_ASSIGN(const Rows rows,
             connection_.query("SELECT " ATTEMPT_COLUMNS " FROM attempt JOIN request ON request.id = attempt.request_id "
                               "WHERE attempt.state = 'OPEN' AND attempt.due_at <= $1 AND attempt.cell = $2 ORDER BY attempt.due_at "
                               "LIMIT $3 FOR UPDATE SKIP LOCKED",
                               Parameters().time(now).text(cell_).integer(static_cast<std::int64_t>(limit))));
  locked_ = true;
  return read_attempts(rows);
}

Result<bool> PgTransaction::has_live_attempt(WallTime begun, WallTime completed_after) {
  TRY_ASSIGN(const Rows rows,
             connection_.query("SELECT EXISTS (SELECT 1 FROM attempt WHERE state = 'OPEN' AND started_at <= $1) OR EXISTS "
                               "(SELECT 1 FROM attempt WHERE state = 'COMPLETED' AND ended_at > $2 AND started_at <= $1)",
                               Parameters().time(begun).time(completed_after)));
  return RowReader(rows, 0).flag();
}

Result<std::vector<Attempt>> PgTransaction::attempts_to_hand_over() {
  TRY(take_over_orphans());
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " ATTEMPT_COLUMNS
                                                " FROM attempt WHERE handover = 'PENDING' AND cell = $1 ORDER BY id",
                                                Parameters().text(cell_)));
  return read_attempts(rows);
}

// due_at may stay: it is when the sweeper looks, not what it finds.
Result<void> PgTransaction::put_off_deadlines(WallTime now, Millis grace) {
  TRY(take_over_orphans());
  connection_.send("UPDATE attempt SET moved_at = $1::bigint - timeout_ms + least($2::bigint, timeout_ms) WHERE state = 'OPEN' "
                   "AND cell = $3 AND moved_at < $1::bigint - timeout_ms + least($2::bigint, timeout_ms)",
                   Parameters().time(now).duration(grace).text(cell_));
  return {};
}

Step* PgTransaction::focused_step(std::int64_t attempt_id, int ordinal) {
  if (!focus_.attempt || focus_.attempt->id != attempt_id || !focus_.steps) return nullptr;
  const auto found = std::find_if(focus_.steps->begin(), focus_.steps->end(), [&](const Step& step) { return step.ordinal == ordinal; });
  return found == focus_.steps->end() ? nullptr : &*found;
}

Result<void> PgTransaction::insert_steps(const std::vector<Step>& steps) {
  TRY(check_one_attempt(steps));
  for (std::size_t begin = 0; begin < steps.size(); begin += kStepsAtOnce) {
    const std::size_t count = std::min(kStepsAtOnce, steps.size() - begin);
    Parameters values;
    for (std::size_t i = 0; i < count; ++i) add_with_message(values, steps[begin + i]);
    connection_.send(step_insertion(count), values);
  }
  for (const Step& step : steps) {
    if (!focus_.attempt || focus_.attempt->id != step.attempt_id || !focus_.steps) continue;
    const auto behind = std::find_if(focus_.steps->begin(), focus_.steps->end(), [&](const Step& one) { return one.ordinal > step.ordinal; });
    focus_.steps->insert(behind, step);
  }
  return {};
}

Result<void> PgTransaction::update_step(const Step& step, bool forget_message) {
  TRY(must_own(step.attempt_id));
  // each parameter must be used: those that stay are set to what they are
  Parameters values;
  to_values::step(values, step);
  values.flag(forget_message);
  connection_.send("UPDATE step SET kind = $3, rid = $4, summary = $5, sent_at = $6, send_count = $7, reply_code = $8, reply_error = $9, "
                   "replied_at = $10, held = $11, optional = $12, job_id = $13, progress = $14, notified_at = $15, installed = $16, "
                   "topic = CASE WHEN $17 THEN '' ELSE topic END, payload = CASE WHEN $17 THEN ''::bytea ELSE payload END "
                   "WHERE attempt_id = $1 AND ordinal = $2",
                   values,
                   Error{ErrorCode::kNotFound, fmt::format("attempt {}, step {}: no such step", step.attempt_id, step.ordinal)});
  if (Step* const known = focused_step(step.attempt_id, step.ordinal)) {
    Step news = step;
    news.topic = forget_message ? std::string() : std::move(known->topic);
    news.payload = forget_message ? Bytes() : std::move(known->payload);
    *known = std::move(news);
  }
  return {};
}

Result<std::vector<Step>> PgTransaction::steps_of(std::int64_t attempt_id) {
  if (focus_.attempt && focus_.attempt->id == attempt_id && focus_.steps) return *focus_.steps;
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " STEP_WITH_MESSAGE_COLUMNS " FROM step WHERE attempt_id = $1 ORDER BY ordinal",
                                                Parameters().integer(attempt_id)));
  return read_all<Step>(rows, read_step_with_message);
}

#define STEP_OF_REQUEST \
  "SELECT " STEP_WITH_MESSAGE_COLUMNS " FROM step WHERE attempt_id = ANY(ARRAY(SELECT id FROM attempt WHERE request_id = $1)) AND "

Result<std::optional<Step>> PgTransaction::find_step(std::int64_t request_id, std::string_view rid) {
  if (!is_storable(rid)) return std::optional<Step>();
  TRY_ASSIGN(const Rows rows, connection_.query(STEP_OF_REQUEST "rid = $2", Parameters().integer(request_id).text(rid)));
  return read_one<Step>(rows, read_step_with_message);
}

Result<std::optional<Step>> PgTransaction::find_step_by_job(std::int64_t request_id, std::int64_t job_id) {
  TRY_ASSIGN(const Rows rows, connection_.query(STEP_OF_REQUEST "job_id = $2", Parameters().integer(request_id).integer(job_id)));
  return read_one<Step>(rows, read_step_with_message);
}

Result<void> PgTransaction::forget_messages(std::int64_t attempt_id) {
  connection_.send("UPDATE step SET topic = '', payload = '' WHERE attempt_id = $1 AND topic <> ''",
                   Parameters().integer(attempt_id));
  if (focus_.attempt && focus_.attempt->id == attempt_id && focus_.steps) {
    for (Step& step : *focus_.steps) {
      step.topic.clear();
      step.payload.clear();
    }
  }
  return {};
}

}  // namespace fleet::provisioner::postgres
