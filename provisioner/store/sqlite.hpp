// A thin RAII face of SQLite that reads like a sentence: db.prepare(sql), statement.bind(…), statement.step().
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace fleet::provisioner::sqlite {

// Errors of everything here: kNoSpace (disk full, quota, file size limit), kAlreadyExists (a UNIQUE or PRIMARY KEY
// value is taken; names the columns), kInvalidArgument (another constraint), kCorrupt (not a database, or a damaged
// one), kUnavailable (locked by somebody else), kPermissionDenied, kNotFound, kIo. Messages begin with the database's
// path.

// A prepared statement; bound parameters are 1-based and copied. Reset and unbound by run() and at the end of a scan. A
// bind that failed is reported by the run() or next() that follows.
class Statement {
 public:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  ~Statement();
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&&) = delete;

  Statement& bind(int index, std::int64_t value);
  Statement& bind(int index, std::string_view text);
  Statement& bind_blob(int index, std::string_view bytes);
  Statement& bind_null(int index);

  // Executes to the end, whatever rows there are; for INSERT, UPDATE, DELETE.
  Result<void> run();
  // The next row: true, or false at the end (then reset).
  Result<bool> next();
  void reset();

  std::int64_t integer(int column) const;  // 0-based
  std::string text(int column) const;
  Bytes blob(int column) const;
  bool is_null(int column) const;

 private:
  Statement& note_bind(int result);

  sqlite3_stmt* statement_;
  int bind_result_ = 0;  // the first failure since the last reset
  bool used_ = false;    // since then
};

// One connection. Not thread-safe: one thread at a time.
class Database {
 public:
  struct Options {
    bool create = true;
    bool read_only = false;
    int mode = 0600;            // of the file, its -wal and its -shm, also of those that exist already
    bool persist_wal = false;   // keep -wal and -shm after a clean close, for readers under another user
    bool durable = true;        // synchronous FULL; false: NORMAL, a power cut may undo the last commits (whole)
    Millis busy_timeout{5000};  // how long to wait for a lock of another connection before kUnavailable
  };
  // WAL, synchronous FULL, foreign keys on, extended result codes. A file that is created is born
  // with its mode. ":memory:" is a database of this connection's own.
  static Result<Database> open(const std::filesystem::path& path, const Options& options);
  ~Database();
  Database(Database&& other) noexcept;
  Database& operator=(Database&&) = delete;

  Result<void> execute(std::string_view sql);  // any number of statements, no parameters
  Result<Statement> prepare(std::string_view sql);
  std::int64_t last_insert_id() const;
  // Rows that the last statement changed; rows that all statements since open() changed.
  int changes() const;
  std::int64_t total_changes() const;
  // False if there never was a BEGIN, or if SQLite itself has rolled back (e.g. on a full disk).
  bool in_transaction() const;
  std::string path() const;

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  sqlite3* handle_;
};

}  // namespace fleet::provisioner::sqlite
