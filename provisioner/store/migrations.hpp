// How the store's database came to its present form: named steps, applied once each, in order.
#pragma once

#include <span>
#include <string_view>

#include "core/base/result.hpp"
#include "provisioner/store/sqlite.hpp"

namespace fleet::provisioner {

struct Migration {
  std::string_view name;  // unique for ever; never edited once released
  std::string_view sql;
};

// All that this program knows, oldest first. schema.sql shows what they add up to.
std::span<const Migration> migrations();

// Brings the database to the last migration, each in a transaction of its own. Changes nothing and returns kUnsupported
// if it holds a migration that is not known here (a newer program wrote it), kCorrupt if it is a database of something
// else.
Result<void> migrate(sqlite::Database& database);

}  // namespace fleet::provisioner
