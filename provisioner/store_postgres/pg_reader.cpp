#include "provisioner/store_postgres/pg_reader.hpp"

#include <utility>

namespace fleet::provisioner::postgres {

PgReader::PgReader(Address address, CellIdentity cell, WorkThread::Post post)
    : address_(std::move(address)),
      cell_(std::move(cell)),
      thread_(std::move(post), [this](const Work& work) { return carry_out(work); }) {}

Result<void> PgReader::carry_out(const Work& work) {
  const bool had_session = connection_ != nullptr;
  Result<void> outcome = try_once(work);
  // a session that was lost while nobody used it shows with the next use
  if (!outcome && had_session && connection_ == nullptr) outcome = try_once(work);
  return outcome;
}

Result<void> PgReader::try_once(const Work& work) {
  if (!connection_) {
    TRY_ASSIGN(connection_, Connection::open(address_));
    transaction_ = std::make_unique<PgTransaction>(*connection_, PgTransaction::Access::kRead, cell_);
  }
  connection_->renew_plans(std::chrono::steady_clock::now());
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
