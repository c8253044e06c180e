#include "agent/session/session.hpp"

#include <algorithm>

#include "agent/session/step.hpp"

namespace fleet::agent {
namespace {

constexpr Millis kMinPause{100};
constexpr Millis kSaveRetry{30'000};
constexpr Millis kSubscribeLimit{30'000};  // for the SUBACK
constexpr Millis kOwnerPauseLimit{50'000};  // at most a minute with its jitter
constexpr Millis kAskPauseLimit{3'600'000};

// Which of the two brokers a phase deals with: events from the other one come too late and mean nothing.
enum class Side { kNone, kProvision, kOwner };

struct PhaseRow {
  Phase phase;
  std::string_view name;
  Side side;
};
constexpr std::array<PhaseRow, 9> kPhases{{
    {Phase::kDisabled, "disabled", Side::kNone},
    {Phase::kWaiting, "waiting", Side::kNone},
    {Phase::kConnecting, "connecting", Side::kProvision},
    {Phase::kHello, "hello", Side::kProvision},
    {Phase::kInstalling, "installing", Side::kProvision},
    {Phase::kConfirming, "confirming", Side::kProvision},
    {Phase::kAwaitingOwner, "awaiting-owner", Side::kOwner},
    {Phase::kProvisioned, "provisioned", Side::kOwner},
    {Phase::kGaveUp, "gave-up", Side::kNone},
}};
constexpr bool in_order() {
  for (std::size_t i = 0; i < kPhases.size(); ++i) {
    if (static_cast<std::size_t>(kPhases[i].phase) != i) return false;
  }
  return true;
}
static_assert(in_order(), "kPhases is indexed by Phase");

Side side_of(Phase phase) {
  return kPhases[static_cast<std::size_t>(phase)].side;
}

// For a person: what happened and which setting to look at.
std::string unreachable(const Error& error) {
  const bool untrusted = error.code == ErrorCode::kUnauthenticated;
  return fmt::format("the provision broker cannot be reached: {}; check {}", printable(error.message),
                     untrusted ? "broker-ca-file, and that broker-url has the name in the broker's certificate"
                               : "broker-url, and that the broker is up");
}

std::string not_taken(const Error& error, std::string_view client_id) {
  const std::string what = fmt::format("the owner's broker did not take us: {}; check ", printable(error.message));
  if (error.code == ErrorCode::kUnauthenticated) {
    return what + fmt::format("that it admits client id {} with the credentials of the account", client_id);
  }
  return what + "the account's broker url and CA on the platform, or that the broker is up";
}

}  // namespace

std::string_view to_string(Phase phase) {
  return kPhases[static_cast<std::size_t>(phase)].name;
}

Result<Phase> parse_phase(std::string_view name) {
  for (const PhaseRow& row : kPhases) {
    if (row.name == name) return row.phase;
  }
  return fail(ErrorCode::kMalformed, "'{}' is not a phase of a session", name);
}

std::optional<WallTime> next_try(const SessionState& state) {
  const bool waits = state.phase == Phase::kWaiting || state.phase == Phase::kAwaitingOwner;
  return waits ? state.wait_until : std::nullopt;
}

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 300;
  const auto continues_character = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  std::size_t end = std::min(text.size(), kLongest);
  while (end > 0 && end < text.size() && continues_character(text[end])) --end;
  std::string clean(text.substr(0, end));
  const bool utf8 = is_utf8(clean);
  std::replace_if(
      clean.begin(), clean.end(), [&](unsigned char c) { return c < 0x20 || c == 0x7f || (c > 0x7f && !utf8); }, '?');
  return end < text.size() ? clean + "…" : clean;
}

Session::Session(const SessionConfig& config, SessionState state) : config_(&config), state_(std::move(state)) {}

Effects Session::handle(const Event& event, const Now& now) {
  if (!std::holds_alternative<SaveFailed>(event)) {
    live_.answering.reset();
    live_.connect_owner_hangs_on_save = false;
  }
  Step step(*this, now);
  std::visit([&](const auto& happened) { step.on(happened); }, event);
  return step.finish();
}

std::optional<SteadyTime> Session::pause_until() const {
  const auto timer = [this](Timer which) { return live_.timers[static_cast<std::size_t>(which)]; };
  if (state_.phase == Phase::kWaiting) return timer(Timer::kWait);
  switch (side_of(state_.phase)) {
    case Side::kProvision:
      return live_.link == Link::kDown ? timer(Timer::kReconnect) : std::nullopt;
    case Side::kOwner:
      return timer(Timer::kOwner);
    case Side::kNone:
      break;
  }
  return std::nullopt;
}

std::optional<std::string> Session::why_no_rollback() const {
  if (live_.installing) return fmt::format("generation {} is on trial", state_.attempt->generation.value_or(0));
  if (side_of(state_.phase) != Side::kProvision) return std::nullopt;
  return fmt::format("a provision attempt is under way ({})", to_string(state_.phase));
}

// --- the step itself

SessionState& Session::Step::change() {
  dirty_ = true;
  return state_;
}

void Session::Step::push(Effect effect) {
  effects_.push_back(std::move(effect));
}

void Session::Step::act(Effect effect) {
  if (dirty_ && can_save_) {
    push(SaveState{});
    dirty_ = false;
    saved_in_this_step_ = true;
  }
  push(std::move(effect));
}

Effects Session::Step::finish() {
  if (dirty_ && can_save_) {
    push(SaveState{});
    dirty_ = false;
  }
  live_.unsaved = dirty_;
  std::optional<SteadyTime> next;
  for (const std::optional<SteadyTime>& timer : live_.timers) {
    if (timer && (!next || *timer < *next)) next = timer;
  }
  if (next) push(WakeAt{std::max(*next, now_.steady + kMinPause)});
  return std::move(effects_);
}

WallTime Session::Step::verification_time() const {
  return std::max({now_.wall, config_.build_time, state_.last_time.value_or(config_.build_time)});
}

bool Session::Step::in_attempt() const {
  return side_of(state_.phase) == Side::kProvision && state_.attempt;
}

// A trouble that lasts is written once: a try may come every few seconds, and flash wears out.
void Session::Step::record_failure(std::string what) {
  if (state_.last_failure && state_.last_failure->what == what) return;
  change().last_failure = Failure{verification_time(), std::move(what)};
}

// --- start

// The settings may have changed since the state was written: `provisioned` and `enabled` outrank the phase.
Phase Session::Step::resumed_phase() const {
  if (state_.provisioned) return Phase::kProvisioned;
  if (!state_.enabled) return Phase::kDisabled;
  switch (state_.phase) {
    case Phase::kDisabled:  // switched on again: go on with whatever was under way
    case Phase::kProvisioned:
      if (state_.attempt) return state_.attempt->conf_request_id.empty() ? Phase::kConnecting : Phase::kConfirming;
      return state_.owner_since ? Phase::kAwaitingOwner : Phase::kWaiting;
    case Phase::kConnecting:
    case Phase::kHello:
    case Phase::kInstalling:
    case Phase::kConfirming:
      return state_.attempt ? state_.phase : Phase::kWaiting;
    case Phase::kWaiting:
    case Phase::kAwaitingOwner:
    case Phase::kGaveUp:
      break;
  }
  return state_.phase;
}

void Session::Step::on(const Started& event) {
  live_ = Live{};
  live_.csr_der = event.csr_der;
  live_.owner.pause.limit = kOwnerPauseLimit;
  live_.owner.ask_pause.first = config_.retry_interval;
  live_.owner.ask_pause.limit = std::max(config_.retry_interval, kAskPauseLimit);
  if (const Phase phase = resumed_phase(); phase != state_.phase) change().phase = phase;

  switch (state_.phase) {
    case Phase::kDisabled:
      note("provisioning is switched off (enabled: false)");
      break;
    case Phase::kGaveUp:
      problem("gave up after retry-max-attempts failed attempts; reset the agent to try again");
      break;
    case Phase::kWaiting: {
      const Millis left = state_.wait_until ? *state_.wait_until - verification_time() : Millis(0);
      if (left <= Millis(0)) {
        begin_attempt(next_reason());
      } else {
        set(Timer::kWait, std::min(left, state_.wait_length));
      }
      break;
    }
    case Phase::kConfirming:
      set(Timer::kTimeout, config_.timeout);
      [[fallthrough]];
    case Phase::kConnecting:
    case Phase::kHello:
    case Phase::kInstalling:
      note("going on with the attempt that the last run began");
      resume_packages();
      connect();
      break;
    case Phase::kAwaitingOwner:
      if (!state_.owner_since) change().owner_since = verification_time();
      watch_owner();
      connect_owner();
      break;
    case Phase::kProvisioned:
      connect_owner();
      break;
  }
}

// --- timers

void Session::Step::on(const TimerFired&) {
  for (std::size_t i = 0; i < kTimers; ++i) {
    std::optional<SteadyTime>& timer = live_.timers[i];
    if (!timer || *timer > now_.steady) continue;
    timer.reset();
    fired(static_cast<Timer>(i));
  }
}

void Session::Step::fired(Timer timer) {
  switch (timer) {
    case Timer::kTimeout:
      if (in_attempt()) timed_out();
      break;
    case Timer::kWait:
      if (state_.phase == Phase::kWaiting) begin_attempt(next_reason());
      break;
    case Timer::kReconnect:
      if (!in_attempt()) break;
      if (live_.link == Link::kDown) connect();
      if (live_.link == Link::kSubscribing) never_subscribed();
      break;
    case Timer::kRepeat:
      if (in_attempt() && live_.link == Link::kUp) hello();
      break;
    case Timer::kOwner:
      if (side_of(state_.phase) == Side::kOwner) connect_owner();
      break;
    case Timer::kSave:
      change();
      break;
  }
}

// --- the provision broker

void Session::Step::on(const ProvisionConnected&) {
  if (!in_attempt() || live_.link != Link::kConnecting) return;
  live_.link = Link::kSubscribing;
  set(Timer::kReconnect, kSubscribeLimit);
  act(SubscribeProvision{protocol::device_filter(config_.account, config_.client_id)});
}

// Before a hello no timeout ends the attempt, so a broker that does not answer must not be waited for.
void Session::Step::never_subscribed() {
  push(LeaveProvision{false});
  on(ProvisionUnreachable{{ErrorCode::kTimedOut, fmt::format("it did not acknowledge our SUBSCRIBE within {}",
                                                             format_duration(kSubscribeLimit))}});
}

void Session::Step::on(const ProvisionRefused& event) {
  if (!in_attempt()) return;
  if (is_beyond_recall()) return reconnect_later(printable(event.error.message));
  if (is_for_owner()) {
    return fail_attempt(fmt::format("refused ({}): {}", printable(event.error.message), kArmRequest), Fault::kCounted);
  }
  fail_attempt(
      fmt::format("the provision broker refused us: {}; the operator should check that a request for client id "
                  "{} exists, is enabled and open, and has this username and password",
                  printable(event.error.message), config_.client_id),
      Fault::kCounted);
}

void Session::Step::on(const ProvisionUnreachable& event) {
  if (!in_attempt()) return;
  std::string why = unreachable(event.error);
  // The owner's broker matters more than asking for help: back to it rather than waiting here.
  if (is_for_owner() && !is_set(Timer::kTimeout) && !is_beyond_recall()) return fail_attempt(std::move(why), Fault::kNone);
  reconnect_later(why);
  if (!is_for_owner()) record_failure(std::move(why));
}

void Session::Step::on(const ProvisionLost& event) {
  if (!in_attempt()) return;
  std::string why = fmt::format("the provision broker closed the connection: {}", printable(event.error.message));
  // As when it cannot be reached: before a hello no timeout ends this attempt, and the owner's broker may be back.
  if (is_for_owner() && !is_set(Timer::kTimeout) && !is_beyond_recall()) return fail_attempt(std::move(why), Fault::kNone);
  reconnect_later(why);
  // Later the timeout of the attempt tells what came of it.
  if (!is_for_owner() && !is_set(Timer::kTimeout)) record_failure(std::move(why));
}

void Session::Step::on(const ProvisionSubscribed& event) {
  if (!in_attempt() || live_.link != Link::kSubscribing) return;
  if (!event.granted) {
    constexpr std::string_view kWhy =
        "the provision broker does not let us read our own topics; its rights are set up wrongly";
    if (!is_beyond_recall()) return fail_attempt(std::string(kWhy), Fault::kCounted);
    push(LeaveProvision{false});
    return reconnect_later(kWhy);
  }
  live_.link = Link::kUp;
  live_.reconnect.reset();
  clear(Timer::kReconnect);
  if (state_.phase == Phase::kConnecting) change().phase = Phase::kHello;
  hello();
}

void Session::Step::on(const ProvisionMessage& event) {
  const auto topic = protocol::parse_topic(event.topic);
  if (!topic) return drop(event.topic, topic.error().message);
  if (std::holds_alternative<protocol::LifecycleTopic>(*topic)) return;  // app id MQTT (edc §3)
  const auto* request = std::get_if<protocol::RequestTopic>(&*topic);
  if (request != nullptr && (request->app == "BA" || request->app == "MQTT")) return;
  if (!in_attempt() || live_.link != Link::kUp) return drop(event.topic, "no attempt is under way");

  const auto payload = protocol::decode(event.payload);
  if (!payload) return drop(event.topic, payload.error().message);
  if (request != nullptr) return on_request(*request, event.topic, *payload);
  if (const auto* reply = std::get_if<protocol::ReplyTopic>(&*topic))
    return on_prov_answer(*reply, event.topic, *payload);
  drop(event.topic, "neither a request nor an answer to us");
}

// --- the owner's broker

void Session::Step::await_owner() {
  SessionState& state = change();
  state.phase = Phase::kAwaitingOwner;
  state.attempt.reset();  // and with it every secret that it brought: the generation has them now
  state.owner_since = verification_time();
  forget_attempt();
  live_.owner.pause.reset();
  live_.owner.ask_pause.reset();
  live_.owner.failure.clear();
  live_.owner.answer.clear();
  watch_owner();
  act(LeaveProvision{true});
  connect_owner();
}

void Session::Step::watch_owner() {
  const Millis waited = std::clamp(verification_time() - *state_.owner_since, Millis(0), config_.owner_timeout);
  live_.owner.ask_platform_at = now_.steady + (config_.owner_timeout - waited);
}

void Session::Step::retry_owner() {
  const Millis pause = live_.owner.pause.next(now_.random);
  set(Timer::kOwner, pause);
  if (state_.phase != Phase::kAwaitingOwner) return;
  SessionState& state = change();
  state.wait_until = verification_time() + pause;
  state.wait_length = pause;
}

// The owner's broker is tried as often as before; only asking becomes rarer, for a whole fleet may be asking.
void Session::Step::back_to_owner(std::string answer, Millis pause) {
  change().phase = Phase::kAwaitingOwner;
  live_.owner.answer = std::move(answer);
  live_.owner.ask_platform_at = now_.steady + std::max(pause, live_.owner.ask_pause.next(now_.random));
  record_failure(owner_failure());
  retry_owner();
}

bool Session::Step::is_for_owner() const {
  return state_.attempt && state_.attempt->reason == kOwnerUnreachable;
}

std::string Session::Step::owner_failure() const {
  const OwnerWait& owner = live_.owner;
  std::string what = owner.failure.empty() ? "the owner's broker did not take us" : owner.failure;
  if (!owner.answer.empty()) what += "; asking the platform again: " + owner.answer;
  return what;
}

void Session::Step::connect_owner() {
  // A full disk does not keep a device from its owner: that the state on disk is older loses nothing here.
  if (live_.unsaved) {
    push(ConnectOwner{});
  } else {
    act(ConnectOwner{});
  }
  live_.connect_owner_hangs_on_save = saved_in_this_step_;
}

void Session::Step::on(const OwnerBorn&) {
  if (side_of(state_.phase) != Side::kOwner) return;
  live_.owner.pause.reset();
  clear(Timer::kOwner);
  if (state_.phase == Phase::kProvisioned) return note("back on the owner's broker");
  SessionState& state = change();
  state.phase = Phase::kProvisioned;
  state.enabled = false;
  state.provisioned = true;
  state.attempts_failed = 0;
  state.owner_since.reset();
  state.wait_until.reset();
  state.last_failure.reset();
  note("provisioned: the owner's broker has acknowledged our BIRTH");
  act(NewKey{});  // the generation has its copy; provisioning anew begins with another key
}

void Session::Step::on(const OwnerFailed& event) {
  if (side_of(state_.phase) != Side::kOwner) return;
  if (state_.phase == Phase::kProvisioned) {
    // An outage of the owner's, not a failure to provision: the log is the place for it.
    problem(fmt::format("owner's broker: {}", printable(event.error.message)));
    return retry_owner();
  }
  live_.owner.failure = not_taken(event.error, config_.client_id);
  problem(live_.owner.failure);
  record_failure(owner_failure());
  if (now_.steady < live_.owner.ask_platform_at) return retry_owner();
  clear(Timer::kOwner);
  begin_attempt(kOwnerUnreachable);
}

// The disk has it already, so nothing has to be saved: a full one does not come between a person and the way back.
void Session::Step::on(const RolledBack& event) {
  state_.generation = event.generation;
  if (side_of(state_.phase) != Side::kOwner) return;
  state_.wait_until.reset();
  live_.owner.pause.reset();
  clear(Timer::kOwner);
  connect_owner();
}

// --- the disk

// The effects behind the failed SaveState were not carried out, so nothing but what is said here may be relied on.
// Nothing is saved in this step: a disk that is full stays full for a while.
void Session::Step::on(const SaveFailed& event) {
  can_save_ = false;
  dirty_ = true;
  set(Timer::kSave, kSaveRetry);
  problem(fmt::format("the state cannot be saved: {}", printable(event.error.message)));
  const bool owed = live_.answering.has_value();
  if (live_.installing && !owed) return stay_on_trial();
  if (in_attempt()) {
    const std::string why = "the device cannot store its state: " + printable(event.error.message);
    if (owed) reply_to(*live_.answering, {.code = 500, .error = why, .retry_after_s = {}, .body = {}});
    return fail_attempt(why, owed ? Fault::kPassing : Fault::kNone);
  }
  if (state_.phase == Phase::kProvisioned) return;
  push(LeaveProvision{true});
  if (live_.connect_owner_hangs_on_save) set(Timer::kOwner, live_.owner.pause.next(now_.random));
}

// A generation has been on trial since an earlier step, so its InstallGeneration was carried out. Timer::kSave tries to
// save again; a connection that was to be made may not have been begun.
void Session::Step::stay_on_trial() {
  if (live_.link != Link::kConnecting && live_.link != Link::kSubscribing) return;
  push(LeaveProvision{false});
  reconnect_later("the provision broker waits for the disk");
}

}  // namespace fleet::agent
