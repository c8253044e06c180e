#include "provisioner/store_postgres/pg_store.hpp"

#include <algorithm>
#include <utility>

#include "core/base/crash_point.hpp"
#include "core/base/log.hpp"
#include "core/base/secret.hpp"
#include "provisioner/store/work_thread.hpp"
#include "provisioner/store_postgres/migrations.hpp"
#include "provisioner/store_postgres/store.hpp"

namespace fleet::provisioner::postgres {
namespace {

constexpr std::string_view kLog = "store";
// A commit takes all that is queued, but not for ever: its first piece is waiting for its answer, and other cells for its locks.
constexpr std::size_t kPiecesPerCommit = 256;
constexpr Millis kGatherFor{50};
// How far apart groups begin in a rush: a commit costs the same with many devices in it as with few. It is a rush for a while
// after somebody had company; whoever comes alone, one piece after the other, waits for nobody.
constexpr Millis kGroupEvery{50};
constexpr Millis kRushLasts{250};
// Pieces that take longer on average (batches of an import) do not share a commit for its cost.
constexpr Millis kLongPiece{10};
// How long a piece of work waits for a database that is away, or for a request that another cell is at work on.
constexpr Millis kPatience{5000};
constexpr Millis kAgainAfter{15};
// How soon the projection is tried again when it could not be written.
constexpr Seconds kRetryProjection{1};
// How long a lost commit is asked after.
constexpr Millis kFindOutFor{8000};
constexpr Millis kFindOutPause{100};

std::uint64_t any_number() {
  std::uint64_t number = 0;
  for (const char byte : random_bytes(8)) number = (number << 8) | static_cast<unsigned char>(byte);
  return number;
}

}  // namespace

PgStore::PgStore(Address address, std::unique_ptr<Connection> connection, CellIdentity cell,
                 std::unique_ptr<AdmissionProjection> projection, Post post)
    : address_(std::move(address)),
      cell_(std::move(cell)),
      session_(std::make_unique<Session>(std::move(connection), cell_)),
      follower_(std::move(projection), cell_.holder, [this](const Tidings& tidings) { hear(tidings); }),
      post_(std::move(post)) {}

PgStore::~PgStore() {
  reader_.reset();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (writer_.joinable()) writer_.join();
  heart_.reset();  // last: as long as this cell writes, it lives
}

Result<void> PgStore::start() {
  TRY(follower_.begin(*session_->connection, session_->transaction));
  reader_ = std::make_unique<PgReader>(address_, cell_, post_);
  heart_ = std::make_unique<Heart>(address_, cell_, [this] {
    {
      const std::lock_guard lock(mutex_);
      look_at_feed_ = true;
    }
    wake_.notify_one();
  });
  writer_ = std::thread([this] { write(); });
  return {};
}

void PgStore::enqueue(Piece piece) {
  ++backlog_;
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(piece));
    // a writer that gathers more looks by itself when the time has come
    wake = idle_ || queue_.size() >= kPiecesPerCommit;
  }
  if (wake) wake_.notify_one();
}

void PgStore::submit(Work work, Done done) {
  enqueue({.work = std::move(work), .done = std::move(done), .waiting = nullptr});
}

Result<void> PgStore::run(Work work) {
  if (std::this_thread::get_id() == writer_.get_id()) {
    return fail(ErrorCode::kInternal, "store: run() from within a piece of work would wait for itself");
  }
  auto promise = std::make_shared<std::promise<Result<void>>>();
  std::future<Result<void>> outcome = promise->get_future();
  enqueue({.work = std::move(work), .done = nullptr, .waiting = std::move(promise)});
  return outcome.get();
}

void PgStore::hear_other_cells(std::function<void(Tidings)> hear) {
  const std::lock_guard lock(mutex_);
  hear_ = std::move(hear);
  for (Tidings& tidings : unheard_) {
    post_([hear = hear_, tidings = std::move(tidings)] { hear(tidings); });
  }
  unheard_.clear();
}

std::optional<std::string> PgStore::trouble() const {
  if (heart_ && heart_->deposed()) return fmt::format("another provisioner has started as cell {}", cell_.name);
  const std::lock_guard lock(mutex_);
  return trouble_;
}

std::optional<PgStore::Piece> PgStore::take() {
  const std::lock_guard lock(mutex_);
  for (std::deque<Piece>* const from : {&again_, &queue_}) {
    if (from->empty() || from->front().not_before > std::chrono::steady_clock::now()) continue;
    Piece piece = std::move(from->front());
    from->pop_front();
    return piece;
  }
  return std::nullopt;
}

// False: it is time to end.
bool PgStore::wait_for_work() {
  std::unique_lock lock(mutex_);
  const auto due = [this] {
    return stopping_ || !queue_.empty() || look_at_feed_ || (!again_.empty() && again_.front().not_before <= std::chrono::steady_clock::now());
  };
  Millis limit{3'600'000};
  if (follower_.failed() || !unknown_.empty()) limit = kRetryProjection;
  if (!again_.empty()) limit = kAgainAfter;
  if (!session_) {
    limit = std::clamp(std::chrono::ceil<Millis>(next_connect_ - std::chrono::steady_clock::now()), Millis(1), Millis(1000));
    wake_.wait_for(lock, limit, [this] { return stopping_; });
  } else {
    idle_ = true;
    wake_.wait_for(lock, limit, due);
    idle_ = false;
    wake_.wait_until(lock, next_group_, [this] { return stopping_ || queue_.size() >= kPiecesPerCommit; });
  }
  return !stopping_ || !queue_.empty() || !again_.empty();
}

void PgStore::write() {
  while (wait_for_work()) {
    be_connected();
    fail_what_waited_too_long();
    if (!session_) continue;
    const auto begun = std::chrono::steady_clock::now();
    const std::size_t pieces = work_off();
    const auto ended = std::chrono::steady_clock::now();
    if (pieces > 1) rush_until_ = ended + kRushLasts;
    const bool shares = ended < rush_until_ && ended - begun <= kLongPiece * pieces;
    next_group_ = shares ? begun + kGroupEvery : ended;
    settle();
  }
}

void PgStore::be_connected() {
  if (session_ && session_->connection->broken()) session_.reset();
  if (session_ || std::chrono::steady_clock::now() < next_connect_) return;
  auto opened = Connection::open(address_);
  const std::lock_guard lock(mutex_);
  if (!opened) {
    if (!trouble_) log::error(kLog, "the database is away; connecting again", {{"why", opened.error().message}});
    trouble_ = opened.error().message;
    next_connect_ = std::chrono::steady_clock::now() + backoff_.next(any_number());
    return;
  }
  session_ = std::make_unique<Session>(std::move(*opened), cell_);
  if (trouble_) log::info(kLog, "the database is back");
  trouble_.reset();
  backoff_.reset();
  look_at_feed_ = true;
}

// While the database is away whoever waits hears of it in time; at the end of the service, at once.
void PgStore::fail_what_waited_too_long() {
  if (session_) return;
  std::vector<Piece> failed;
  {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    for (std::deque<Piece>* const from : {&again_, &queue_}) {
      while (!from->empty() && (stopping_ || from->front().since + kPatience < now)) {
        Piece piece = std::move(from->front());
        from->pop_front();
        piece.outcome = fail(ErrorCode::kUnavailable, "the database is away: {}", trouble_.value_or("the connection was lost"));
        failed.push_back(std::move(piece));
      }
    }
  }
  for (Piece& piece : failed) answer(std::move(piece));
}

// How many pieces there were.
std::size_t PgStore::work_off() {
  std::vector<Piece> group;
  Ending ending = carry_out(group, Care::kNone, true);
  if (ending == Ending::kRolledBack && group.size() > 1) {
    for (Piece& piece : group) piece.outcome = {};
    ending = carry_out(group, Care::kEachPiece, false);
  }
  // What cannot even be told apart by savepoints (a deadlock ends all of it) goes one by one.
  const std::size_t pieces = group.size();
  if (ending == Ending::kRolledBack && group.size() > 1) {
    std::vector<Piece> all = std::exchange(group, {});
    for (Piece& piece : all) {
      piece.outcome = {};
      std::vector<Piece> alone;
      alone.push_back(std::move(piece));
      ending = !session_ || session_->connection->broken() ? Ending::kLost : carry_out(alone, Care::kNone, false);
      if (ending == Ending::kLost) {
        put_back(std::move(alone));
        continue;
      }
      settle();
      for (Piece& one : alone) answer(std::move(one));
    }
    return pieces;
  }
  if (ending == Ending::kLost) {
    put_back(std::move(group));
    return pieces;
  }
  // openings come before the answers
  settle();
  for (Piece& piece : group) answer(std::move(piece));
  return pieces;
}

PgStore::Ending PgStore::carry_out(std::vector<Piece>& group, Care care, bool gather) {
  Connection& connection = *session_->connection;
  const auto gather_until = std::chrono::steady_clock::now() + kGatherFor;
  touched_.clear();
  tidings_ = {};
  if (heart_->deposed()) {
    if (gather) {
      while (auto piece = take()) group.push_back(std::move(*piece));
    }
    for (Piece& piece : group) piece.outcome = fail(ErrorCode::kConflict, "another provisioner has started as cell {}", cell_.name);
    return Ending::kCommitted;
  }
  bool begun = false;
  for (std::size_t i = 0;; ++i) {
    if (i == group.size()) {
      if (!gather || group.size() >= kPiecesPerCommit || std::chrono::steady_clock::now() >= gather_until) break;
      auto piece = take();
      if (!piece) break;
      group.push_back(std::move(*piece));
    }
    if (!std::exchange(begun, true)) {
      connection.set_owner(0);
      connection.renew_plans(std::chrono::steady_clock::now());
      connection.begin();
      changes_before_ = connection.changes_sent();
    }
    if (const auto ended = carry_out(group[i], i + 1, care)) {
      return *ended == Ending::kRolledBack ? roll_back(group, group[i].outcome ? connection.failure()->error : group[i].outcome.error()) : *ended;
    }
  }
  return begun ? commit(group) : Ending::kCommitted;
}

// nullopt: the group goes on.
std::optional<PgStore::Ending> PgStore::carry_out(Piece& piece, std::size_t number, Care care) {
  Connection& connection = *session_->connection;
  PgTransaction& transaction = session_->transaction;
  connection.set_owner(number);
  if (care == Care::kEachPiece) connection.control("SAVEPOINT piece");
  const std::uint64_t changes_before = connection.changes_sent();
  transaction.begin_piece();
  piece.again = false;
  piece.outcome = call(piece.work, transaction);
  if (piece.outcome) transaction.end_piece();
  if (care == Care::kEachPiece && piece.outcome && !connection.failure()) {
    if (auto done = connection.sync(); !done) piece.outcome = std::move(done);
  }
  WantedRows touched = transaction.take_touched();
  Tidings tidings = transaction.take_tidings();
  if (connection.broken()) return Ending::kLost;
  if (piece.outcome && !connection.failure()) {
    for (auto& [client_id, row] : touched) touched_.insert_or_assign(client_id, std::move(row));
    std::move(tidings.kick.begin(), tidings.kick.end(), std::back_inserter(tidings_.kick));
    std::move(tidings.forgiven.begin(), tidings.forgiven.end(), std::back_inserter(tidings_.forgiven));
    tidings_.applied = tidings_.applied || tidings.applied;
    if (care == Care::kEachPiece) connection.control("RELEASE SAVEPOINT piece");
    return std::nullopt;
  }
  piece.again = transaction.in_the_way();
  if (care == Care::kEachPiece) return undo(piece, number);
  if (!connection.failure() && connection.changes_sent() == changes_before) return std::nullopt;  // there is nothing to undo
  return Ending::kRolledBack;
}

// Of a piece that failed: all that it has done, and nothing else.
std::optional<PgStore::Ending> PgStore::undo(Piece& piece, std::size_t number) {
  Connection& connection = *session_->connection;
  static_cast<void>(connection.sync());
  if (connection.broken()) return Ending::kLost;
  if (const auto& failure = connection.failure()) {
    if (failure->owner != number) return Ending::kRolledBack;
    piece.again = piece.again || failure->conflict;
    if (piece.outcome) piece.outcome = fail(failure->error);
  }
  connection.clear_failure();
  connection.control("ROLLBACK TO SAVEPOINT piece");
  connection.control("RELEASE SAVEPOINT piece");
  if (connection.sync()) return std::nullopt;
  return connection.broken() ? Ending::kLost : Ending::kRolledBack;
}

PgStore::Ending PgStore::commit(std::vector<Piece>& group) {
  Connection& connection = *session_->connection;
  connection.set_owner(0);
  // Whatever fails shows before anything is closed and before the commit is on its way, also a change that met no row.
  const bool announces = !touched_.empty() || !is_empty(tidings_);
  if (connection.changes_sent() != changes_before_ || (announces && connection.transaction_id().empty())) {
    if (auto done = connection.sync(); !done) return connection.broken() ? Ending::kLost : roll_back(group, done.error());
  }
  std::optional<Connection::Ticket> number;
  const std::int64_t generation = new_generation();
  if (announces) {
    const auto closed = follower_.prepare(touched_);
    if (!closed) return roll_back(group, closed.error());
    if (*closed) crash_point("store.after-closings");
    std::vector<std::string> client_ids;
    for (const auto& [client_id, row] : touched_) client_ids.push_back(client_id);
    number = append_change(connection, cell_.holder, generation, client_ids, tidings_);
  }
  const bool changed = connection.changes_sent() != changes_before_;
  if (changed) crash_point("store.before-commit");
  connection.control("COMMIT");
  const auto done = connection.sync();
  if (!done) {
    if (!connection.broken()) return roll_back(group, done.error());
    const std::string transaction_id = connection.transaction_id();
    const Ending ending = find_out(transaction_id);
    if (ending == Ending::kUnknown) {
      if (!transaction_id.empty()) unknown_.insert(transaction_id);
      for (Piece& piece : group) {
        if (piece.outcome) piece.outcome = fail(ErrorCode::kUnavailable, "{}: it is not known whether this was recorded; look before it is repeated", done.error().message);
      }
      return Ending::kCommitted;
    }
    if (ending == Ending::kLost) return Ending::kLost;
  } else if (number) {
    const Rows rows = connection.rows(*number);
    if (!rows.empty()) follower_.rows_committed({RowReader(rows, 0).integer(), generation}, std::exchange(touched_, {}));
  }
  if (changed) crash_point("store.after-commit");
  return Ending::kCommitted;
}

PgStore::Ending PgStore::roll_back(std::vector<Piece>& group, const Error& why) {
  Connection& connection = *session_->connection;
  const bool conflict = connection.failure() && connection.failure()->conflict;
  static_cast<void>(connection.sync());
  connection.clear_failure();
  connection.control("ROLLBACK");
  if (!connection.sync()) return Ending::kLost;
  if (group.size() == 1) {
    Piece& piece = group.front();
    if (piece.outcome) piece.outcome = fail(why);
    piece.again = piece.again || conflict;
  }
  return Ending::kRolledBack;
}

// The connection was lost with a commit on its way: what has become of the transaction?
PgStore::Ending PgStore::find_out(const std::string& transaction_id) {
  if (transaction_id.empty()) return Ending::kUnknown;
  const auto until = std::chrono::steady_clock::now() + kFindOutFor;
  while (std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kFindOutPause);
    next_connect_ = {};
    be_connected();
    if (!session_) continue;
    const auto found = status_of(transaction_id);
    if (!found) continue;
    const std::string& status = *found;
    log::info(kLog, "the answer to a commit was lost; asked after it", {{"status", status}});
    if (status == "committed") return Ending::kCommitted;
    if (status == "aborted") return Ending::kLost;
    if (status.empty()) return Ending::kUnknown;
  }
  return Ending::kUnknown;
}

// As pg_xact_status() has it, empty if that was long ago; nullopt if nobody can be asked.
std::optional<std::string> PgStore::status_of(const std::string& transaction_id) {
  const auto rows = session_->connection->query("SELECT pg_xact_status($1::xid8)", Parameters().text(transaction_id));
  session_->connection->clear_failure();
  if (!rows || rows->empty()) return std::nullopt;
  return RowReader(*rows, 0).maybe_text().value_or("");
}

// Nothing of it was recorded: it is run again when the database is back.
void PgStore::put_back(std::vector<Piece> group) {
  std::vector<Piece> failed;
  {
    const std::lock_guard lock(mutex_);
    const auto too_long_ago = std::chrono::steady_clock::now() - kPatience;
    for (auto piece = group.rbegin(); piece != group.rend(); ++piece) {
      piece->outcome = {};
      if (piece->since < too_long_ago) {
        piece->outcome = fail(ErrorCode::kUnavailable, "the connection to the database was lost");
        failed.push_back(std::move(*piece));
      } else {
        again_.push_front(std::move(*piece));
      }
    }
    next_connect_ = {};
  }
  for (Piece& piece : failed) answer(std::move(piece));
}

void PgStore::answer(Piece piece) {
  if (!piece.outcome && std::exchange(piece.again, false) && piece.since + kPatience > std::chrono::steady_clock::now()) {
    const std::lock_guard lock(mutex_);
    if (!stopping_) {
      piece.outcome = {};
      piece.not_before = std::chrono::steady_clock::now() + kAgainAfter;
      again_.push_back(std::move(piece));
      return;
    }
  }
  --backlog_;
  if (piece.waiting) {
    piece.waiting->set_value(std::move(piece.outcome));
  } else if (piece.done) {
    post_([done = std::move(piece.done), outcome = std::move(piece.outcome)] { done(outcome); });
  }
}

void PgStore::settle() {
  if (!session_) return;
  bool look = false;
  {
    const std::lock_guard lock(mutex_);
    look = std::exchange(look_at_feed_, false);
  }
  // They may still be recorded, and nobody tells this cell of what it has done itself.
  std::erase_if(unknown_, [&](const std::string& transaction_id) {
    const auto status = status_of(transaction_id);
    if (!status || *status == "in progress") return false;
    log::info(kLog, "a commit whose answer was lost has ended", {{"status", *status}});
    return look = true;
  });
  follower_.settle(*session_->connection, session_->transaction, look);
}

void PgStore::hear(const Tidings& tidings) {
  const std::lock_guard lock(mutex_);
  if (!hear_) return unheard_.push_back(tidings);
  post_([hear = hear_, tidings] { hear(tidings); });
}

}  // namespace fleet::provisioner::postgres

namespace fleet::provisioner {

Result<std::unique_ptr<Store>> open_postgres_store(PostgresSettings postgres, StoreSettings settings,
                                                   std::function<void(std::function<void()>)> post) {
  const postgres::Address address{postgres.url, "provisioner " + postgres.cell};
  TRY_ASSIGN(auto connection, postgres::Connection::open(address));
  TRY(postgres::migrate(*connection));
  TRY_ASSIGN(postgres::CellIdentity cell, postgres::claim_cell(*connection, postgres.cell));
  auto projection = AdmissionProjection::open(settings);
  if (!projection) return fail(with_context(std::move(projection).error(), "admission projection"));
  log::info("store", "opened", {{"database", connection->name()}, {"cell", cell.name}});
  auto store = std::make_unique<postgres::PgStore>(address, std::move(connection), std::move(cell), std::move(*projection), std::move(post));
  TRY(store->start());
  return store;
}

}  // namespace fleet::provisioner
