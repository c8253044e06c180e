// Reads beside the writer: a connection and a thread of their own, so that a long list stops no device. Private to
// provisioner/store.
#pragma once

#include <filesystem>
#include <memory>
#include <utility>

#include "provisioner/store/sql_transaction.hpp"
#include "provisioner/store/store.hpp"
#include "provisioner/store/work_thread.hpp"

namespace fleet::provisioner {

// Runs pieces of work one after another, each on one snapshot of what was committed. Thread-safe. What is queued is finished
// before it goes.
class Reader {
 public:
  // The database exists and is migrated.
  static Result<std::unique_ptr<Reader>> open(const std::filesystem::path& database, WorkThread::Post post);
  Reader(sqlite::Database database, WorkThread::Post post);

  void submit(Work work, Done done) { thread_.submit(std::move(work), std::move(done)); }

 private:
  Result<void> carry_out(const Work& work);

  sqlite::Database database_;
  SqlTransaction transaction_;
  WorkThread thread_;  // last: it uses the others
};

}  // namespace fleet::provisioner
