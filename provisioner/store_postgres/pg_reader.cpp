#include "provisioner/store_postgres/pg_reader.hpp"

#include <utility>

#include "provisioner/store/reader.hpp"

namespace fleet::provisioner::postgres {

PgReader::PgReader(Address address, CellIdentity cell, Post post)
    : address_(std::move(address)), cell_(std::move(cell)), post_(std::move(post)), thread_([this] { read(); }) {}

PgReader::~PgReader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void PgReader::submit(Work work, Done done) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(work), std::move(done)});
  }
  wake_.notify_one();
}

void PgReader::read() {
  while (true) {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Piece piece = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    const bool had_session = connection_ != nullptr;
    Result<void> outcome = carry_out(piece.work);
    // a session that was lost while nobody used it shows with the next use
    if (!outcome && had_session && connection_ == nullptr) outcome = carry_out(piece.work);
    post_([done = std::move(piece.done), outcome = std::move(outcome)] { done(outcome); });
  }
}

Result<void> PgReader::carry_out(const Work& work) {
  if (!connection_) {
    TRY_ASSIGN(connection_, Connection::open(address_));
    transaction_ = std::make_unique<PgTransaction>(*connection_, PgTransaction::Access::kRead, cell_);
  }
  connection_->control("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  transaction_->begin_piece();
  Result<void> outcome = call(work, *transaction_);
  // a change that was sent is refused now
  if (auto answered = connection_->sync(); !answered && outcome) outcome = std::move(answered);
  connection_->clear_failure();
  connection_->control("ROLLBACK");
  if (auto ended = connection_->sync(); !ended && outcome) outcome = std::move(ended);
  connection_->clear_failure();
  if (connection_->broken()) {
    transaction_.reset();
    connection_.reset();
  }
  return outcome;
}

}  // namespace fleet::provisioner::postgres
