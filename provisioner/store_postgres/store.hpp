// The store on PostgreSQL, which several cells share: a broker and a provisioner each.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/base/result.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

struct PostgresSettings {
  std::string url;   // postgresql://…; may hold a password
  std::string cell;  // this cell's name among all; no two that run at a time have the same
};

// Opens, migrates, claims the cell's name, and owns the writer thread. As Store::open, but for this:
// - The admission projection is this cell's own. It follows the changes of all cells in the order of their numbers; one that
//   is too far behind is made anew. `settings.database` is not used.
// - Pieces of work about one request exclude each other across cells. One that comes upon a request that another cell is at
//   work on is run again a moment later, for five seconds at most (kUnavailable).
// - A database that goes away is connected to again, with pauses, for as long as it takes. What is in hand waits for it for
//   some seconds and is then answered kUnavailable; so is a commit of which nobody can tell any more whether it took place.
// - kConflict for everything once another program has started under this cell's name.
// - A cell whose lease has run out (ten seconds after its last sign of life) leaves its attempts and errands to the others.
Result<std::unique_ptr<Store>> open_postgres_store(PostgresSettings postgres, StoreSettings settings,
                                                   std::function<void(std::function<void()>)> post);

}  // namespace fleet::provisioner
