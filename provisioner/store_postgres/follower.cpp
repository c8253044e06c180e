#include "provisioner/store_postgres/follower.hpp"

#include <utility>

#include "core/base/log.hpp"

namespace fleet::provisioner::postgres {
namespace {

constexpr std::string_view kLog = "store";

}  // namespace

Result<void> Follower::begin(Connection& connection, PgTransaction& transaction) {
  rebuild_ = true;
  if (const auto generation = projection_->current_generation()) {
    TRY_ASSIGN(const auto position, position_of(connection, *generation));
    if (position) {
      position_ = *position;
      rebuild_ = false;
    }
  }
  TRY(rebuild_ ? rebuild(connection, transaction) : catch_up(connection, transaction));
  follows_ = true;
  return {};
}

Result<bool> Follower::prepare(const WantedRows& rows) {
  all_settled_ = unsettled_.empty();
  if (rows.empty()) return false;
  for (const auto& [client_id, row] : rows) unsettled_.insert(client_id);
  const auto closed = projection_->close_before(rows);
  if (!closed) {
    if (closed.error().code == ErrorCode::kCorrupt) rebuild_ = true;
    return fail(with_context(closed.error(), "admission projection"));
  }
  return *closed;
}

void Follower::rows_committed(Position position, WantedRows rows) {
  if (!all_settled_) return;
  unsettled_.clear();
  committed_ = Committed{position, std::move(rows)};
}

void Follower::settle(Connection& connection, PgTransaction& transaction, bool look) {
  if (!look && !committed_ && unsettled_.empty() && !rebuild_ && !failed_) return;
  Result<void> written = settle_committed();
  if (rebuild_) {
    written = rebuild(connection, transaction);
  } else if (look || !unsettled_.empty() || failed_) {
    written = catch_up(connection, transaction);
  }
  if (!written && written.error().code == ErrorCode::kCorrupt && !rebuild_) {
    rebuild_ = true;
    written = rebuild(connection, transaction);
  }
  connection.clear_failure();
  if (!written && !failed_ && !connection.broken()) {
    log::error(kLog, "cannot bring the admission projection up to date; devices may be refused until it works",
               {{"error", written.error().message}});
  }
  if (written && failed_) log::info(kLog, "the admission projection is up to date again");
  failed_ = !written;
}

// What other cells have changed before stays to be caught up with; their notification is on its way.
Result<void> Follower::settle_committed() {
  const auto committed = std::exchange(committed_, std::nullopt);
  if (!committed) return {};
  const bool is_next = committed->position.number == position_.number + 1;
  const Position position = is_next ? committed->position : position_;
  Result<void> written = projection_->settle(committed->rows, position.generation);
  if (written) {
    ahead_.insert(committed->position.number);
    move_to(position);
  } else {
    for (const auto& [client_id, row] : committed->rows) unsettled_.insert(client_id);
  }
  return written;
}

void Follower::move_to(Position position) {
  position_ = position;
  ahead_.erase(ahead_.begin(), ahead_.upper_bound(position.number));
}

Result<void> Follower::catch_up(Connection& connection, PgTransaction& transaction) {
  while (true) {
    TRY_ASSIGN(const auto changes, changes_behind(connection, position_.number));
    if (!changes) return rebuild(connection, transaction);
    if (changes->empty() && unsettled_.empty()) return {};
    std::set<std::string> client_ids = unsettled_;
    Position position = position_;
    for (const Change& change : *changes) {
      // Not all of this cell's own: one whose commit was not answered may show late.
      if (!ahead_.contains(change.number)) {
        if (change.everything) return rebuild(connection, transaction);
        client_ids.insert(change.client_ids.begin(), change.client_ids.end());
      }
      position = {change.number, change.generation};
    }
    TRY_ASSIGN(const WantedRows rows, transaction.admission_rows(client_ids));
    TRY(projection_->settle(rows, position.generation));
    move_to(position);
    unsettled_.clear();
    for (const Change& change : *changes) hear(change);
  }
}

// All rows and the newest change as of one moment.
Result<void> Follower::rebuild(Connection& connection, PgTransaction& transaction) {
  rebuild_ = true;
  const auto from_snapshot = [&]() -> Result<Position> {
    connection.control("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    TRY_ASSIGN(const Position newest, newest_position(connection));
    TRY(projection_->rebuild([&](const auto& each) { return transaction.all_admission_rows(each); }, newest.generation));
    return newest;
  };
  const std::int64_t behind = position_.number;
  const auto rebuilt = from_snapshot();
  connection.clear_failure();
  connection.control("ROLLBACK");
  TRY(connection.sync());
  if (!rebuilt) return fail(rebuilt.error());
  log::info(kLog, "made the admission projection anew", {{"change", rebuilt->number}});
  move_to(*rebuilt);
  unsettled_.clear();
  rebuild_ = false;
  if (!follows_) return {};
  // What is still there of what the others told meanwhile.
  TRY_ASSIGN(const auto changes, changes_behind(connection, behind));
  if (!changes) return {};
  for (const Change& change : *changes) {
    if (change.number <= position_.number) hear(change);
  }
  return {};
}

// The service that made a change has done by itself what follows from it.
void Follower::hear(const Change& change) const {
  if (change.holder != holder_ && !is_empty(change.tidings)) hear_(change.tidings);
}

}  // namespace fleet::provisioner::postgres
