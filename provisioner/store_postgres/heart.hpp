// What a cell does beside its work: it renews its lease, hears of other cells' changes, and removes old ones. Private to
// provisioner/store_postgres.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "core/base/fd.hpp"
#include "core/base/result.hpp"
#include "provisioner/store_postgres/connection.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {

// How long a cell counts as alive after its last sign of life.
inline constexpr int kLeaseSeconds = 10;

// Makes this program the cell of that name: it is alive, and whatever an earlier run has left is a dead cell's.
Result<CellIdentity> claim_cell(Connection& connection, const std::string& name);

// A thread and a session of its own, which are made anew when they are lost.
class Heart {
 public:
  // `on_change` is called on its thread when other cells may have changed something.
  Heart(Address address, CellIdentity cell, std::function<void()> on_change);
  ~Heart();  // gives the lease back, if the database can be reached
  Heart(const Heart&) = delete;
  Heart& operator=(const Heart&) = delete;

  // Another program has claimed this cell's name: nothing may be done any more.
  bool deposed() const { return deposed_; }

 private:
  void run();
  Result<void> beat(Connection& connection);
  void wait(const Connection* connection, Millis limit);

  Address address_;
  CellIdentity cell_;
  std::function<void()> on_change_;
  Fd wake_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> deposed_ = false;
  int beats_ = 0;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace fleet::provisioner::postgres
