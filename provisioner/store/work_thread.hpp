// A thread for pieces of work beside a store's writer. Private to provisioner/store and provisioner/store_postgres.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// `work`, with an exception as kInternal.
Result<void> call(const Work& work, Transaction& transaction);

// Carries pieces of work out one after another, on a thread of its own, and posts their answers. Thread-safe.
class WorkThread {
 public:
  using Post = std::function<void(std::function<void()>)>;
  using CarryOut = std::function<Result<void>(const Work&)>;

  // What `carry_out` uses outlives this.
  WorkThread(Post post, CarryOut carry_out);
  ~WorkThread();  // finishes what is queued
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  void submit(Work work, Done done);

 private:
  struct Piece {
    Work work;
    Done done;
  };
  void run();

  Post post_;
  CarryOut carry_out_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Piece> queue_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace fleet::provisioner
