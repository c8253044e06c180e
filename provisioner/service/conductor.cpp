#include "provisioner/service/conductor.hpp"

#include <algorithm>
#include <utility>

#include "core/base/log.hpp"
#include "provisioner/service/broker_events.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kLog = "provisioning";
// What waited in the broker is over in any case by then, and before the first sweep.
constexpr Millis kLongestSettling{4000};
constexpr std::size_t kSweepLimit = 200;
// How exactly the store knows until when expiries have been looked after: so much is looked after again after a restart.
constexpr Seconds kExpiryNoted{60};
// Of one report of the plugin, which comes every second while there is something to tell.
constexpr std::size_t kEventsLogged = 16;
// What a device is told when its hello could not be kept (disk full, for one).
constexpr Seconds kNotNowRetry{30};

// Client ids of what has expired and may be connected still. `ended_until`: what expired up to then has been cut off in
// this run of the service; then the store is told so, from time to time, and only then: a kick is lost with the service.
// Without it, what the store was told last goes.
Result<std::vector<std::string>> find_expired(Transaction& tx, std::optional<WallTime> ended_until, WallTime now) {
  TRY_ASSIGN(const std::optional<WallTime> noted, tx.expiries_ended_until());
  // the clock may have been set back
  const WallTime since = std::min(ended_until ? *ended_until : noted.value_or(WallTime{}), now);
  const bool well_noted = noted && *noted <= since && since - *noted < kExpiryNoted;
  if (ended_until && !well_noted) TRY(tx.note_expiries_ended_until(since));
  return tx.expired_between(since, now);
}

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};

}  // namespace

Conductor::Conductor(boost::asio::io_context& io, ConductorSettings settings, Store& store, const Executor& executor,
                     const Dialect& dialect)
    : sweep_timer_(io),
      settle_timer_(io),
      settings_(std::move(settings)),
      store_(store),
      executor_(executor),
      dialect_(dialect),
      random_(std::random_device()()),
      expired_until_(settings_.broker_runs_alone ? std::nullopt : std::optional(wall_now())) {}

void Conductor::on_session(bool ready) {
  ++sessions_;
  settle_timer_.cancel();
  sweep_timer_.cancel();
  backlog_.begin();
  if (!ready || stopped_) return;
  settle_until(std::chrono::steady_clock::now() + kLongestSettling);
  put_off_deadlines();
}

// Until no message has come for a moment: then the broker's queue is empty.
void Conductor::settle_until(SteadyTime end) {
  settle_timer_.expires_after(settings_.quiet_moment);
  settle_timer_.async_wait([this, end, before = messages_](boost::system::error_code cancelled) {
    if (cancelled || stopped_) return;
    if (messages_ != before && std::chrono::steady_clock::now() < end) return settle_until(end);
    for (auto& [client_id, hello] : backlog_.release()) on_hello(client_id, std::move(hello));
  });
}

void Conductor::stop() {
  stopped_ = true;
  sweep_timer_.cancel();
  settle_timer_.cancel();
}

bool Conductor::submit(const std::string& client_id, Act act, Failed failed) {
  waiting_replies_.erase(client_id);  // what comes later is not said before this
  if (!shares_.take(client_id)) {
    // whatever matters is repeated
    if (dropped_.add()) {
      log::warn(kLog, "messages dropped: their device sends more than can be kept up with",
                {{"client", client_id}, {"so_far", dropped_.so_far()}});
    }
    return false;
  }
  auto outcome = std::make_shared<Outcome>();
  store_.submit(
      [act = std::move(act), outcome](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*outcome, act(tx));
        return {};
      },
      [this, client_id, outcome, failed = std::move(failed)](Result<void> done) {
        shares_.give_back(client_id);
        if (!shares_.has_some(client_id)) waiting_replies_.erase(client_id);
        pressure_.done(std::chrono::steady_clock::now());
        if (stopped_) return;
        if (!done) return failed(done.error());
        count_misses(*outcome);
        const Outcome::Secrets secrets = outcome->secrets;
        deliver(std::move(*outcome));
        judge_secrets(client_id, secrets);  // last: it may end the connection
      });
  return true;
}

void Conductor::count_misses(const Outcome& outcome) {
  if (outcome.misses == 0) return;
  if (misses_.add()) {
    log::warn(kLog, "replies to nothing that their sender was asked: a guess, or a device that comes very late",
              {{"so_far", misses_.so_far()}});
  }
}

void Conductor::deliver(Outcome outcome) {
  for (const Ending& ending : outcome.endings) {
    if (ending.state == AttemptState::kCompleted) {
      log::info(kLog, "provisioned", {{"request", ending.request}, {"client", ending.client_id}});
    } else {
      log::warn(kLog, "attempt ended", {{"request", ending.request}, {"client", ending.client_id},
                                        {"state", std::string(to_string(ending.state))}, {"why", ending.why}});
    }
  }
  for (const Outgoing& message : outcome.send) {
    if (!devices_->publish(message.topic, message.payload)) {
      log::debug(kLog, "message not sent: no connection to the broker; it is repeated later", {{"client", message.client_id}});
    }
  }
  for (const std::string& client_id : outcome.forgiven) lockout_.right(client_id);
  for (const std::string& client_id : outcome.kick) devices_->kick(client_id);
  for (const std::int64_t attempt_id : outcome.hand_over) {
    if (owners_.hand_over) owners_.hand_over(attempt_id);
  }
  for (const std::int64_t login_id : outcome.take_back) {
    if (owners_.take_back) owners_.take_back(login_id);
  }
}

void Conductor::on_message(Inbound inbound, Bytes payload) {
  ++messages_;
  const std::string client_id = std::move(inbound.client_id);
  InboundMessage message = read_inbound(settings_.account, settings_.provisioner_id, client_id, inbound.topic, payload);
  const auto report_failure = [client_id](const Error& error) {
    log::error(kLog, "message of a device not kept", {{"client", client_id}, {"why", error.message}});
  };
  std::visit(Overloaded{
                 [&](HelloIn& in) {
                   if (backlog_.holding()) return backlog_.hold(client_id, std::move(in.hello));
                   on_hello(client_id, std::move(in.hello));
                 },
                 [&](MalformedHelloIn& in) {
                   if (malformed_.add()) {
                     log::warn(kLog, "malformed hello",
                               {{"client", client_id}, {"why", in.why}, {"so_far", malformed_.so_far()}});
                   }
                   submit(
                       client_id,
                       [this, client_id, in = std::move(in)](Transaction& tx) {
                         return executor_.on_malformed_hello(tx, client_id, in.hello_id, in.nonce, in.why, wall_now());
                       },
                       report_failure);
                 },
                 [&](StepReplyIn& in) { on_reply(client_id, std::move(in.reply), report_failure); },
                 [&](JobNoticeIn& in) {
                   submit(
                       client_id,
                       [this, client_id, notice = std::move(in.notice)](Transaction& tx) {
                         return executor_.on_notice(tx, client_id, notice, wall_now());
                       },
                       report_failure);
                 },
                 [&](DeviceGoneIn& in) {
                   log::debug(kLog, in.said_goodbye ? "device said goodbye" : "device lost", {{"client", client_id}});
                 },
                 [&](Ignored& in) {
                   log::debug(kLog, "message ignored", {{"client", client_id}, {"why", in.why}});
                 },
             },
             message);
}

void Conductor::on_reply(const std::string& client_id, StepReply reply, Failed failed) {
  const auto waiting = waiting_replies_.find(client_id);
  if (waiting != waiting_replies_.end() && waiting->second->add(reply)) return;
  auto batch = std::make_shared<ReplyBatch>(std::move(reply));
  const bool taken = submit(
      client_id,
      [this, client_id, batch](Transaction& tx) {
        return executor_.on_replies(tx, client_id, batch->take(), wall_now());
      },
      std::move(failed));
  if (taken) waiting_replies_[client_id] = std::move(batch);
}

void Conductor::on_hello(const std::string& client_id, Hello hello) {
  Asker asker{client_id, hello.hello_id, hello.nonce};
  if (const auto pause = lockout_.pause_of(client_id, std::chrono::steady_clock::now())) {
    return refuse_locked_out(asker, *pause);
  }
  if (turn_away(asker)) return;
  log::debug(kLog, "hello", {{"client", client_id}, {"reason", hello.reason}});
  submit(client_id,
         [this, client_id, hello = std::move(hello)](
             Transaction& tx) { return executor_.on_hello(tx, client_id, hello, wall_now()); },
         [this, asker = std::move(asker)](const Error& error) { refuse_for_now(asker, error); });
}

void Conductor::refuse(const Asker& asker, AnswerDetails details) {
  if (!asker.hello_id) return;
  auto answer =
      dialect_.answer_message(asker.client_id, asker.nonce.value_or(Bytes()), *asker.hello_id, details, wall_now());
  if (answer) devices_->publish(answer->topic, answer->payload);
}

void Conductor::refuse_locked_out(const Asker& asker, Millis pause) {
  if (locked_out_.add()) {
    log::warn(kLog, "hellos of devices that are locked out",
              {{"client", asker.client_id}, {"for", format_duration(pause)}, {"so_far", locked_out_.so_far()}});
  }
  refuse(asker, {Answer::kTooMany, "too many wrong secrets in a row", std::chrono::ceil<Seconds>(pause)});
}

bool Conductor::turn_away(const Asker& asker) {
  const auto pause = pressure_.turn_away(store_.backlog(), random_());
  if (!pause) return false;
  // What waits already will be answered; saying so twice would only make the queue longer.
  if (shares_.has_some(asker.client_id)) return true;
  if (turned_away_.add()) {
    log::warn(kLog, "more devices than can be served at once: some are asked to come back",
              {{"client", asker.client_id}, {"retry_after", pause->count()}, {"waiting", store_.backlog()},
               {"so_far", turned_away_.so_far()}});
  }
  refuse(asker, {Answer::kNotNow, "the platform has more devices to serve than it can at once", *pause});
  return true;
}

void Conductor::refuse_for_now(const Asker& asker, const Error& error) {
  log::error(kLog, "hello not kept; the device is asked to come back",
             {{"client", asker.client_id}, {"why", error.message}, {"retry_after", kNotNowRetry.count()}});
  refuse(asker, {Answer::kNotNow, "the platform cannot record this now", kNotNowRetry});
}

void Conductor::judge_secrets(const std::string& client_id, Outcome::Secrets secrets) {
  if (secrets == Outcome::Secrets::kRight) lockout_.right(client_id);
  // what was on its way when the lockout began is no further try
  if (secrets != Outcome::Secrets::kWrong || lockout_.pause_of(client_id, std::chrono::steady_clock::now())) return;
  const auto lock = lockout_.wrong(client_id, std::chrono::steady_clock::now());
  if (!lock) return;
  const std::string text =
      fmt::format("{} wrong secrets in a row: hellos are refused for {}", lock->wrong_tries, format_duration(lock->pause));
  log::warn(kLog, "device locked out", {{"client", client_id}, {"why", text}});
  devices_->kick(client_id);
  record("lockout", [this, client_id, text](Transaction& tx) -> Result<void> {
    const WallTime now = wall_now();
    TRY(executor_.note(tx, client_id, "locked", text, "", now));
    return tx.add_audit({.at = now, .kind = "locked", .who = "provisioner", .client_id = client_id, .text = text});
  });
}

void Conductor::on_events(EventKind kind, const std::vector<BrokerEvent>& events) {
  std::size_t logged = 0;
  for (const BrokerEvent& event : events) {
    if (kind != EventKind::kConnected && kind != EventKind::kDisconnected && ++logged > kEventsLogged) {
      log::warn(kLog, "more of the same; see provisioner audit", {{"lines", events.size() - kEventsLogged}});
      break;
    }
    const std::initializer_list<log::Field> fields{
        {"client", event.client_id}, {"why", event.reason}, {"times", event.count}, {"from", event.address}};
    switch (kind) {
      case EventKind::kConnected: log::debug(kLog, "device connected", fields); break;
      case EventKind::kDisconnected: log::debug(kLog, "device disconnected", fields); break;
      case EventKind::kRefused: log::warn(kLog, "connection refused", fields); break;
      case EventKind::kDenied: log::warn(kLog, "action denied", fields); break;
      case EventKind::kLocked: log::warn(kLog, "locked out", fields); break;
    }
  }
  if (kind == EventKind::kConnected || kind == EventKind::kDisconnected) return;
  record("events of the broker", [this, kind, events](Transaction& tx) {
    return record_events(tx, executor_, kind, events, wall_now());
  });
}

// What is only told: a failure costs nothing but the line.
void Conductor::record(const char* what, Work work) {
  store_.submit(std::move(work), [what](Result<void> done) {
    if (!done) log::warn(kLog, "not recorded", {{"what", what}, {"why", done.error().message}});
  });
}

void Conductor::end_expired(std::vector<std::string> client_ids) {
  if (client_ids.empty()) return;
  for (const std::string& client_id : client_ids) devices_->kick(client_id);
  record("expiry", [client_ids = std::move(client_ids)](Transaction& tx) -> Result<void> {
    return record_expired(tx, client_ids, wall_now());
  });
}

void Conductor::after(Millis pause, void (Conductor::*what)()) {
  if (stopped_) return;
  sweep_timer_.expires_after(pause);
  sweep_timer_.async_wait([this, what, session = sessions_](boost::system::error_code cancelled) {
    if (!cancelled && session == sessions_) (this->*what)();
  });
}

void Conductor::put_off_deadlines() {
  store_.submit([this, now = wall_now()](Transaction& tx) { return executor_.on_return(tx, now); },
                [this, session = sessions_](Result<void> done) {
                  if (stopped_ || session != sessions_) return;
                  if (done) return after(settings_.first_sweep_after, &Conductor::sweep);
                  log::error(kLog, "overdue attempts are not looked after yet: their deadlines cannot be put off",
                             {{"why", done.error().message}});
                  after(settings_.first_sweep_after, &Conductor::put_off_deadlines);
                });
}

void Conductor::sweep() {
  struct Found {
    Executor::Swept swept;
    std::vector<std::string> expired;
  };
  auto found = std::make_shared<Found>();
  // Judged as of now: a reply that comes in while this waits in the queue shall not be too late for that.
  const WallTime now = wall_now();
  store_.submit(
      [this, found, now, expired_until = expired_until_](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(found->swept, executor_.sweep(tx, now, kSweepLimit));
        TRY_ASSIGN(found->expired, find_expired(tx, expired_until, now));
        return {};
      },
      [this, found, now, session = sessions_](Result<void> done) {
        if (stopped_) return;
        if (!done) {
          log::error(kLog, "overdue attempts not looked after", {{"why", done.error().message}});
          // Whatever keeps the store from that keeps it from recording devices' replies: nobody is late for it.
          if (session == sessions_) after(settings_.first_sweep_after, &Conductor::put_off_deadlines);
          return;
        }
        expired_until_ = now;
        end_expired(std::move(found->expired));
        deliver(std::move(found->swept.outcome));
        const bool more = found->swept.more;
        if (session == sessions_) after(more ? Millis(0) : settings_.sweep_every, &Conductor::sweep);
      });
}

}  // namespace fleet::provisioner
