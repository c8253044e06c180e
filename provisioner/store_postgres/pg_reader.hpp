// Reads beside the writer: a session and a thread of their own, so that a long list stops no device. Private to
// provisioner/store_postgres.
#pragma once

#include <memory>
#include <utility>

#include "provisioner/store/store.hpp"
#include "provisioner/store/work_thread.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {

// Runs pieces of work one after another, each on one snapshot of what was committed. A session that was lost is made anew for
// the next piece. Thread-safe. What is queued is finished before it goes.
class PgReader {
 public:
  PgReader(Address address, CellIdentity cell, WorkThread::Post post);

  void submit(Work work, Done done) { thread_.submit(std::move(work), std::move(done)); }

 private:
  Result<void> carry_out(const Work& work);
  Result<void> try_once(const Work& work);

  Address address_;
  CellIdentity cell_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<PgTransaction> transaction_;
  WorkThread thread_;  // last: it uses the others
};

}  // namespace fleet::provisioner::postgres
