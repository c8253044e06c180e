#include "provisioner/service/handover_desk.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include <boost/asio/post.hpp>

#include "core/base/log.hpp"
#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kLog = "handover";
constexpr std::size_t kConnectors = 4;            // at a time
constexpr std::size_t kConnectorsOfAccount = 2;  // at a time
constexpr Millis kFirstPause{1000};
constexpr Millis kLongestPause{60'000};

struct Errand {
  OwnerConnector connector;
  OwnerLogin login;
  std::optional<std::string> void_because;  // it cannot be done any more
};

// nullopt: there is nothing to hand over any more.
Result<std::optional<Errand>> errand_of(Transaction& tx, std::int64_t attempt_id) {
  TRY_ASSIGN(std::optional<Attempt> attempt, tx.find_attempt(attempt_id));
  if (!attempt || attempt->state != AttemptState::kOpen || attempt->handover != Handover::kPending) {
    return std::optional<Errand>();
  }
  TRY_ASSIGN(const std::optional<ProvisionRequest> request, tx.find_request(attempt->request_id));
  if (!request) return std::optional<Errand>();
  TRY_ASSIGN(const std::optional<Profile> profile, tx.find_profile(request->profile));
  if (!profile) return std::optional<Errand>();
  TRY_ASSIGN(std::optional<Account> account, tx.find_account(profile->account));
  if (!account) return std::optional<Errand>();
  // read before the attempt's password moves away
  std::optional<std::string> void_because = not_of(*attempt, *account);
  return std::optional(Errand{std::move(account->connector),
                              {account->name, request->client_id, attempt->owner_username,
                               std::move(attempt->owner_password), account->strict},
                              std::move(void_because)});
}

}  // namespace

struct HandoverDesk::Job {
  explicit Job(boost::asio::io_context& io) : timer(io) {}
  boost::asio::steady_timer timer;
  Millis pause = kFirstPause;
};

HandoverDesk::HandoverDesk(boost::asio::io_context& io, Store& store, const Executor& executor,
                           std::function<void(Outcome)> deliver)
    : io_(io), store_(store), executor_(executor), deliver_(std::move(deliver)), connectors_(kConnectors) {}

HandoverDesk::~HandoverDesk() {
  stop();
}

Result<void> HandoverDesk::start() {
  std::vector<Attempt> pending;
  TRY(store_.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(pending, tx.attempts_to_hand_over());
    return {};
  }));
  for (const Attempt& attempt : pending) begin(attempt.id);
  return {};
}

void HandoverDesk::begin(std::int64_t attempt_id) {
  if (stopping_ || jobs_.contains(attempt_id)) return;
  jobs_[attempt_id] = std::make_unique<Job>(io_);
  look_up(attempt_id);
}

void HandoverDesk::look_up(std::int64_t attempt_id) {
  auto errand = std::make_shared<std::optional<Errand>>();
  auto outcome = std::make_shared<Outcome>();
  store_.submit(
      [this, errand, outcome, attempt_id](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*errand, errand_of(tx, attempt_id));
        if (*errand && (*errand)->void_because) {
          TRY_ASSIGN(*outcome, executor_.on_handover_void(tx, attempt_id, *(*errand)->void_because, wall_now()));
          errand->reset();
        }
        return {};
      },
      [this, errand, outcome, attempt_id](const Result<void>& done) {
        if (stopping_) return;
        if (!done || !*errand) {
          give_back_place(attempt_id);
          if (!done) return on_result(attempt_id, done);
          jobs_.erase(attempt_id);
          return deliver_(std::move(*outcome));
        }
        const OwnerLogin& login = (*errand)->login;
        if (!running_.contains(attempt_id)) {
          Place place{login.client_id, login.account};
          if (!has_room_for(place)) {
            waiting_.emplace_back(attempt_id, std::move(place));
            return;
          }
          running_.emplace(attempt_id, std::move(place));
        }
        carry_out(attempt_id, std::move((*errand)->connector), std::move((*errand)->login));
      });
}

bool HandoverDesk::has_room_for(const Place& place) const {
  if (running_.size() >= kConnectors) return false;
  std::size_t of_account = 0;
  for (const auto& [attempt_id, running] : running_) {
    if (running.client_id == place.client_id) return false;
    if (running.account == place.account) ++of_account;
  }
  return of_account < kConnectorsOfAccount;
}

void HandoverDesk::give_back_place(std::int64_t attempt_id) {
  if (running_.erase(attempt_id) == 0) return;
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    if (!has_room_for(next->second)) {
      ++next;
      continue;
    }
    const std::int64_t next_id = next->first;
    running_.emplace(next_id, std::move(next->second));
    next = waiting_.erase(next);
    look_up(next_id);  // while it waited its attempt may have ended
  }
}

void HandoverDesk::carry_out(std::int64_t attempt_id, OwnerConnector connector, OwnerLogin login) {
  boost::asio::post(connectors_, [this, attempt_id, connector = std::move(connector), login = std::move(login)] {
    auto result = stopping_ ? Result<void>(fail(ErrorCode::kUnavailable, "the service stops"))
                            : hand_over(connector, login, stopping_);
    boost::asio::post(io_, [this, attempt_id, result = std::move(result)] {
      if (stopping_) return;
      give_back_place(attempt_id);
      on_result(attempt_id, result);
    });
  });
}

void HandoverDesk::on_result(std::int64_t attempt_id, const Result<void>& result) {
  if (!result) log::warn(kLog, "credentials not handed over", {{"attempt", attempt_id}, {"why", result.error().message}});
  record(attempt_id, result);
}

void HandoverDesk::record(std::int64_t attempt_id, const Result<void>& result) {
  auto outcome = std::make_shared<Outcome>();
  store_.submit(
      [this, outcome, attempt_id, result](Transaction& tx) -> Result<void> {
        if (result) {
          TRY_ASSIGN(*outcome, executor_.on_handed_over(tx, attempt_id, wall_now()));
        } else {
          TRY_ASSIGN(*outcome, executor_.on_not_handed_over(tx, attempt_id, result.error().message, wall_now()));
        }
        return {};
      },
      [this, outcome, attempt_id, handed_over = result.has_value()](const Result<void>& done) {
        if (stopping_) return;
        // not recorded: it is handed over once more, which is harmless
        if (!done || !handed_over) return try_again(attempt_id);
        jobs_.erase(attempt_id);
        deliver_(std::move(*outcome));
      });
}

void HandoverDesk::try_again(std::int64_t attempt_id) {
  const auto found = jobs_.find(attempt_id);
  if (found == jobs_.end()) return;
  Job& job = *found->second;
  job.timer.expires_after(job.pause);
  job.pause = std::min(job.pause * 2, kLongestPause);
  job.timer.async_wait([this, attempt_id](boost::system::error_code cancelled) {
    if (!cancelled && !stopping_) look_up(attempt_id);
  });
}

void HandoverDesk::stop() {
  stopping_ = true;
  jobs_.clear();
  waiting_.clear();
  connectors_.join();
}

}  // namespace fleet::provisioner
