#include "provisioner/store/store.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/crash_point.hpp"
#include "core/base/log.hpp"
#include "core/base/time.hpp"
#include "provisioner/store/admission_projection.hpp"
#include "provisioner/store/migrations.hpp"
#include "provisioner/store/reader.hpp"
#include "provisioner/store/sql_transaction.hpp"
#include "provisioner/store/sqlite.hpp"

namespace fleet::provisioner {
namespace {

// A commit takes all that is queued, but not for ever: its first piece is waiting for its answer.
constexpr std::size_t kPiecesPerCommit = 512;
constexpr Millis kGatherFor{50};
// How soon a commit may follow another in a rush: each then takes in many pieces, whose answers nobody misses for so long, and
// the cost of a commit is shared by them. It is a rush for a while after somebody had company; whoever comes alone, one piece after
// the other, waits for nobody.
constexpr Millis kCommitEvery{16};
constexpr std::size_t kGoodGroup = 32;  // shares the cost well enough to wait for no more
constexpr Millis kRushLasts{250};
// Pieces that take longer on average (batches of an import) do not share a commit for its cost.
constexpr Millis kLongPiece{2};
// How soon the projection is tried again when it could not be written.
constexpr Seconds kRetryProjection{1};

// What two pieces have touched is looked up.
void add(TouchedRows& touched, TouchedRows&& more) {
  touched.merge(more);
  for (const auto& [client_id, row] : more) touched[client_id].reset();
}

struct Piece {
  Work work;
  Done done;                                            // carried by `post`; or
  std::shared_ptr<std::promise<Result<void>>> waiting;  // what run() waits for
  Result<void> outcome;
};

class SqlStore final : public Store {
 public:
  SqlStore(sqlite::Database database, std::function<void(std::function<void()>)> post)
      : database_(std::move(database)),
        transaction_(database_),
        control_statements_(database_),
        post_(std::move(post)) {
    transaction_.keep_catalogue();
  }
  ~SqlStore() override;

  // Between construction and start(): the projection, and who reads.
  Result<void> open_projection(const StoreSettings& settings);
  void start() {
    writer_ = std::thread([this] { write(); });
  }

  void open_reader(std::unique_ptr<Reader> reader) { reader_ = std::move(reader); }

  void read(Work work, Done done) override { reader_->submit(std::move(work), std::move(done)); }
  void submit(Work work, Done done) override { enqueue({std::move(work), std::move(done), nullptr, {}}); }
  Result<void> run(Work work) override;
  std::size_t backlog() const override { return backlog_; }

 private:
  void enqueue(Piece piece);
  std::optional<Piece> take();

  // All of the following on the writer thread.
  void write();
  void commit(std::vector<Piece>& batch);
  Result<void> carry_out(std::vector<Piece>& batch, TouchedRows& touched);
  Result<bool> try_piece(Piece& piece, TouchedRows& touched);
  Result<void> carry_out_alone(Piece& piece, TouchedRows& touched);
  Result<void> call_piece(Piece& piece, TouchedRows& touched_by_piece);
  Result<void> announce_closings(TouchedRows& touched);
  void settle_projection();
  Result<void> write_projection(const WantedRows& committed);
  Result<void> look_up(TouchedRows& touched);
  Result<void> control(std::string_view sql);
  void answer(std::vector<Piece>& batch);

  sqlite::Database database_;
  SqlTransaction transaction_;  // both go before their database
  sqlite::StatementCache control_statements_;
  std::unique_ptr<AdmissionProjection> projection_;
  std::unique_ptr<Reader> reader_;
  std::function<void(std::function<void()>)> post_;

  // What the last commit has made of the rows that it touched, until the projection has it.
  WantedRows committed_rows_;
  // Client ids whose row in the projection may differ from the store besides: one of the two was not written.
  std::set<std::string> unsettled_;
  bool rebuild_projection_ = false;
  bool projection_failed_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Piece> queue_;
  bool idle_ = false;  // the writer waits for whatever comes
  bool stopping_ = false;
  std::atomic<std::size_t> backlog_ = 0;
  std::thread writer_;
};

SqlStore::~SqlStore() {
  reader_.reset();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (writer_.joinable()) writer_.join();
}

Result<void> SqlStore::open_projection(const StoreSettings& settings) {
  TRY_ASSIGN(projection_, AdmissionProjection::open(settings));
  TRY_ASSIGN(const std::int64_t generation, transaction_.admission_generation());
  if (projection_->is_at(generation)) return {};
  rebuild_projection_ = true;
  TRY(write_projection({}));
  rebuild_projection_ = false;
  log::info("store", "made the admission projection anew", {{"generation", generation}});
  return {};
}

void SqlStore::enqueue(Piece piece) {
  ++backlog_;
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(piece));
    // a writer that gathers more looks by itself when the time has come
    wake = idle_ || queue_.size() == kGoodGroup;
  }
  if (wake) wake_.notify_one();
}

Result<void> SqlStore::run(Work work) {
  if (std::this_thread::get_id() == writer_.get_id()) {
    return fail(ErrorCode::kInternal, "store: run() from within a piece of work would wait for itself");
  }
  auto promise = std::make_shared<std::promise<Result<void>>>();
  std::future<Result<void>> outcome = promise->get_future();
  enqueue({std::move(work), nullptr, std::move(promise), {}});
  return outcome.get();
}

std::optional<Piece> SqlStore::take() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty()) return std::nullopt;
  Piece piece = std::move(queue_.front());
  queue_.pop_front();
  return piece;
}

void SqlStore::write() {
  using Clock = std::chrono::steady_clock;
  auto next_commit = Clock::now(), rush_until = next_commit;
  while (true) {
    bool work_waits = false;
    {
      std::unique_lock lock(mutex_);
      const auto due = [this] { return stopping_ || !queue_.empty(); };
      idle_ = true;
      if (unsettled_.empty() && !rebuild_projection_) {
        wake_.wait(lock, due);
      } else {
        wake_.wait_for(lock, kRetryProjection, due);
      }
      idle_ = false;
      wake_.wait_until(lock, next_commit, [this] { return stopping_ || queue_.size() >= kGoodGroup; });
      work_waits = !queue_.empty();
      if (stopping_ && !work_waits) return;
    }
    std::vector<Piece> batch;
    const auto begun = Clock::now();
    if (work_waits) commit(batch);
    const auto ended = Clock::now();
    if (batch.size() > 1) rush_until = ended + kRushLasts;
    const bool shares = ended < rush_until && ended - begun <= kLongPiece * batch.size();
    next_commit = shares ? ended + kCommitEvery : ended;
    settle_projection();
    answer(batch);
  }
}

void SqlStore::commit(std::vector<Piece>& batch) {
  TouchedRows touched;
  const Result<void> committed = carry_out(batch, touched);
  if (committed && unsettled_.empty()) {
    committed_rows_ = std::move(touched);
    return;
  }
  // rows that an earlier commit has left over have to be looked up with them
  for (const auto& [client_id, row] : touched) unsettled_.insert(client_id);
  if (committed) return;
  log::error("store", "cannot commit", {{"error", committed.error().message}, {"pieces", batch.size()}});
  transaction_.forget_catalogue();
  if (database_.in_transaction()) {
    if (auto undone = control("ROLLBACK"); !undone) {
      log::error("store", "cannot roll back", {{"error", undone.error().message}});
    }
  }
  if (batch.empty()) {
    // Not even a transaction could begin; whoever is first must hear of it instead of waiting for ever.
    if (std::optional<Piece> piece = take()) batch.push_back(std::move(*piece));
  }
  for (Piece& piece : batch) {
    if (piece.outcome) piece.outcome = fail(committed.error());
  }
}

// Pieces run without savepoints, which cost as much as a change, as long as none fails after it has changed something. Then
// all are taken back and run again, each in its own.
Result<void> SqlStore::carry_out(std::vector<Piece>& batch, TouchedRows& touched) {
  const std::int64_t changes_before = database_.total_changes();
  const auto gather_until = std::chrono::steady_clock::now() + kGatherFor;
  TRY(control("BEGIN IMMEDIATE"));
  bool careful = false;
  do {
    std::optional<Piece> piece = take();
    if (!piece) break;
    batch.push_back(std::move(*piece));
    if (careful) {
      TRY(carry_out_alone(batch.back(), touched));
      continue;
    }
    TRY_ASSIGN(const bool clean, try_piece(batch.back(), touched));
    if (clean) continue;
    careful = true;
    touched.clear();
    TRY(control("ROLLBACK"));
    TRY(control("BEGIN IMMEDIATE"));
    for (Piece& each : batch) TRY(carry_out_alone(each, touched));
  } while (batch.size() < kPiecesPerCommit && std::chrono::steady_clock::now() < gather_until);
  if (!touched.empty()) TRY(announce_closings(touched));
  const bool changed = database_.total_changes() != changes_before;
  if (changed) crash_point("store.before-commit");
  TRY(control("COMMIT"));
  if (changed) crash_point("store.after-commit");
  return {};
}

// An error here, and below, is the whole batch's; the piece's own is in its outcome.
Result<void> SqlStore::call_piece(Piece& piece, TouchedRows& touched_by_piece) {
  piece.outcome = call(piece.work, transaction_);
  touched_by_piece = transaction_.take_touched();
  if (!piece.outcome) transaction_.forget_catalogue();  // what it has changed is going to be taken back
  if (database_.in_transaction()) return {};
  // On a full disk SQLite may take back all of it by itself.
  if (!piece.outcome) return fail(piece.outcome.error());
  return fail(ErrorCode::kIo, "{}: the transaction was rolled back by SQLite", database_.path());
}

// False if the piece failed and has left changes behind.
Result<bool> SqlStore::try_piece(Piece& piece, TouchedRows& touched) {
  const std::int64_t changes_before = database_.total_changes();
  TouchedRows touched_by_piece;
  TRY(call_piece(piece, touched_by_piece));
  if (!piece.outcome) return database_.total_changes() == changes_before;
  add(touched, std::move(touched_by_piece));
  return true;
}

Result<void> SqlStore::carry_out_alone(Piece& piece, TouchedRows& touched) {
  TouchedRows touched_by_piece;
  TRY(control("SAVEPOINT piece"));
  TRY(call_piece(piece, touched_by_piece));
  if (!piece.outcome) {
    TRY(control("ROLLBACK TO piece"));
  } else {
    add(touched, std::move(touched_by_piece));
  }
  return control("RELEASE piece");
}

Result<void> SqlStore::announce_closings(TouchedRows& touched) {
  TRY(transaction_.bump_admission_generation());
  TRY(look_up(touched));
  const auto closed = projection_->close_before(touched);
  if (!closed) {
    if (closed.error().code == ErrorCode::kCorrupt) rebuild_projection_ = true;
    return fail(with_context(closed.error(), "admission projection"));
  }
  if (*closed) crash_point("store.after-closings");
  return {};
}

void SqlStore::settle_projection() {
  const WantedRows committed = std::exchange(committed_rows_, {});
  if (committed.empty() && unsettled_.empty() && !rebuild_projection_) return;
  Result<void> written = write_projection(committed);
  if (!written && written.error().code == ErrorCode::kCorrupt && !rebuild_projection_) {
    rebuild_projection_ = true;
    written = write_projection(committed);
  }
  if (written) {
    unsettled_.clear();
    rebuild_projection_ = false;
    if (projection_failed_) log::info("store", "the admission projection is up to date again");
  } else {
    for (const auto& [client_id, row] : committed) unsettled_.insert(client_id);
    if (!projection_failed_) {
      log::error("store", "cannot write the admission projection; devices may be refused until it works",
                 {{"error", written.error().message}});
    }
  }
  projection_failed_ = !written;
}

// Either there are rows just committed, or some to be looked up.
Result<void> SqlStore::write_projection(const WantedRows& committed) {
  TRY_ASSIGN(const std::int64_t generation, transaction_.admission_generation());
  if (rebuild_projection_) {
    return projection_->rebuild([this](const auto& each) { return transaction_.all_admission_rows(each); }, generation);
  }
  if (unsettled_.empty()) return projection_->settle(committed, generation);
  TouchedRows unsettled;
  for (const std::string& client_id : unsettled_) unsettled.try_emplace(client_id);
  TRY(look_up(unsettled));
  return projection_->settle(unsettled, generation);
}

// Fills in what is not known; what has no row then is not there.
Result<void> SqlStore::look_up(TouchedRows& touched) {
  for (auto& [client_id, row] : touched) {
    if (row) continue;
    TRY_ASSIGN(row, transaction_.admission_row(client_id));
  }
  return {};
}

Result<void> SqlStore::control(std::string_view sql) {
  TRY_ASSIGN(const auto statement, control_statements_.use(sql));
  return statement->run();
}

void SqlStore::answer(std::vector<Piece>& batch) {
  backlog_ -= batch.size();
  std::vector<std::pair<Done, Result<void>>> carried;
  for (Piece& piece : batch) {
    if (piece.done) carried.emplace_back(std::move(piece.done), std::move(piece.outcome));
  }
  if (!carried.empty()) {
    post_([carried = std::move(carried)] {
      for (const auto& [done, outcome] : carried) done(outcome);
    });
  }
  // last: whoever waits may count on what was submitted before to be answered, or on its way to be
  for (Piece& piece : batch) {
    if (piece.waiting) piece.waiting->set_value(std::move(piece.outcome));
  }
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(StoreSettings settings, std::function<void(std::function<void()>)> post) {
  TRY_ASSIGN(sqlite::Database database, sqlite::Database::open(settings.database, {}));
  // What is emptied holds passwords and configurations: it shall not linger in free pages.
  TRY(database.execute("PRAGMA secure_delete = ON"));
  // 8 MiB for the upper levels of the indexes of a million requests. Not more: where a B-tree was balanced, SQLite walks through
  // all of its cache at the commit. A checkpoint each 32 MiB, so that pages which change with every commit are not copied each time.
  TRY(database.execute("PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 8192"));
  TRY(migrate(database));
  TRY_ASSIGN(auto reader, Reader::open(settings.database, post));
  auto store = std::make_unique<SqlStore>(std::move(database), std::move(post));
  store->open_reader(std::move(reader));
  if (auto opened = store->open_projection(settings); !opened) {
    return fail(with_context(std::move(opened).error(), "admission projection"));
  }
  store->start();
  return store;
}

}  // namespace fleet::provisioner
