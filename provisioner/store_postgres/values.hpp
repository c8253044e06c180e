// Between the model's values and PostgreSQL's: parameters and rows, in the order of the SQL text. Private to
// provisioner/store_postgres.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"

struct pg_result;

namespace fleet::provisioner::postgres {

// False for what a text of PostgreSQL cannot hold: what is not UTF-8, or holds a NUL.
bool is_storable(std::string_view text);

// The values of $1, $2, … in turn; numbers travel as text, so that the server settles their type.
class Parameters {
 public:
  Parameters& integer(std::int64_t value);
  Parameters& integer(std::optional<std::int64_t> value);
  Parameters& flag(bool value);
  Parameters& flag(std::optional<bool> value);
  Parameters& text(std::string_view value);
  Parameters& foreign_text(std::string_view value) { return blob(value); }  // whatever a device has sent
  Parameters& maybe_text(const std::optional<std::string>& value);
  Parameters& texts(const std::vector<std::string>& values);  // a text[]
  Parameters& blob(std::string_view value);
  Parameters& maybe_blob(const std::optional<Bytes>& value);
  Parameters& time(WallTime value) { return integer(to_unix_millis(value)); }
  Parameters& time(std::optional<WallTime> value);
  Parameters& duration(Millis value) { return integer(value.count()); }

  std::size_t size() const { return values_.size(); }
  // "$N" for the value that was added last.
  std::string last() const { return "$" + std::to_string(values_.size()); }

 private:
  friend class Connection;
  struct Value {
    std::string bytes;
    bool null = false;
    bool binary = false;
  };
  Parameters& null();

  std::vector<Value> values_;
  bool unstorable_ = false;  // a text that is_storable() refuses
};

// What a query found, in binary form.
class Rows {
 public:
  Rows() = default;
  explicit Rows(std::shared_ptr<pg_result> result) : result_(std::move(result)) {}
  std::size_t size() const;
  bool empty() const { return size() == 0; }

 private:
  friend class RowReader;
  std::shared_ptr<pg_result> result_;
};

// Reads the columns of one row in turn.
class RowReader {
 public:
  RowReader(const Rows& rows, std::size_t row) : result_(rows.result_.get()), row_(static_cast<int>(row)) {}

  std::int64_t integer();  // smallint, integer or bigint
  int small() { return static_cast<int>(integer()); }
  bool flag();
  std::string text();
  Bytes blob() { return text(); }
  std::string foreign_text() { return blob(); }
  WallTime time() { return from_unix_millis(integer()); }
  Millis duration() { return Millis(integer()); }
  std::optional<std::int64_t> maybe_integer();
  std::optional<bool> maybe_flag();
  std::optional<std::string> maybe_text();
  std::optional<Bytes> maybe_blob() { return maybe_text(); }
  std::optional<WallTime> maybe_time();

 private:
  bool null() const;
  std::string_view bytes();

  const pg_result* result_;
  int row_;
  int next_ = 0;
};

// All rows of a query, each read by `read` (a Result<T>(RowReader&)).
template <typename T, typename Read>
Result<std::vector<T>> read_all(const Rows& rows, Read read) {
  std::vector<T> values;
  values.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowReader row(rows, i);
    TRY_ASSIGN(T value, read(row));
    values.push_back(std::move(value));
  }
  return values;
}

// The first row of a query, if there is one.
template <typename T, typename Read>
Result<std::optional<T>> read_one(const Rows& rows, Read read) {
  if (rows.empty()) return std::optional<T>();
  RowReader row(rows, 0);
  TRY_ASSIGN(T value, read(row));
  return std::optional<T>(std::move(value));
}

}  // namespace fleet::provisioner::postgres
