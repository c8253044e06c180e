#include "provisioner/store/reader.hpp"

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

Result<std::unique_ptr<Reader>> Reader::open(const std::filesystem::path& database, Post post) {
  TRY_ASSIGN(sqlite::Database connection, sqlite::Database::open(database, {.create = false, .read_only = true}));
  return std::make_unique<Reader>(std::move(connection), std::move(post));
}

Reader::Reader(sqlite::Database database, Post post)
    : database_(std::move(database)), transaction_(database_), post_(std::move(post)), thread_([this] { read(); }) {}

Reader::~Reader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Reader::submit(Work work, Done done) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(work), std::move(done)});
  }
  wake_.notify_one();
}

void Reader::read() {
  while (true) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Piece piece = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    auto outcome = carry_out(piece.work);
    post_([done = std::move(piece.done), outcome = std::move(outcome)] { done(outcome); });
  }
}

Result<void> Reader::carry_out(const Work& work) {
  TRY(database_.execute("BEGIN"));
  Result<void> outcome = call(work, transaction_);
  if (auto ended = database_.execute("ROLLBACK"); !ended && outcome) return ended;
  return outcome;
}

}  // namespace fleet::provisioner
