// Keeps a cell's admission projection in step with the database: with what the cell records itself, and with what the feed
// tells of the others. Private to provisioner/store_postgres.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "provisioner/store/admission_projection.hpp"
#include "provisioner/store_postgres/connection.hpp"
#include "provisioner/store_postgres/feed.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {

// Of one thread, the writer's: what it is told of commits and what it reads must not overtake one another. The connection may be
// another one each time, and is in no transaction but in prepare() and rows_committed().
class Follower {
 public:
  // `hear` is told what other cells' changes ask for besides, in order.
  Follower(std::unique_ptr<AdmissionProjection> projection, std::string holder, std::function<void(const Tidings&)> hear)
      : projection_(std::move(projection)), holder_(std::move(holder)), hear_(std::move(hear)) {}

  // Once, before all others: goes on from where the projection is, or makes it anew.
  Result<void> begin(Connection& connection, PgTransaction& transaction);

  // What is about to be committed, perhaps nothing: takes away what these rows no longer admit. True if there was anything. Unless
  // rows_committed() follows, they are looked up with the next settle().
  Result<bool> prepare(const WantedRows& rows);
  // What prepare() was told is committed, as the change at that position. The rows have been locked, so nobody has changed them.
  void rows_committed(Position position, WantedRows rows);

  // Brings the projection up to date with what is known, and with the feed if `look` says that others may have changed something.
  // An error is logged, and tried again with the next settle().
  void settle(Connection& connection, PgTransaction& transaction, bool look);
  // The last settle() has failed.
  bool failed() const { return failed_; }

 private:
  struct Committed {
    Position position;
    WantedRows rows;
  };
  Result<void> settle_committed();
  Result<void> catch_up(Connection& connection, PgTransaction& transaction);
  Result<void> rebuild(Connection& connection, PgTransaction& transaction);
  void move_to(Position position);
  void hear(const Change& change) const;

  std::unique_ptr<AdmissionProjection> projection_;
  std::string holder_;
  std::function<void(const Tidings&)> hear_;
  // The last change up to which the projection has all; and the later ones of this cell that it has besides.
  Position position_{};
  std::set<std::int64_t> ahead_;
  std::optional<Committed> committed_;  // and not in the projection yet
  std::set<std::string> unsettled_;     // client ids whose rows may differ from the database, for whatever reason
  bool all_settled_ = true;             // before prepare()
  bool rebuild_ = false;
  bool follows_ = false;                // since begin(): what was told before it is over
  bool failed_ = false;
};

}  // namespace fleet::provisioner::postgres
