// How the database came to its present form: named steps, applied once each, in order. Private to
// provisioner/store_postgres.
#pragma once

#include "core/base/result.hpp"
#include "provisioner/store_postgres/connection.hpp"

namespace fleet::provisioner::postgres {

// Brings the database to the last migration, each in a transaction of its own; of several cells that start at once one
// does it. Changes nothing and returns kUnsupported if it holds a migration that is not known here, kCorrupt if its schema
// holds tables of something else.
Result<void> migrate(Connection& connection);

}  // namespace fleet::provisioner::postgres
