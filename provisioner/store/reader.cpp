#include "provisioner/store/reader.hpp"

namespace fleet::provisioner {

Result<std::unique_ptr<Reader>> Reader::open(const std::filesystem::path& database, WorkThread::Post post) {
  TRY_ASSIGN(sqlite::Database connection, sqlite::Database::open(database, {.create = false, .read_only = true}));
  return std::make_unique<Reader>(std::move(connection), std::move(post));
}

Reader::Reader(sqlite::Database database, WorkThread::Post post)
    : database_(std::move(database)),
      transaction_(database_),
      thread_(std::move(post), [this](const Work& work) { return carry_out(work); }) {}

Result<void> Reader::carry_out(const Work& work) {
  TRY(database_.execute("BEGIN"));
  Result<void> outcome = call(work, transaction_);
  if (auto ended = database_.execute("ROLLBACK"); !ended && outcome) return ended;
  return outcome;
}

}  // namespace fleet::provisioner
