// The rules of a session, one call of Session::handle() at a time. Private to this folder.
//
//   session.cpp   events and timers by phase; the owner's side
//   attempt.cpp   one attempt: hello, its answers, how it ends
//   requests.cpp  the platform's signed requests
//   packages.cpp  applications: their requests, and what becomes of them
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/session/session.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::agent {

inline constexpr std::string_view kOwnerUnreachable = "owner-unreachable";
// What helps a device whose request is COMPLETED and whose owner's broker does not take it.
inline constexpr std::string_view kArmRequest = "an operator can arm the request with: provisioner retry request";
inline constexpr Millis kConfRepeat{5'000};  // edc §4, end
// How long an attempt goes on after a refusal of ours: the platform may repeat once what it has already sent.
inline constexpr Millis kRefusalLinger{15'000};

inline constexpr std::string_view kRefusedBefore = "an earlier request of this attempt was refused";

// Text from outside as it may stand in a log line and in the state: UTF-8, no control characters, at most 300 bytes.
std::string printable(std::string_view text);

class Session::Step {
 public:
  Step(Session& session, const Now& now)
      : config_(*session.config_),
        state_(session.state_),
        live_(session.live_),
        now_(now),
        dirty_(session.live_.unsaved) {}

  // One overload an event.
  void on(const Started& event);
  void on(const ProvisionConnected& event);
  void on(const ProvisionRefused& event);
  void on(const ProvisionUnreachable& event);
  void on(const ProvisionLost& event);
  void on(const ProvisionSubscribed& event);
  void on(const ProvisionMessage& event);
  void on(const Installed& event);
  void on(const PackageProgress& event);
  void on(const PackageDone& event);
  void on(const PackageFailed& event);
  void on(const OwnerBorn& event);
  void on(const OwnerFailed& event);
  void on(const RolledBack& event);
  void on(const TimerFired& event);
  void on(const SaveFailed& event);

  // Saves what has changed, sets the alarm, and hands over the effects.
  Effects finish();

 private:
  // A request of the platform that has the right form and nonce; not yet authenticated.
  struct Request {
    std::string_view topic_text;
    const protocol::RequestTopic& topic;
    const protocol::KuraPayload& payload;
    const protocol::RequestHead& head;
  };
  // The reply, or none if it comes later; an Error is a refusal.
  using Answer = Result<std::optional<protocol::Reply>>;
  struct Route {
    std::string_view app, method, resource;
    Answer (Step::*handler)(const Request&);
  };
  static const std::array<Route, 8> kRoutes;

  // What a failed attempt means for the count.
  enum class Fault {
    kNone,     // nobody's: not counted
    kPassing,  // counted, but no reason to give up for good: nobody who has proved to be the platform said so
    kCounted,
  };

  // --- the step itself (session.cpp)
  SessionState& change();    // the state, to be changed: saved before the next act()
  void act(Effect effect);   // something that others see
  void push(Effect effect);  // something that needs no saved state
  void note(std::string text) { push(Report{false, std::move(text)}); }
  void problem(std::string text) { push(Report{true, std::move(text)}); }
  void set(Timer timer, Millis pause) { timer_slot(timer) = now_.steady + pause; }
  void clear(Timer timer) { timer_slot(timer).reset(); }
  bool is_set(Timer timer) const { return live_.timers[static_cast<std::size_t>(timer)].has_value(); }
  std::optional<SteadyTime>& timer_slot(Timer timer) { return live_.timers[static_cast<std::size_t>(timer)]; }
  void fired(Timer timer);
  void never_subscribed();
  void stay_on_trial();  // although the state could not be saved
  WallTime verification_time() const;  // edc: max(clock, build time, last time)
  Phase resumed_phase() const;
  void record_failure(std::string what);

  // --- the owner's side (session.cpp)
  void await_owner();  // the attempt has done its work
  void connect_owner();
  void retry_owner();  // after a pause
  void watch_owner();  // starts the time that owner_timeout limits, from state_.owner_since
  // An attempt that asks the platform for help has ended; at least `pause` before the next one.
  void back_to_owner(std::string answer, Millis pause);
  bool is_for_owner() const;  // the attempt under way asks the platform for help
  std::string owner_failure() const;

  // --- attempt.cpp
  void begin_attempt(std::string_view reason);
  std::string_view next_reason() const;
  void connect();
  void reconnect_later(std::string_view why);
  void hello();  // what is due after each SUBACK and repeated while unanswered
  void send_prov();
  void timed_out();
  void on_prov_answer(const protocol::ReplyTopic& topic, std::string_view topic_text,
                      const protocol::KuraPayload& payload);
  void refused_by_platform(const protocol::Reply& reply, bool verified);
  void fail_attempt(std::string why, Fault fault, std::optional<Millis> pause = std::nullopt);
  void wait(Millis pause);
  void forget_attempt();  // the part of it that is not in the state
  bool in_attempt() const;
  // A generation is on trial or in force: nothing but its outcome, the 200 or time ends the attempt any more.
  bool is_beyond_recall() const;

  // --- requests.cpp
  void drop(std::string_view topic, std::string_view why);
  void on_request(const protocol::RequestTopic& topic, std::string_view topic_text,
                  const protocol::KuraPayload& payload);
  void first_certificates(const Request& request);
  void handle_request(const Request& request);
  Result<void> check_nonce(const std::optional<Bytes>& nonce) const;
  Result<void> verify_accepted(std::string_view topic, const protocol::KuraPayload& payload) const;
  Result<void> trust(const std::vector<crypto::Certificate>& chain, WallTime when) const;
  bool is_other_trusted_signer(const Request& request) const;
  bool repeat_reply(const std::string& request_id);
  void reply_to(const Owed& owed, const protocol::Reply& reply);
  void reply_to(const Owed& owed, const protocol::KuraPayload& reply);
  void refuse(const Owed& owed, std::int32_t code, std::string why);
  Owed owed_for(const Request& request) const;
  Answer put_certificates(const Request& request);
  void begin_plan();
  Answer post_private_key(const Request& request);
  Answer post_trusted_certificate(const Request& request);
  Answer post_csr(const Request& request);
  Answer put_configurations(const Request& request);
  void install(Owed owed, protocol::Configurations configurations);

  // --- packages.cpp
  Answer exec_download(const Request& request);
  Answer exec_install(const Request& request);
  Answer exec_inline(const Request& request);
  Result<void> check_job(const PackageJob& job) const;
  void accept_job(const Request& request, PackageJob job);
  void fetch(const PackageJob& job, std::string file_name = {}, Bytes content = {});
  void resume_packages();  // those that the last run of the process had not ended
  PackageJob* find_job(std::string_view key);
  bool has_running_job() const;
  PublishProvision notification(const PackageJob& job, protocol::DeployStage stage, int percent,
                                protocol::DeployStatus status, std::string error) const;
  void notify(const PackageJob& job, protocol::DeployStage stage, int percent, protocol::DeployStatus status,
              std::string error = {});
  void tell_outcome(const PackageJob& job, protocol::DeployStage from = protocol::DeployStage::kDownload);
  void tell_outcomes();  // of all jobs: a notification has no reply, so one that was lost is not asked for again
  void end_job(PackageJob& job, protocol::DeployStatus outcome);
  void show_life();                               // of a package: `timeout` begins anew
  Effects packages_farewell(const std::string& why) const;  // to be carried out when the attempt ends without them

  const SessionConfig& config_;
  SessionState& state_;
  Live& live_;
  const Now& now_;
  Effects effects_;
  bool dirty_;
  bool can_save_ = true;
  bool saved_in_this_step_ = false;
};

}  // namespace fleet::agent
