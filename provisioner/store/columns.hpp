// Between the model's values and a row's columns: in the order of the SQL text, so that no column is numbered by hand.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "core/protocol/esf_xml.hpp"
#include "provisioner/provisioning/model.hpp"
#include "provisioner/store/sqlite.hpp"

namespace fleet::provisioner {

using TextMap = std::map<std::string, std::string>;

// Maps and lists as JSON text. Writing refuses what could not be read back: text that is not UTF-8 is kInvalidArgument.
// Reading another form is kCorrupt.
Result<std::string> to_json(const TextMap& map);
Result<std::string> to_json(const std::vector<std::string>& list);
Result<std::string> to_json(const protocol::Configurations& configurations);
Result<std::string> to_json(const std::vector<Package>& packages);
Result<TextMap> map_from_json(std::string_view json);
Result<std::vector<std::string>> list_from_json(std::string_view json);
Result<protocol::Configurations> configurations_from_json(std::string_view json);
Result<std::vector<Package>> packages_from_json(std::string_view json);

// Binds parameters ?1, ?2, … in turn.
class Binder {
 public:
  explicit Binder(sqlite::Statement& statement) : statement_(statement) {}

  Binder& integer(std::int64_t value);
  Binder& integer(std::optional<std::int64_t> value);
  Binder& flag(bool value) { return integer(value ? 1 : 0); }
  Binder& flag(std::optional<bool> value);
  Binder& text(std::string_view value);
  Binder& foreign_text(std::string_view value) { return text(value); }  // whatever a device has sent
  Binder& blob(std::string_view value);
  Binder& maybe_text(const std::optional<std::string>& value);
  Binder& maybe_blob(const std::optional<Bytes>& value);
  Binder& time(WallTime value) { return integer(to_unix_millis(value)); }
  Binder& time(std::optional<WallTime> value);
  Binder& duration(Millis value) { return integer(value.count()); }

 private:
  sqlite::Statement& statement_;
  int next_ = 1;
};

// Reads the columns of the current row in turn.
class RowReader {
 public:
  explicit RowReader(const sqlite::Statement& statement) : statement_(statement) {}

  std::int64_t integer() { return statement_.integer(next_++); }
  int small() { return static_cast<int>(integer()); }
  bool flag() { return integer() != 0; }
  std::string text() { return statement_.text(next_++); }
  std::string foreign_text() { return text(); }
  Bytes blob() { return statement_.blob(next_++); }
  WallTime time() { return from_unix_millis(integer()); }
  Millis duration() { return Millis(integer()); }
  std::optional<std::int64_t> maybe_integer();
  std::optional<bool> maybe_flag();
  std::optional<std::string> maybe_text();
  std::optional<Bytes> maybe_blob();
  std::optional<WallTime> maybe_time();

 private:
  const sqlite::Statement& statement_;
  int next_ = 0;
};

}  // namespace fleet::provisioner
