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

struct sqlite3;
struct sqlite3_stmt;

namespace fleet::provisioner::sqlite {

// A prepared statement; bound parameters are 1-based and copied. Reset and unbound by run() and at the end of a scan.
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

  // Executes to the end; for INSERT, UPDATE, DELETE.
  Result<void> run();
  // The next row: true, or false at the end (then reset).
  Result<bool> next();
  void reset();

  std::int64_t integer(int column) const;  // 0-based
  std::string text(int column) const;
  Bytes blob(int column) const;
  bool is_null(int column) const;

 private:
  sqlite3_stmt* statement_;
};

// One connection. Not thread-safe: one thread at a time.
class Database {
 public:
  struct Options {
    bool create = true;
    bool read_only = false;
    int mode = 0600;          // of a file that is created, and of its -wal and -shm
    bool persist_wal = false; // keep -wal and -shm after a clean close, for readers under another user
  };
  // WAL, synchronous FULL, foreign keys on, busy_timeout 5 s, extended result codes.
  static Result<Database> open(const std::filesystem::path& path, const Options& options);
  ~Database();
  Database(Database&& other) noexcept;
  Database& operator=(Database&&) = delete;

  Result<void> execute(std::string_view sql);  // any number of statements, no parameters
  Result<Statement> prepare(std::string_view sql);
  std::int64_t last_insert_id() const;
  int changes() const;
  std::string path() const;

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  sqlite3* handle_;
};

}  // namespace fleet::provisioner::sqlite
