// Reads beside the writer: a connection and a thread of their own, so that a long list stops no device. Private to
// provisioner/store.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "provisioner/store/sql_transaction.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// `work`, with an exception as kInternal.
Result<void> call(const Work& work, Transaction& transaction);

// Runs pieces of work one after another, each on one snapshot of what was committed. Thread-safe.
class Reader {
 public:
  using Post = std::function<void(std::function<void()>)>;

  // The database exists and is migrated.
  static Result<std::unique_ptr<Reader>> open(const std::filesystem::path& database, Post post);
  Reader(sqlite::Database database, Post post);
  ~Reader();  // finishes what is queued
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  void submit(Work work, Done done);

 private:
  struct Piece {
    Work work;
    Done done;
  };
  void read();
  Result<void> carry_out(const Work& work);

  sqlite::Database database_;
  SqlTransaction transaction_;
  Post post_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Piece> queue_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace fleet::provisioner
