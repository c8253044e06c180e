// Attempts and their steps.
#include "provisioner/store/messages.hpp"
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
namespace {

#define ATTEMPT_COLUMNS \
  "id, request_id, number, nonce, hello_id, state, timeout_ms, started_at, moved_at, ended_at, due_at, error, " \
  "handover, owner_username, owner_password, handover_error, owner_account"

void bind_attempt(sqlite::Statement& statement, const Attempt& attempt, std::optional<std::int64_t> id) {
  Binder values(statement);
  to_values::attempt(values, attempt, id);
}

void bind_step(sqlite::Statement& statement, const Step& step) {
  Binder values(statement);
  to_values::step(values, step);
}

}  // namespace

Result<void> SqlTransaction::insert_attempt(Attempt& attempt) {
  TRY_ASSIGN(const auto change, statements_.use("INSERT INTO attempt (" ATTEMPT_COLUMNS
                                                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
                                                "?14, ?15, ?16, ?17)"));
  bind_attempt(*change, attempt, std::nullopt);
  TRY(change->run());
  attempt.id = database_.last_insert_id();
  if (attempt.number <= kAttemptsKept) return {};
  // A walk over the index from the newest attempt; the steps go with their attempts.
  TRY_ASSIGN(const auto trim,
             statements_.use("DELETE FROM attempt WHERE request_id = ?1 AND state <> 'OPEN' AND number <= "
                             "(SELECT number FROM attempt WHERE request_id = ?1 AND state <> 'OPEN' "
                             "ORDER BY number DESC LIMIT 1 OFFSET ?2)"));
  Binder(*trim).integer(attempt.request_id).integer(kAttemptsKept);
  return trim->run();
}

#define ATTEMPT_NEWS \
  "nonce = ?4, hello_id = ?5, timeout_ms = ?7, started_at = ?8, moved_at = ?9, error = ?12, owner_username = ?14, " \
  "owner_password = ?15, handover_error = ?16, owner_account = ?17"

Result<void> SqlTransaction::update_attempt(const Attempt& attempt) {
  // Mostly nothing changes that an index holds, unless it ends; and SQLite writes each index anew whose columns are named at all.
  if (!attempt.ended_at) {
    TRY_ASSIGN(const auto light, statements_.use("UPDATE attempt SET " ATTEMPT_NEWS
                                                 " WHERE id = ?1 AND state = ?6 AND ended_at IS ?10 AND due_at IS ?11 "
                                                 "AND handover = ?13"));
    bind_attempt(*light, attempt, attempt.id);
    TRY(light->run());
    if (database_.changes() != 0) return {};
  }
  TRY_ASSIGN(const auto change,
             statements_.use("UPDATE attempt SET " ATTEMPT_NEWS
                             ", state = ?6, ended_at = ?10, due_at = ?11, handover = ?13 WHERE id = ?1"));
  bind_attempt(*change, attempt, attempt.id);
  TRY(change->run());
  if (database_.changes() == 0) return fail(ErrorCode::kNotFound, "attempt {}: no such attempt", attempt.id);
  return {};
}

Result<std::optional<Attempt>> SqlTransaction::find_attempt(std::int64_t id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ATTEMPT_COLUMNS " FROM attempt WHERE id = ?1"));
  Binder(*query).integer(id);
  return read_one<Attempt>(*query, read_attempt);
}

Result<std::optional<Attempt>> SqlTransaction::latest_attempt(std::int64_t request_id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ATTEMPT_COLUMNS
                                               " FROM attempt WHERE request_id = ?1 ORDER BY number DESC LIMIT 1"));
  Binder(*query).integer(request_id);
  return read_one<Attempt>(*query, read_attempt);
}

Result<std::vector<Attempt>> SqlTransaction::attempts_of(std::int64_t request_id) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT " ATTEMPT_COLUMNS " FROM attempt WHERE request_id = ?1 ORDER BY number"));
  Binder(*query).integer(request_id);
  return read_all<Attempt>(*query, read_attempt);
}

Result<std::vector<Attempt>> SqlTransaction::due_attempts(WallTime now, std::size_t limit) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT " ATTEMPT_COLUMNS
                             " FROM attempt WHERE state = 'OPEN' AND due_at <= ?1 ORDER BY due_at LIMIT ?2"));
  Binder(*query).time(now).integer(static_cast<std::int64_t>(limit));
  return read_all<Attempt>(*query, read_attempt);
}

Result<bool> SqlTransaction::has_live_attempt(WallTime begun, WallTime completed_after) {
  TRY_ASSIGN(const auto query, statements_.use(kLiveAttemptQuery));
  Binder(*query).time(begun).time(completed_after);
  TRY(query->next());
  return query->integer(0) != 0;
}

Result<std::vector<Attempt>> SqlTransaction::attempts_to_hand_over() {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT " ATTEMPT_COLUMNS " FROM attempt WHERE handover = 'PENDING' ORDER BY id"));
  return read_all<Attempt>(*query, read_attempt);
}

// due_at may stay: it is when the sweeper looks, not what it finds.
Result<void> SqlTransaction::put_off_deadlines(WallTime now, Millis grace) {
  TRY_ASSIGN(const auto change,
             statements_.use("UPDATE attempt SET moved_at = ?1 - timeout_ms + min(?2, timeout_ms) "
                             "WHERE state = 'OPEN' AND moved_at < ?1 - timeout_ms + min(?2, timeout_ms)"));
  Binder(*change).time(now).duration(grace);
  return change->run();
}

Result<void> SqlTransaction::insert_steps(const std::vector<Step>& steps) {
  if (steps.empty()) return {};
  TRY(check_one_attempt(steps));
  for (const Step& step : steps) {
    TRY_ASSIGN(const auto change, statements_.use("INSERT INTO step (" STEP_COLUMNS
                                                  ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
                                                  "?14, ?15, ?16)"));
    bind_step(*change, step);
    TRY(change->run());
  }
  const std::int64_t attempt_id = steps.front().attempt_id;
  Bytes messages;
  const bool are_first = steps.front().ordinal == 0;
  if (!are_first) {
    TRY_ASSIGN(messages, messages_of(attempt_id));
  }
  append_messages(messages, steps);
  TRY_ASSIGN(const auto keep, statements_.use(are_first ? "INSERT INTO message (attempt_id, messages) VALUES (?1, ?2)"
                                                        : "INSERT INTO message (attempt_id, messages) VALUES (?1, ?2) "
                                                          "ON CONFLICT (attempt_id) DO UPDATE SET messages = ?2"));
  Binder(*keep).integer(attempt_id).blob(messages);
  return keep->run();
}

// All of them, packed; empty if there are none.
Result<Bytes> SqlTransaction::messages_of(std::int64_t attempt_id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT messages FROM message WHERE attempt_id = ?1"));
  Binder(*query).integer(attempt_id);
  TRY_ASSIGN(const bool found, query->next());
  return found ? query->blob(0) : Bytes();
}

Result<void> SqlTransaction::update_step(const Step& step) {
  TRY_ASSIGN(const auto change,
             statements_.use("UPDATE step SET summary = ?5, sent_at = ?6, send_count = ?7, reply_code = ?8, reply_error = ?9, "
                             "replied_at = ?10, held = ?11, optional = ?12, progress = ?14, notified_at = ?15, installed = ?16 "
                             "WHERE attempt_id = ?1 AND ordinal = ?2"));
  bind_step(*change, step);
  TRY(change->run());
  if (database_.changes() == 0) {
    return fail(ErrorCode::kNotFound, "attempt {}, step {}: no such step", step.attempt_id, step.ordinal);
  }
  return {};
}

Result<std::vector<Step>> SqlTransaction::steps_without_messages(std::int64_t attempt_id) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT " STEP_COLUMNS " FROM step WHERE attempt_id = ?1 ORDER BY ordinal"));
  Binder(*query).integer(attempt_id);
  return read_all<Step>(*query, read_step);
}

Result<std::vector<Step>> SqlTransaction::steps_of(std::int64_t attempt_id) {
  TRY_ASSIGN(std::vector<Step> steps, steps_without_messages(attempt_id));
  TRY_ASSIGN(const Bytes messages, messages_of(attempt_id));
  TRY(give_messages(messages, steps));
  return steps;
}

#define STEP_OF_REQUEST "SELECT " STEP_COLUMNS " FROM step WHERE attempt_id IN (SELECT id FROM attempt WHERE request_id = ?1) AND "

Result<std::optional<Step>> SqlTransaction::find_step(std::int64_t request_id, std::string_view rid) {
  TRY_ASSIGN(const auto query, statements_.use(STEP_OF_REQUEST "rid = ?2"));
  Binder(*query).integer(request_id).text(rid);
  return read_one<Step>(*query, read_step);
}

Result<std::optional<Step>> SqlTransaction::find_step_by_job(std::int64_t request_id, std::int64_t job_id) {
  TRY_ASSIGN(const auto query, statements_.use(STEP_OF_REQUEST "job_id = ?2"));
  Binder(*query).integer(request_id).integer(job_id);
  return read_one<Step>(*query, read_step);
}

Result<void> SqlTransaction::forget_messages(std::int64_t attempt_id) {
  TRY_ASSIGN(const auto change,
             statements_.use("DELETE FROM message WHERE attempt_id = ?1"));
  Binder(*change).integer(attempt_id);
  return change->run();
}

}  // namespace fleet::provisioner
