// A thin RAII face of libpq: statements prepared once, sent one behind the other without waiting for their answers
// (pipeline mode), and answered together. Private to provisioner/store_postgres, the only place that includes libpq.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/store_postgres/values.hpp"

struct pg_conn;

namespace fleet::provisioner::postgres {

// Where the database is and who is asking.
struct Address {
  std::string url;         // postgresql://… or any other conninfo of libpq; may hold a password
  std::string application;  // what pg_stat_activity shows
};

// Why the first statement that failed did, and whose it was.
struct Failure {
  Error error;
  std::size_t owner = 0;  // the number that was the owner's when it was sent
  // Somebody else was in the way (a lock, a deadlock, a serialization failure): the same work may well succeed now.
  bool conflict = false;
};

// One session. Not thread-safe. Errors: kUnavailable (away, lost, shutting down, too many clients, or somebody else is in
// the way), kAlreadyExists (names table.column), kInvalidArgument (another constraint, a value that cannot be stored),
// kNoSpace, kPermissionDenied, kUnauthenticated, kNotFound (no such database), kCorrupt, kInternal. Messages begin with
// host and database, never with the URL.
class Connection {
 public:
  // How long a statement is executed as it was planned, at least.
  static constexpr Seconds kPlansLast{10};

  // Waits five seconds at most for a server that does not answer.
  static Result<std::unique_ptr<Connection>> open(const Address& address);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Everything that is sent from now on is this one's.
  void set_owner(std::size_t owner) { owner_ = owner; }

  // Sends a statement whose rows nobody looks at; what becomes of it shows with the next sync() or query(). `unless_changed`
  // is its failure if it changes no row. `sql` must live as long as the connection: a literal.
  void send(std::string_view sql, const Parameters& parameters = {}, std::optional<Error> unless_changed = {});
  // As send(), for what borders transactions: it changes nothing.
  void control(std::string_view sql);
  // Outside of transactions: has all statements planned anew, if that was long ago. A plan lasts as long as the session
  // otherwise, and one that was made while a table was empty reads all of it when it is full.
  void renew_plans(SteadyTime now);
  // Begins a transaction, and asks for its number.
  void begin();
  // The number of the transaction that was begun last, as pg_xact_status() takes it; empty until anything of it was answered.
  const std::string& transaction_id() const { return transaction_id_; }
  // Sends a query; its rows are there after sync(), until the next one is sent.
  using Ticket = std::size_t;
  Ticket ask(std::string_view sql, const Parameters& parameters = {});
  // As ask(), for a text that is put together each time.
  Ticket ask_once(const std::string& sql, const Parameters& parameters = {});
  // Waits for the answers to all that was sent. Fails if anything has failed since clear_failure(): until then nothing more is
  // sent.
  Result<void> sync();
  Rows rows(Ticket ticket);
  // ask(), sync(), rows().
  Result<Rows> query(std::string_view sql, const Parameters& parameters = {});
  Result<Rows> query_once(const std::string& sql, const Parameters& parameters = {});
  // Several statements in one text, without parameters, outside of a pipeline's bookkeeping.
  Result<void> execute(const std::string& script);

  // What has come in on channels that a LISTEN named, each payload; kUnavailable if the session is gone. Does not wait.
  Result<std::vector<std::string>> notifications();
  int socket() const;  // readable when something has come in

  const std::optional<Failure>& failure() const { return failure_; }
  void clear_failure() { failure_.reset(); }
  // The session is gone; everything fails from now on.
  bool broken() const { return broken_; }
  // Statements sent so far that were to change something.
  std::uint64_t changes_sent() const { return changes_sent_; }
  // "host/database", for messages.
  const std::string& name() const { return name_; }

 private:
  struct Pending {
    std::string_view prepares = {};  // the text that it prepares; empty: it executes
    std::optional<Ticket> ticket = {};
    std::optional<Error> unless_changed = {};
    std::size_t owner = 0;
    bool asks_transaction_id = false;
  };
  Connection(pg_conn* handle, std::string name) : handle_(handle), name_(std::move(name)) {}
  bool refuse(const Parameters& parameters);
  void dispatch(std::string_view sql, const Parameters& parameters, Pending pending, bool once = false);
  Ticket new_ticket();
  void drain();
  void collect(Pending& pending);
  void lose(const std::string& why);
  void fail_with(Failure failure);

  pg_conn* handle_;
  std::string name_;
  std::unordered_map<std::string_view, std::string> prepared_;  // text to name
  std::uint64_t names_ = 0;
  std::deque<Pending> pending_;
  std::vector<Rows> rows_;  // by ticket
  bool rows_read_ = false;  // the next ask() begins anew
  std::size_t owner_ = 0;
  std::optional<Failure> failure_;
  bool broken_ = false;
  std::uint64_t changes_sent_ = 0;
  std::string transaction_id_;
  SteadyTime plans_last_until_ = std::chrono::steady_clock::now() + kPlansLast;
};

}  // namespace fleet::provisioner::postgres
