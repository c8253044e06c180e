// Between broker and store: turns what arrives into work on the store, and what the work decided into messages, each only
// after its commit. Knows the dialect; decides nothing itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "provisioner/admission/events.hpp"
#include "provisioner/admission/lockout.hpp"
#include "provisioner/broker/session.hpp"
#include "provisioner/edc/inbound.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/service/hello_backlog.hpp"
#include "provisioner/service/limits.hpp"
#include "provisioner/service/pressure.hpp"
#include "provisioner/service/reply_batch.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

struct ConductorSettings {
  std::string account;
  std::string provisioner_id;
  // After each (re)connection, replies that waited in the broker come first: they are not late.
  Millis first_sweep_after{5000};
  Millis sweep_every{500};
  // What waited in the broker comes at once; it is over when so long nothing came.
  Millis quiet_moment{200};
  // The broker may have run without us: devices whose expiresOn passed meanwhile may still be connected. Otherwise it has
  // started with us, and has let in nobody whose time was over.
  bool broker_runs_alone = false;
};

// Who does what there is to do at owners' brokers (HandoverDesk).
struct OwnerDesk {
  std::function<void(std::int64_t attempt_id)> hand_over{};
  std::function<void(std::int64_t login_id)> take_back{};
};

// Single-threaded, on the thread of `io`. Everything it is given outlives it, and the store has run all its work before it
// goes (see stop()).
class Conductor {
 public:
  Conductor(boost::asio::io_context& io, ConductorSettings settings, Store& store, const Executor& executor,
            const Dialect& dialect);

  // The way out to devices, and to owners' brokers, if there is one; set once, before the first session.
  void connect(DeviceLink& devices, OwnerDesk owners = {}) {
    devices_ = &devices;
    owners_ = std::move(owners);
  }
  // The session is ready, or was lost. What waited in the broker is taken in before hellos are answered. Overdue
  // attempts are looked after only while there is a session: no device can be heard without one.
  void on_session(bool ready);
  void stop();

  void on_message(Inbound inbound, Bytes payload);
  void on_events(EventKind kind, const std::vector<BrokerEvent>& events);
  // Says and cuts off what an executor decided; the transaction is committed.
  void deliver(Outcome outcome);

 private:
  // Where a hello wants its answer.
  struct Asker {
    std::string client_id;
    std::optional<std::string> hello_id;
    std::optional<Bytes> nonce;
  };
  void on_hello(const std::string& client_id, Hello hello);
  void refuse(const Asker& asker, AnswerDetails details);
  void refuse_locked_out(const Asker& asker, Millis pause);
  // True if the hello was dealt with because too many others are waiting.
  bool turn_away(const Asker& asker);
  void refuse_for_now(const Asker& asker, const Error& error);
  // Counts wrong secrets; too many in a row lock the device out.
  void judge_secrets(const std::string& client_id, Outcome::Secrets secrets);
  void end_expired(std::vector<std::string> client_ids);
  void record(const char* what, Work work);
  // Runs `act` in the store and delivers its outcome after the commit; `failed` is called instead if it could not be kept.
  using Act = std::function<Result<Outcome>(Transaction&)>;
  using Failed = std::function<void(const Error&)>;
  // False, and nothing comes of it, if the device has its share of work in hand.
  bool submit(const std::string& client_id, Act act, Failed failed);
  void on_reply(const std::string& client_id, StepReply reply, Failed failed);
  void count_misses(const Outcome& outcome);
  void settle_until(SteadyTime end);
  void put_off_deadlines();
  void after(Millis pause, void (Conductor::*what)());
  void sweep();

  boost::asio::steady_timer sweep_timer_;
  boost::asio::steady_timer settle_timer_;
  ConductorSettings settings_;
  Store& store_;
  const Executor& executor_;
  const Dialect& dialect_;
  HelloBacklog backlog_;
  std::uint64_t messages_ = 0;  // of devices, so far
  DeviceLink* devices_ = nullptr;
  OwnerDesk owners_;
  std::uint64_t sessions_ = 0;  // ready or lost, so far: what was begun under another number is void
  DeviceShares shares_;
  // Of each device whose last piece of work in hand is replies; it may have been taken.
  std::unordered_map<std::string, std::shared_ptr<ReplyBatch>> waiting_replies_;
  Pressure pressure_;
  std::minstd_rand random_;
  // since the start:
  Occurrences misses_;   // replies that fit nothing that their sender was asked (edc §3)
  Occurrences dropped_;  // messages of devices that had their share in hand
  Occurrences malformed_;
  Occurrences turned_away_;  // hellos, in a rush
  Occurrences locked_out_;  // hellos of devices that were locked out
  // By client id: the broker has admitted them, so nobody else can bring this about. Checked before any hash.
  Lockout lockout_;
  // Live connections of what expired up to then have been ended; none: the store knows.
  std::optional<WallTime> expired_until_;
  bool stopped_ = false;
};

}  // namespace fleet::provisioner
