// The feed of changes that all cells read in one order, each with its own position in it. Private to
// provisioner/store_postgres.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "provisioner/store/store.hpp"
#include "provisioner/store_postgres/connection.hpp"

namespace fleet::provisioner::postgres {

// Whoever appends notifies on this channel; the payload is its holder.
inline constexpr const char* kFeedChannel = "fleet_provisioner_feed";
// One change of more admissions than this is told as one of all.
inline constexpr std::size_t kAdmissionsNamed = 20'000;

// Whether there is nothing that other cells shall do.
bool is_empty(const Tidings& tidings);

struct Change {
  std::int64_t number = 0;      // 1, 2, 3, …: none is ever missing or comes late
  std::int64_t generation = 0;  // random; what a projection that has this change holds
  std::string holder;           // who made it
  std::vector<std::string> client_ids;
  bool everything = false;
  Tidings tidings;
};

// Where a reader is.
struct Position {
  std::int64_t number = 0;
  std::int64_t generation = 0;
};

// A generation that no other change has.
std::int64_t new_generation();
// Sends, as the last of a transaction, what it changes; the lock that gives the number lasts until the commit. What it asks for
// is the number.
Connection::Ticket append_change(Connection& connection, const std::string& holder, std::int64_t generation,
                                 const std::vector<std::string>& client_ids, const Tidings& tidings);
// The changes behind a position, oldest first, some hundreds at most; nullopt if some of them are not there any more.
Result<std::optional<std::vector<Change>>> changes_behind(Connection& connection, std::int64_t number);
// The newest change; zeros if there never was one.
Result<Position> newest_position(Connection& connection);
// The change with that generation; nullopt if it is not there (any more), or of another life of the database.
Result<std::optional<Position>> position_of(Connection& connection, std::int64_t generation);

}  // namespace fleet::provisioner::postgres
