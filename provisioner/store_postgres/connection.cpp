#include "provisioner/store_postgres/connection.hpp"

#include <array>
#include <utility>

#include <fmt/format.h>
#include <libpq-fe.h>

#include "core/base/log.hpp"

namespace fleet::provisioner::postgres {
namespace {

// Answers of statements are small, but they must be read before they fill the way back.
constexpr std::size_t kMostPending = 200;

// Of every session. Nearly all statements look for a row by its key, and are planned once, perhaps while the tables are empty:
// hence no sequential scans where there is an index, and no joins that read whole tables. A cell that lost its power holds no lock for longer than its silence is noticed; a lock that is waited
// for at all is given up after a while, so that a cell whose work is long does not hold up the others for ever.
constexpr const char* kSession =
    "SET client_encoding = 'UTF8'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '120s'; SET jit = off; "
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan; "
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '10s'; "
    "SET client_min_messages = 'warning'";

std::string trimmed(const char* text) {
  std::string line = text == nullptr ? "" : text;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  for (char& c : line) {
    if (c == '\n') c = ' ';
  }
  return line;
}

std::string name_of(const PGconn* handle) {
  const char* const host = PQhost(handle);
  const char* const database = PQdb(handle);
  return fmt::format("database {} at {}", database == nullptr ? "?" : database, host == nullptr || *host == '\0' ? "?" : host);
}

std::string field(const PGresult* result, int code) {
  return trimmed(PQresultErrorField(result, code));
}

bool is_conflict(std::string_view state) {
  return state == "40001" || state == "40P01" || state == "55P03";
}

ErrorCode code_of(std::string_view state) {
  if (state.empty() || state.starts_with("08") || state.starts_with("57P") || state.starts_with("40") || state == "55P03" ||
      state == "53200" || state == "53300" || state == "25P03" || state == "57014") {
    return ErrorCode::kUnavailable;
  }
  if (state == "23505") return ErrorCode::kAlreadyExists;
  if (state.starts_with("23") || state.starts_with("22")) return ErrorCode::kInvalidArgument;
  if (state == "53100") return ErrorCode::kNoSpace;
  if (state == "42501" || state == "25006") return ErrorCode::kPermissionDenied;
  if (state.starts_with("28")) return ErrorCode::kUnauthenticated;
  if (state == "3D000") return ErrorCode::kNotFound;
  if (state == "XX001" || state == "XX002") return ErrorCode::kCorrupt;
  return ErrorCode::kInternal;
}

// "Key (name)=(gw-1) already exists." is about the column "name".
std::string columns_in(const std::string& detail) {
  const std::size_t open = detail.find('('), close = detail.find(')');
  return open == std::string::npos || close == std::string::npos ? "?" : detail.substr(open + 1, close - open - 1);
}

Error error_of(const std::string& name, const PGresult* result) {
  const std::string state = field(result, PG_DIAG_SQLSTATE);
  const ErrorCode code = code_of(state);
  if (code == ErrorCode::kAlreadyExists) {
    return {code, fmt::format("{}: {}.{}: already taken", name, field(result, PG_DIAG_TABLE_NAME),
                              columns_in(field(result, PG_DIAG_MESSAGE_DETAIL)))};
  }
  return {code, fmt::format("{}: {}", name, field(result, PG_DIAG_MESSAGE_PRIMARY))};
}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::open(const Address& address) {
  // Its message would quote the URL, with the password.
  PQconninfoOption* const parsed = PQconninfoParse(address.url.c_str(), nullptr);
  if (parsed == nullptr) return fail(ErrorCode::kInvalidArgument, "store: not a URL of PostgreSQL: write postgresql://USER@HOST/DATABASE");
  PQconninfoFree(parsed);
  // What the URL says itself goes first: it is the last of a name that counts, and dbname is expanded in its place.
  static constexpr std::array kNames{"connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
                                     "application_name", "dbname", static_cast<const char*>(nullptr)};
  const std::array<const char*, 8> values{"5", "5", "2", "3", "10000", address.application.c_str(), address.url.c_str(), nullptr};
  PGconn* const handle = PQconnectdbParams(kNames.data(), values.data(), 1);
  if (handle == nullptr) return fail(ErrorCode::kInternal, "database: no memory to connect");
  std::unique_ptr<Connection> connection(new Connection(handle, name_of(handle)));
  if (PQstatus(handle) != CONNECTION_OK) {
    const std::string why = trimmed(PQerrorMessage(handle));
    // libpq tells no SQLSTATE of a connection that never was
    const ErrorCode code = why.find("does not exist") != std::string::npos      ? ErrorCode::kNotFound
                           : why.find("authentication") != std::string::npos    ? ErrorCode::kUnauthenticated
                           : why.find("invalid connection option") != std::string::npos ? ErrorCode::kInvalidArgument
                                                                                : ErrorCode::kUnavailable;
    return fail(code, "{}: {}", connection->name_, why);
  }
  PQsetNoticeProcessor(handle, [](void*, const char* text) { log::debug("store", trimmed(text)); }, nullptr);
  TRY(connection->execute(kSession));
  if (PQenterPipelineMode(handle) != 1) return fail(ErrorCode::kInternal, "{}: no pipeline mode", connection->name_);
  return connection;
}

Connection::~Connection() {
  PQfinish(handle_);
}

Result<void> Connection::execute(const std::string& script) {
  const bool pipelined = PQpipelineStatus(handle_) != PQ_PIPELINE_OFF;
  if (pipelined) {
    TRY(sync());
    PQexitPipelineMode(handle_);
  }
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(handle_, script.c_str()), &PQclear);
  const ExecStatusType status = PQresultStatus(result.get());
  const bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
  std::optional<Error> error;
  if (!good) error = error_of(name_, result.get());
  if (PQstatus(handle_) != CONNECTION_OK) broken_ = true;
  if (pipelined && !broken_) PQenterPipelineMode(handle_);
  if (error) return fail(std::move(*error));
  return {};
}

void Connection::fail_with(Failure failure) {
  if (!failure_) failure_ = std::move(failure);
}

void Connection::lose(const std::string& why) {
  broken_ = true;
  pending_.clear();
  // It says more than what the statements that were on their way can say.
  const std::size_t owner = failure_ ? failure_->owner : owner_;
  failure_ = Failure{{ErrorCode::kUnavailable, fmt::format("{}: {}", name_, why.empty() ? "the connection was lost" : why)}, owner, false};
}

bool Connection::refuse(const Parameters& parameters) {
  if (broken_ && !failure_) lose("");
  if (failure_) return true;
  if (!parameters.unstorable_) return false;
  fail_with({{ErrorCode::kInvalidArgument, fmt::format("{}: text is not UTF-8, or holds a NUL", name_)}, owner_, false});
  return true;
}

void Connection::dispatch(std::string_view sql, const Parameters& parameters, Pending pending, bool once) {
  std::vector<const char*> values;
  std::vector<int> lengths, formats;
  for (const Parameters::Value& value : parameters.values_) {
    values.push_back(value.null ? nullptr : value.bytes.c_str());
    lengths.push_back(static_cast<int>(value.bytes.size()));
    formats.push_back(value.binary ? 1 : 0);
  }
  const int count = static_cast<int>(values.size());
  constexpr int kBinaryRows = 1;
  int sent = 0;
  if (!once) {
    auto found = prepared_.find(sql);
    if (found == prepared_.end()) {
      found = prepared_.emplace(sql, "s" + std::to_string(++names_)).first;
      if (PQsendPrepare(handle_, found->second.c_str(), sql.data(), 0, nullptr) != 1) return lose(trimmed(PQerrorMessage(handle_)));
      pending_.push_back({.prepares = found->first, .owner = owner_});
    }
    sent = PQsendQueryPrepared(handle_, found->second.c_str(), count, values.data(), lengths.data(), formats.data(), kBinaryRows);
  } else {
    sent = PQsendQueryParams(handle_, sql.data(), count, nullptr, values.data(), lengths.data(), formats.data(), kBinaryRows);
  }
  if (sent != 1) return lose(trimmed(PQerrorMessage(handle_)));
  pending_.push_back(std::move(pending));
}

void Connection::send(std::string_view sql, const Parameters& parameters, std::optional<Error> unless_changed) {
  if (refuse(parameters)) return;
  ++changes_sent_;
  dispatch(sql, parameters, {.unless_changed = std::move(unless_changed), .owner = owner_});
  if (pending_.size() >= kMostPending) drain();
}

void Connection::control(std::string_view sql) {
  if (!refuse({})) dispatch(sql, {}, {.owner = owner_});
}

void Connection::renew_plans(SteadyTime now) {
  if (now < plans_last_until_) return;
  plans_last_until_ = now + kPlansLast;
  control("DISCARD PLANS");
  // alone: what begins a transaction behind it, without a border between them, would not be the first of that transaction
  static_cast<void>(sync());
}

void Connection::begin() {
  transaction_id_.clear();
  control("BEGIN");
  if (!refuse({})) dispatch("SELECT pg_current_xact_id()::text", {}, {.owner = owner_, .asks_transaction_id = true});
}

Connection::Ticket Connection::new_ticket() {
  if (std::exchange(rows_read_, false)) rows_.clear();
  rows_.emplace_back();
  return rows_.size() - 1;
}

Connection::Ticket Connection::ask(std::string_view sql, const Parameters& parameters) {
  const Ticket ticket = new_ticket();
  if (!refuse(parameters)) dispatch(sql, parameters, {.ticket = ticket, .owner = owner_});
  return ticket;
}

Connection::Ticket Connection::ask_once(const std::string& sql, const Parameters& parameters) {
  const Ticket ticket = new_ticket();
  constexpr bool kOnce = true;
  if (!refuse(parameters)) dispatch(sql, parameters, {.ticket = ticket, .owner = owner_}, kOnce);
  return ticket;
}

void Connection::collect(Pending& pending) {
  const auto forget = [&] {
    if (!pending.prepares.empty()) prepared_.erase(pending.prepares);
  };
  PGresult* raw = PQgetResult(handle_);
  if (raw == nullptr) return lose(trimmed(PQerrorMessage(handle_)));
  std::shared_ptr<PGresult> result(raw, &PQclear);
  switch (PQresultStatus(raw)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
      if (pending.ticket) rows_[*pending.ticket] = Rows(result);
      if (pending.asks_transaction_id) transaction_id_ = RowReader(Rows(result), 0).text();
      if (pending.unless_changed && std::string_view(PQcmdTuples(raw)) == "0") {
        fail_with({std::move(*pending.unless_changed), pending.owner, false});
      }
      break;
    case PGRES_PIPELINE_ABORTED:
      forget();
      break;
    default: {
      forget();
      Error error = error_of(name_, raw);
      if (PQstatus(handle_) != CONNECTION_OK) return lose(trimmed(PQresultErrorMessage(raw)));
      fail_with({std::move(error), pending.owner, is_conflict(field(raw, PG_DIAG_SQLSTATE))});
    }
  }
  while (PGresult* const more = PQgetResult(handle_)) PQclear(more);
  if (PQstatus(handle_) != CONNECTION_OK) lose(trimmed(PQerrorMessage(handle_)));
}

void Connection::drain() {
  if (broken_ || pending_.empty()) return;
  if (PQpipelineSync(handle_) != 1) return lose(trimmed(PQerrorMessage(handle_)));
  while (!broken_ && !pending_.empty()) {
    Pending pending = std::move(pending_.front());
    pending_.pop_front();
    collect(pending);
  }
  if (broken_) return;
  PGresult* const end = PQgetResult(handle_);
  const bool synced = end != nullptr && PQresultStatus(end) == PGRES_PIPELINE_SYNC;
  PQclear(end);
  if (!synced) lose(trimmed(PQerrorMessage(handle_)));
}

Result<void> Connection::sync() {
  drain();
  rows_read_ = true;
  if (broken_ && !failure_) lose("");
  if (failure_) return fail(failure_->error);
  return {};
}

Result<std::vector<std::string>> Connection::notifications() {
  if (PQconsumeInput(handle_) != 1 || PQstatus(handle_) != CONNECTION_OK) {
    lose(trimmed(PQerrorMessage(handle_)));
    return fail(failure_->error);
  }
  std::vector<std::string> payloads;
  while (PGnotify* const note = PQnotifies(handle_)) {
    payloads.emplace_back(note->extra);
    PQfreemem(note);
  }
  return payloads;
}

int Connection::socket() const {
  return PQsocket(handle_);
}

Rows Connection::rows(Ticket ticket) {
  return ticket < rows_.size() ? rows_[ticket] : Rows();
}

Result<Rows> Connection::query(std::string_view sql, const Parameters& parameters) {
  const Ticket ticket = ask(sql, parameters);
  TRY(sync());
  return rows(ticket);
}

Result<Rows> Connection::query_once(const std::string& sql, const Parameters& parameters) {
  const Ticket ticket = ask_once(sql, parameters);
  TRY(sync());
  return rows(ticket);
}

}  // namespace fleet::provisioner::postgres
