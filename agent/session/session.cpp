#include "agent/session/session.hpp"

#include <algorithm>

#include "agent/session/step.hpp"

namespace fleet::agent {
namespace {

constexpr Millis kMinPause{100};
constexpr Millis kSaveRetry{30'000};
constexpr Millis kOwnerPauseLimit{60'000};

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
  live_.owner_pause.limit = kOwnerPauseLimit;
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
      if (in_attempt() && live_.link == Link::kDown) connect();
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
  act(SubscribeProvision{protocol::device_filter(config_.account, config_.client_id)});
}

void Session::Step::on(const ProvisionRefused& event) {
  if (!in_attempt()) return;
  // What is left to do in this phase is to hear that the platform knows; a refusal does not undo what is installed.
  if (state_.phase == Phase::kConfirming) return reconnect_later(event.error);
  fail_attempt(
      fmt::format("the provision broker refused us: {}; the operator should check that a request for client id "
                  "{} exists, is enabled and open, and has this username and password",
                  printable(event.error.message), config_.client_id),
      Fault::kCounted);
}

void Session::Step::on(const ProvisionUnreachable& event) {
  if (!in_attempt()) return;
  // The owner's broker matters more than asking for help: back to it rather than waiting here.
  if (state_.attempt->reason == kOwnerUnreachable && !is_set(Timer::kTimeout)) {
    return fail_attempt(fmt::format("the provision broker cannot be reached: {}", printable(event.error.message)),
                        Fault::kNone);
  }
  reconnect_later(event.error);
}

void Session::Step::on(const ProvisionLost& event) {
  if (in_attempt()) reconnect_later(event.error);
}

void Session::Step::on(const ProvisionSubscribed& event) {
  if (!in_attempt() || live_.link != Link::kSubscribing) return;
  if (!event.granted) {
    return fail_attempt("the provision broker does not let us read our own topics; its rights are set up wrongly",
                        Fault::kCounted);
  }
  live_.link = Link::kUp;
  live_.reconnect.reset();
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
  live_.owner_pause.reset();
  watch_owner();
  act(LeaveProvision{true});
  connect_owner();
}

void Session::Step::watch_owner() {
  const Millis waited = std::clamp(verification_time() - *state_.owner_since, Millis(0), config_.owner_timeout);
  live_.owner_deadline = now_.steady + (config_.owner_timeout - waited);
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
  live_.owner_pause.reset();
  clear(Timer::kOwner);
  if (state_.phase == Phase::kProvisioned) return note("back on the owner's broker");
  SessionState& state = change();
  state.phase = Phase::kProvisioned;
  state.enabled = false;
  state.provisioned = true;
  state.attempts_failed = 0;
  state.owner_since.reset();
  state.last_failure.reset();
  note("provisioned: the owner's broker has acknowledged our BIRTH");
  act(NewKey{});  // the generation has its copy; provisioning anew begins with another key
}

void Session::Step::on(const OwnerFailed& event) {
  if (side_of(state_.phase) != Side::kOwner) return;
  problem(fmt::format("owner's broker: {}", printable(event.error.message)));
  if (state_.phase == Phase::kAwaitingOwner && now_.steady >= live_.owner_deadline) {
    clear(Timer::kOwner);
    return begin_attempt(kOwnerUnreachable);
  }
  set(Timer::kOwner, live_.owner_pause.next(now_.random));
}

// --- the disk

// The effects behind the failed SaveState were not carried out, so nothing but what is said here may be relied on.
// Nothing is saved in this step: a disk that is full stays full for a while.
void Session::Step::on(const SaveFailed& event) {
  can_save_ = false;
  dirty_ = true;
  set(Timer::kSave, kSaveRetry);
  problem(fmt::format("the state cannot be saved: {}", printable(event.error.message)));
  if (in_attempt()) {
    const std::string why = "the device cannot store its state: " + printable(event.error.message);
    const bool owed = live_.answering.has_value();
    if (owed) reply_to(*live_.answering, {.code = 500, .error = why, .retry_after_s = {}, .body = {}});
    return fail_attempt(why, owed ? Fault::kPassing : Fault::kNone);
  }
  if (state_.phase == Phase::kProvisioned) return;
  push(LeaveProvision{true});
  if (live_.connect_owner_hangs_on_save) set(Timer::kOwner, live_.owner_pause.next(now_.random));
}

}  // namespace fleet::agent
