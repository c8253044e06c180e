#include "provisioner/service/handover_desk.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <boost/asio/post.hpp>

#include "core/base/log.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kLog = "handover";
constexpr Millis kFirstPause{1000};
constexpr Millis kLongestPause{60'000};

}  // namespace

struct HandoverDesk::Job {
  explicit Job(boost::asio::io_context& io) : timer(io) {}
  boost::asio::steady_timer timer;
  Millis pause = kFirstPause;
  std::int64_t fence = 0;  // of the attempt as it was last looked up
};

HandoverDesk::HandoverDesk(boost::asio::io_context& io, Store& store, const Executor& executor,
                           std::function<void(Outcome)> deliver, DoErrand do_errand)
    : io_(io),
      store_(store),
      executor_(executor),
      deliver_(std::move(deliver)),
      do_errand_(std::move(do_errand)),
      look_again_(io),
      connectors_(kConnectors) {}

HandoverDesk::~HandoverDesk() {
  stop();
}

Result<void> HandoverDesk::start(Millis look_again) {
  std::vector<OwnerTask> tasks;
  TRY(store_.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(tasks, owner_tasks(tx));
    return {};
  }));
  for (const OwnerTask& task : tasks) begin(task);
  if (look_again > Millis(0)) look_again_after(look_again);
  return {};
}

void HandoverDesk::look_again_after(Millis pause) {
  look_again_.expires_after(pause);
  look_again_.async_wait([this, pause](boost::system::error_code cancelled) {
    if (cancelled || stopping_) return;
    auto tasks = std::make_shared<std::vector<OwnerTask>>();
    store_.submit(
        [tasks](Transaction& tx) -> Result<void> {
          TRY_ASSIGN(*tasks, owner_tasks(tx));
          return {};
        },
        [this, tasks, pause](const Result<void>& done) {
          if (stopping_) return;
          if (!done) tasks->clear();
          for (const OwnerTask& task : *tasks) begin(task);
          look_again_after(pause);
        });
  });
}

void HandoverDesk::begin(OwnerTask task) {
  if (stopping_ || jobs_.contains(task)) return;
  jobs_[task] = std::make_unique<Job>(io_);
  look_up(task);
}

void HandoverDesk::look_up(OwnerTask task) {
  auto found = std::make_shared<LookedUp>();
  store_.submit(
      [this, found, task](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*found, provisioner::look_up(tx, executor_, task, wall_now()));
        return {};
      },
      [this, found, task](const Result<void>& done) {
        if (stopping_) return;
        if (done) return on_looked_up(task, std::move(*found));
        give_back_place(task);
        on_result(task, done);
      });
}

void HandoverDesk::on_looked_up(OwnerTask task, LookedUp found) {
  if (!found.errand) {
    give_back_place(task);
    jobs_.erase(task);
    return deliver_(std::move(found.outcome));
  }
  if (!running_.contains(task)) {
    Place place{found.errand->login.client_id, found.errand->login.account};
    if (!has_room_for(place)) {
      waiting_.emplace_back(task, std::move(place));
      return;
    }
    running_.emplace(task, std::move(place));
  }
  carry_out(task, std::move(*found.errand));
}

bool HandoverDesk::has_room_for(const Place& place) const {
  if (running_.size() >= kConnectors) return false;
  std::size_t of_account = 0;
  for (const auto& [task, running] : running_) {
    if (running.client_id == place.client_id) return false;
    if (running.account == place.account) ++of_account;
  }
  return of_account < kConnectorsOfAccount;
}

void HandoverDesk::give_back_place(OwnerTask task) {
  if (running_.erase(task) == 0) return;
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    if (!has_room_for(next->second)) {
      ++next;
      continue;
    }
    const OwnerTask next_task = next->first;
    running_.emplace(next_task, std::move(next->second));
    next = waiting_.erase(next);
    look_up(next_task);  // while it waited it may have become of no use
  }
}

void HandoverDesk::carry_out(OwnerTask task, OwnerErrand errand) {
  if (const auto job = jobs_.find(task); job != jobs_.end()) job->second->fence = errand.fence;
  boost::asio::post(connectors_, [this, task, errand = std::move(errand)] {
    auto result = stopping_ ? Result<void>(fail(ErrorCode::kUnavailable, "the service stops"))
                            : do_errand_(errand, stopping_);
    boost::asio::post(io_, [this, task, result = std::move(result)] {
      if (stopping_) return;
      give_back_place(task);
      on_result(task, result);
    });
  });
}

void HandoverDesk::on_result(OwnerTask task, const Result<void>& result) {
  const auto job = jobs_.find(task);
  const bool first_try = job != jobs_.end() && job->second->pause == kFirstPause;
  if (!result) {
    log::warn(kLog, "an owner's broker was not told",
              {{"task", std::string(to_string(task.kind))}, {"id", task.id}, {"why", result.error().message}});
  }
  const std::int64_t fence = job != jobs_.end() ? job->second->fence : 0;
  auto outcome = std::make_shared<Outcome>();
  store_.submit(
      [this, outcome, task, result, fence, first_try](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*outcome, record(tx, executor_, task, result, fence, first_try, wall_now()));
        return {};
      },
      [this, outcome, task, succeeded = result.has_value()](const Result<void>& done) {
        if (stopping_) return;
        // not recorded: it is done once more, which is harmless
        if (!done || !succeeded) return try_again(task);
        jobs_.erase(task);
        deliver_(std::move(*outcome));
      });
}

void HandoverDesk::try_again(OwnerTask task) {
  const auto found = jobs_.find(task);
  if (found == jobs_.end()) return;
  Job& job = *found->second;
  job.timer.expires_after(job.pause);
  job.pause = std::min(job.pause * 2, kLongestPause);
  job.timer.async_wait([this, task](boost::system::error_code cancelled) {
    if (!cancelled && !stopping_) look_up(task);
  });
}

void HandoverDesk::stop() {
  stopping_ = true;
  look_again_.cancel();
  jobs_.clear();
  waiting_.clear();
  connectors_.join();
}

}  // namespace fleet::provisioner
