#include "provisioner/service/conductor.hpp"

#include <utility>

#include "core/base/log.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kLog = "provisioning";
// What waited in the broker comes at once; it is over when so long nothing came, and in any case before the first sweep.
constexpr Millis kQuietMoment{200};
constexpr Millis kLongestSettling{4000};
constexpr std::size_t kSweepLimit = 200;
// What a device is told when its hello could not be kept (disk full, for one).
constexpr Seconds kNotNowRetry{30};

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};

}  // namespace

Conductor::Conductor(boost::asio::io_context& io, ConductorSettings settings, Store& store, const Executor& executor,
                     const Dialect& dialect)
    : sweep_timer_(io), settle_timer_(io), settings_(std::move(settings)), store_(store), executor_(executor), dialect_(dialect) {}

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
  settle_timer_.expires_after(kQuietMoment);
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

void Conductor::submit(const std::string& client_id, Act act, Failed failed) {
  if (!shares_.take(client_id)) {
    // whatever matters is repeated
    if (dropped_.add()) {
      log::warn(kLog, "messages dropped: their device sends more than can be kept up with",
                {{"client", client_id}, {"so_far", dropped_.so_far()}});
    }
    return;
  }
  auto outcome = std::make_shared<Outcome>();
  store_.submit(
      [act = std::move(act), outcome](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*outcome, act(tx));
        return {};
      },
      [this, client_id, outcome, failed = std::move(failed)](Result<void> done) {
        shares_.give_back(client_id);
        if (stopped_) return;
        if (!done) return failed(done.error());
        count_misses(*outcome);
        deliver(std::move(*outcome));
      });
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
    if (!session_->publish(message.topic, message.payload)) {
      log::debug(kLog, "message not sent: no connection to the broker; it is repeated later", {{"client", message.client_id}});
    }
  }
  for (const std::string& client_id : outcome.kick) session_->kick(client_id);
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
                 [&](StepReplyIn& in) {
                   submit(
                       client_id,
                       [this, client_id, reply = std::move(in.reply)](Transaction& tx) {
                         return executor_.on_reply(tx, client_id, reply, wall_now());
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

void Conductor::on_hello(const std::string& client_id, Hello hello) {
  log::debug(kLog, "hello", {{"client", client_id}, {"reason", hello.reason}});
  const auto hello_id = hello.hello_id;
  const auto nonce = hello.nonce;
  submit(client_id,
         [this, client_id, hello = std::move(hello)](
             Transaction& tx) { return executor_.on_hello(tx, client_id, hello, wall_now()); },
         [this, client_id, hello_id, nonce](const Error& error) { refuse_for_now(client_id, hello_id, nonce, error); });
}

void Conductor::refuse_for_now(const std::string& client_id, const std::optional<std::string>& hello_id,
                               const std::optional<Bytes>& nonce, const Error& error) {
  log::error(kLog, "hello not kept; the device is asked to come back",
             {{"client", client_id}, {"why", error.message}, {"retry_after", kNotNowRetry.count()}});
  if (!hello_id) return;
  AnswerDetails details;
  details.answer = Answer::kNotNow;
  details.message = "the platform cannot record this now";
  details.retry_after = kNotNowRetry;
  auto answer = dialect_.answer_message(client_id, nonce.value_or(Bytes()), *hello_id, details, wall_now());
  if (answer) session_->publish(answer->topic, answer->payload);
}

void Conductor::on_events(EventKind kind, const std::vector<BrokerEvent>& events) {
  for (const BrokerEvent& event : events) {
    const std::initializer_list<log::Field> fields{
        {"client", event.client_id}, {"why", event.reason}, {"times", event.count}, {"from", event.address}};
    switch (kind) {
      case EventKind::kConnected: log::debug(kLog, "device connected", fields); continue;
      case EventKind::kDisconnected: log::debug(kLog, "device disconnected", fields); continue;
      case EventKind::kRefused: log::warn(kLog, "connection refused", fields); break;
      case EventKind::kDenied: log::warn(kLog, "action denied", fields); break;
    }
    const std::string kind_name = kind == EventKind::kRefused ? "refused" : "denied";
    std::string text = kind == EventKind::kRefused
                           ? fmt::format("connection refused by the broker: {}", event.reason)
                           : fmt::format("denied by the broker: {}", event.reason);
    if (event.count > 1) text += fmt::format(" ({} times)", event.count);
    if (!event.address.empty()) text += fmt::format(", from {}", event.address);
    store_.submit(
        [this, client_id = event.client_id, kind_name, text](Transaction& tx) {
          return executor_.note(tx, client_id, kind_name, text, wall_now());
        },
        [](Result<void> done) {
          if (!done) log::warn(kLog, "refusal not recorded", {{"why", done.error().message}});
        });
  }
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
  auto swept = std::make_shared<Executor::Swept>();
  store_.submit(
      // Judged as of now: a reply that comes in while this waits in the queue shall not be too late for that.
      [this, swept, now = wall_now()](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(*swept, executor_.sweep(tx, now, kSweepLimit));
        return {};
      },
      [this, swept, session = sessions_](Result<void> done) {
        if (stopped_) return;
        if (!done) {
          log::error(kLog, "overdue attempts not looked after", {{"why", done.error().message}});
        } else {
          deliver(std::move(swept->outcome));
        }
        if (session == sessions_) after(done && swept->more ? Millis(0) : settings_.sweep_every, &Conductor::sweep);
      });
}

}  // namespace fleet::provisioner
