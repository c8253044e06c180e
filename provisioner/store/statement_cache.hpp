// Statements that are prepared once for the life of a connection.
#pragma once

#include <string_view>
#include <unordered_map>
#include <utility>

#include "provisioner/store/sqlite.hpp"

namespace fleet::provisioner::sqlite {

// A cached statement in use; reset when it goes, so that an early return leaves no read open. One lease of an SQL text
// at a time.
class Lease {
 public:
  explicit Lease(Statement& statement) : statement_(&statement) {}
  Lease(Lease&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Lease& operator=(Lease&&) = delete;
  ~Lease() {
    if (statement_ != nullptr) statement_->reset();
  }

  Statement& operator*() const { return *statement_; }
  Statement* operator->() const { return statement_; }

 private:
  Statement* statement_;
};

// Not thread-safe. Must go before its database.
class StatementCache {
 public:
  explicit StatementCache(Database& database) : database_(database) {}

  // `sql` must live as long as the cache: a literal. It is known by where it stands: to hash and compare long texts would cost
  // as much as some of them take to run.
  Result<Lease> use(std::string_view sql) {
    auto found = statements_.find(sql.data());
    if (found == statements_.end()) {
      TRY_ASSIGN(Statement statement, database_.prepare(sql));
      found = statements_.emplace(sql.data(), std::move(statement)).first;
    }
    return Lease(found->second);
  }
  void clear() { statements_.clear(); }

 private:
  Database& database_;
  std::unordered_map<const char*, Statement> statements_;
};

}  // namespace fleet::provisioner::sqlite
