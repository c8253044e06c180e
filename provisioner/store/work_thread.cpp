#include "provisioner/store/work_thread.hpp"

#include <exception>
#include <utility>

namespace fleet::provisioner {

Result<void> call(const Work& work, Transaction& transaction) {
  try {
    return work(transaction);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, "store: a piece of work threw: {}", error.what());
  } catch (...) {
    return fail(ErrorCode::kInternal, "store: a piece of work threw");
  }
}

WorkThread::WorkThread(Post post, CarryOut carry_out)
    : post_(std::move(post)), carry_out_(std::move(carry_out)), thread_([this] { run(); }) {}

WorkThread::~WorkThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void WorkThread::submit(Work work, Done done) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(work), std::move(done)});
  }
  wake_.notify_one();
}

void WorkThread::run() {
  while (true) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Piece piece = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    auto outcome = carry_out_(piece.work);
    post_([done = std::move(piece.done), outcome = std::move(outcome)] { done(outcome); });
  }
}

}  // namespace fleet::provisioner
