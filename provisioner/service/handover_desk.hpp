// Does what there is to do at owners' brokers, outside of all transactions: hands logins over and takes them back. What is
// pending in the store is done, its outcome recorded, and what failed is tried again with growing pauses until it is done or
// of no use any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "core/base/result.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/service/owner_errands.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// Single-threaded, on the thread of `io`; the connectors run on threads of their own. Everything it is given outlives it.
// One connector at a time works for a device, in the order in which the store came to want it, so that an older login never
// overtakes a newer one; and some at a time for an account, so that an owner whose broker hangs does not hold up the others.
class HandoverDesk {
 public:
  static constexpr std::size_t kConnectors = 4;           // at a time
  static constexpr std::size_t kConnectorsOfAccount = 2;  // at a time

  HandoverDesk(boost::asio::io_context& io, Store& store, const Executor& executor,
               std::function<void(Outcome)> deliver, DoErrand do_errand = do_by_connector);
  ~HandoverDesk();

  // Takes up what an earlier run of the service has left; and, with `look_again`, every so often what cells that have died
  // meanwhile have left.
  Result<void> start(Millis look_again = Millis(0));
  // Called after the commit that makes it so: the attempt's login is to be handed over; that login is to be taken back.
  void hand_over(std::int64_t attempt_id) { begin({OwnerTask::Kind::kHandOver, attempt_id}); }
  void take_back(std::int64_t login_id) { begin({OwnerTask::Kind::kTakeBack, login_id}); }
  // Ends connectors that still run.
  void stop();

 private:
  struct Job;
  struct Place {
    std::string client_id;
    std::string account;
  };
  void look_again_after(Millis pause);
  void begin(OwnerTask task);
  void look_up(OwnerTask task);
  void on_looked_up(OwnerTask task, LookedUp found);
  bool has_room_for(const Place& place) const;
  void give_back_place(OwnerTask task);
  void carry_out(OwnerTask task, OwnerErrand errand);
  void on_result(OwnerTask task, const Result<void>& result);
  void try_again(OwnerTask task);

  boost::asio::io_context& io_;
  Store& store_;
  const Executor& executor_;
  std::function<void(Outcome)> deliver_;
  DoErrand do_errand_;
  std::map<OwnerTask, std::unique_ptr<Job>> jobs_;
  std::map<OwnerTask, Place> running_;                // whose turn it is; each has a thread to itself
  std::list<std::pair<OwnerTask, Place>> waiting_;    // for a place, in the order they came
  boost::asio::steady_timer look_again_;
  std::atomic<bool> stopping_ = false;
  boost::asio::thread_pool connectors_;
};

}  // namespace fleet::provisioner
