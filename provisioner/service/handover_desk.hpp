// Hands owner credentials over to the owners' brokers, outside of all transactions: what is pending in the store is done,
// its outcome recorded, and what failed is tried again with growing pauses until its attempt has ended.
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
#include "provisioner/owner/connector.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// Single-threaded, on the thread of `io`; the connectors run on threads of their own. Everything it is given outlives it.
// One connector at a time works for a device, so that an older login never overtakes a newer one; and some at a time for
// an account, so that an owner whose broker hangs does not hold up the others.
class HandoverDesk {
 public:
  HandoverDesk(boost::asio::io_context& io, Store& store, const Executor& executor,
               std::function<void(Outcome)> deliver);
  ~HandoverDesk();

  // Takes up what an earlier run of the service has left.
  Result<void> start();
  // The attempt's credentials are pending in the store.
  void begin(std::int64_t attempt_id);
  // Ends connectors that still run.
  void stop();

 private:
  struct Job;
  struct Place {
    std::string client_id;
    std::string account;
  };
  void look_up(std::int64_t attempt_id);
  bool has_room_for(const Place& place) const;
  void give_back_place(std::int64_t attempt_id);
  void carry_out(std::int64_t attempt_id, OwnerConnector connector, OwnerLogin login);
  void on_result(std::int64_t attempt_id, const Result<void>& result);
  void record(std::int64_t attempt_id, const Result<void>& result);
  void try_again(std::int64_t attempt_id);

  boost::asio::io_context& io_;
  Store& store_;
  const Executor& executor_;
  std::function<void(Outcome)> deliver_;
  std::map<std::int64_t, std::unique_ptr<Job>> jobs_;  // by attempt
  std::map<std::int64_t, Place> running_;                // by attempt: whose turn it is; each has a thread to itself
  std::list<std::pair<std::int64_t, Place>> waiting_;    // for a place, in the order they came
  std::atomic<bool> stopping_ = false;
  boost::asio::thread_pool connectors_;
};

}  // namespace fleet::provisioner
