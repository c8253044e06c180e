// Reads beside the writer: a session and a thread of their own, so that a long list stops no device. Private to
// provisioner/store_postgres.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "provisioner/store/store.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {

// Runs pieces of work one after another, each on one snapshot of what was committed. A session that was lost is made anew for
// the next piece. Thread-safe.
class PgReader {
 public:
  using Post = std::function<void(std::function<void()>)>;
  PgReader(Address address, CellIdentity cell, Post post);
  ~PgReader();  // finishes what is queued
  PgReader(const PgReader&) = delete;
  PgReader& operator=(const PgReader&) = delete;

  void submit(Work work, Done done);

 private:
  struct Piece {
    Work work;
    Done done;
  };
  void read();
  Result<void> carry_out(const Work& work);

  Address address_;
  CellIdentity cell_;
  Post post_;
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<PgTransaction> transaction_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Piece> queue_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace fleet::provisioner::postgres
