// The store's writer: group commit, its repetition piece by piece, and what follows a lost connection. Private to
// provisioner/store_postgres.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/base/backoff.hpp"
#include "core/base/time.hpp"
#include "provisioner/store/admission_projection.hpp"
#include "provisioner/store/store.hpp"
#include "provisioner/store_postgres/connection.hpp"
#include "provisioner/store_postgres/feed.hpp"
#include "provisioner/store_postgres/follower.hpp"
#include "provisioner/store_postgres/heart.hpp"
#include "provisioner/store_postgres/pg_reader.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {

class PgStore final : public Store {
 public:
  using Post = std::function<void(std::function<void()>)>;
  PgStore(Address address, std::unique_ptr<Connection> connection, CellIdentity cell, std::unique_ptr<AdmissionProjection> projection,
          Post post);
  ~PgStore() override;

  // Once, before anything else.
  Result<void> start();

  void submit(Work work, Done done) override;
  void read(Work work, Done done) override { reader_->submit(std::move(work), std::move(done)); }
  Result<void> run(Work work) override;
  std::size_t backlog() const override { return backlog_; }
  void hear_other_cells(std::function<void(Tidings)> hear) override;
  std::optional<std::string> trouble() const override;

 private:
  struct Piece {
    Work work;
    Done done;                                            // carried by `post`; or
    std::shared_ptr<std::promise<Result<void>>> waiting;  // what run() waits for
    SteadyTime since = std::chrono::steady_clock::now();
    Result<void> outcome{};
    bool again = false;        // somebody was in the way
    SteadyTime not_before{};   // of one that is run again
  };
  // One connection's worth.
  struct Session {
    std::unique_ptr<Connection> connection;
    PgTransaction transaction;
    Session(std::unique_ptr<Connection> of, const CellIdentity& cell)
        : connection(std::move(of)), transaction(*connection, PgTransaction::Access::kWrite, cell) {}
  };
  // How a group ended.
  enum class Ending { kCommitted, kRolledBack, kLost, kUnknown };
  // How its pieces are told apart: not at all, unless one of them fails; or each by a savepoint.
  enum class Care { kNone, kEachPiece };

  void enqueue(Piece piece);
  std::optional<Piece> take();

  // All of the following on the writer's thread.
  void write();
  bool wait_for_work();
  void be_connected();
  void fail_what_waited_too_long();
  std::size_t work_off();
  // Takes from the queue too, with `gather`.
  Ending carry_out(std::vector<Piece>& group, Care care, bool gather);
  std::optional<Ending> carry_out(Piece& piece, std::size_t number, Care care);
  std::optional<Ending> undo(Piece& piece, std::size_t number);
  Ending commit(std::vector<Piece>& group);
  Ending roll_back(std::vector<Piece>& group, const Error& why);
  Ending find_out(const std::string& transaction_id);
  std::optional<std::string> status_of(const std::string& transaction_id);
  void put_back(std::vector<Piece> group);
  void answer(Piece piece);
  void settle();
  void hear(const Tidings& tidings);

  const Address address_;
  const CellIdentity cell_;
  std::unique_ptr<Session> session_;  // none while the database is away
  Follower follower_;
  Post post_;
  Backoff backoff_{.first = Millis(100), .limit = Millis(2000)};
  SteadyTime next_connect_{};
  SteadyTime next_group_{};
  SteadyTime rush_until_{};
  WantedRows touched_;  // by the group
  Tidings tidings_;
  std::uint64_t changes_before_ = 0;  // the group
  std::set<std::string> unknown_;     // transactions of which nobody could say whether they were recorded

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Piece> queue_;
  std::deque<Piece> again_;  // to be run again, in this order
  bool look_at_feed_ = true;
  bool idle_ = false;  // the writer waits for whatever comes
  bool stopping_ = false;
  std::optional<std::string> trouble_;
  std::function<void(Tidings)> hear_;
  std::vector<Tidings> unheard_;
  std::atomic<std::size_t> backlog_ = 0;
  std::unique_ptr<PgReader> reader_;
  std::unique_ptr<Heart> heart_;
  std::thread writer_;
};

}  // namespace fleet::provisioner::postgres
