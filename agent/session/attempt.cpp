// One attempt: how it begins, says hello, understands the platform's answers to that, and ends.
#include <algorithm>

#include "agent/session/step.hpp"

namespace fleet::agent {
namespace {

constexpr std::size_t kNonceSize = 16;
constexpr Millis kProvRepeat{10'000};
constexpr Millis kReconnectLimit{10'000};
// With the jitter on top it makes the hour of edc §4.1.
constexpr Millis kRetryAfterLimit{3'000'000};

// What an answer to PROV means, and who can do something about it.
struct Meaning {
  std::int32_t code;
  std::string_view text;
};
constexpr std::array<Meaning, 7> kRefusals{{
    {400, "the platform cannot read our hello; the agent and the platform do not fit together"},
    {401,
     "wrong username, password or activation key; correct them in the agent's settings, or ask the operator for new "
     "ones"},
    {403, "the provision request is disabled or not yet active; the operator can enable it"},
    {409, "the platform holds this device for provisioned; the operator can allow it again by retrying the request"},
    {410, "the provision request has expired or was abandoned; the operator can open it again by retrying it"},
    {429, "too many tries; the platform asks us to wait"},
    {503, "the platform cannot serve us now; it asks us to wait"},
}};

}  // namespace

std::string_view Session::Step::next_reason() const {
  if (state_.last_failure) return "retry";
  return state_.generation > 0 ? "reprovision" : "first-boot";
}

void Session::Step::begin_attempt(std::string_view reason) {
  SessionState& state = change();
  state.phase = Phase::kConnecting;
  state.wait_until.reset();
  state.attempt.emplace();
  state.attempt->nonce = random_bytes(kNonceSize);
  state.attempt->request_id = random_id();
  state.attempt->reason = reason;
  forget_attempt();
  note(fmt::format("a provision attempt begins ({})", reason));
  connect();
}

void Session::Step::forget_attempt() {
  live_.link = Link::kDown;
  live_.installing.reset();
  live_.held.reset();
  live_.told.clear();
  live_.last_drop.clear();
  live_.reconnect.reset();
  for (const Timer timer : {Timer::kTimeout, Timer::kReconnect, Timer::kRepeat}) clear(timer);
}

void Session::Step::connect() {
  live_.link = Link::kConnecting;
  act(ConnectProvision{});
}

// Not being reached is no failed attempt. Once the platform has been greeted the pauses are short: it waits.
void Session::Step::reconnect_later(std::string_view why) {
  live_.link = Link::kDown;
  clear(Timer::kRepeat);
  live_.reconnect.limit = is_set(Timer::kTimeout) ? kReconnectLimit : config_.retry_interval;
  const Millis pause = live_.reconnect.next(now_.random);
  set(Timer::kReconnect, pause);
  problem(fmt::format("{}; next try in {} s", why, (pause.count() + 999) / 1000));
}

void Session::Step::hello() {
  if (!is_set(Timer::kTimeout) && !live_.installing) {
    set(Timer::kTimeout, state_.attempt->refused ? kRefusalLinger : config_.timeout);
  }
  // Another PROV would open another attempt, which fails and counts as well. The platform repeats what it has no reply to.
  if (state_.attempt->refused) return;
  if (state_.phase != Phase::kConfirming) {
    send_prov();
    tell_outcomes();
    return set(Timer::kRepeat, kProvRepeat);
  }
  const auto kept = state_.attempt->replies.find(state_.attempt->conf_request_id);
  if (kept != state_.attempt->replies.end()) act(PublishProvision{kept->second.topic, kept->second.payload});
  // A platform that was killed between recording the reply and its 200 may ignore a second one; it answers PROV.
  send_prov();
  set(Timer::kRepeat, kConfRepeat);
}

void Session::Step::send_prov() {
  const Attempt& attempt = *state_.attempt;
  protocol::Prov prov;
  prov.username = config_.username;
  prov.password = config_.password;
  prov.activation_key = config_.activation_key;
  prov.request_id = attempt.request_id;
  prov.nonce = attempt.nonce;
  prov.csr = live_.csr_der;
  prov.reason = attempt.reason;
  prov.facts = config_.facts;
  act(PublishProvision{protocol::LifecycleTopic{config_.account, config_.client_id, "PROV"}.str(),
                       protocol::encode(protocol::to_payload(prov, config_.client_id, to_unix_millis(now_.wall)))});
}

void Session::Step::timed_out() {
  if (live_.installing) return;  // its outcome decides: a generation that is being switched on cannot be called back
  if (state_.phase == Phase::kConfirming) {
    problem("the platform has not confirmed within the timeout; going on to the owner's broker");
    return await_owner();
  }
  if (state_.attempt->refused) return fail_attempt(state_.attempt->refusal, Fault::kCounted);
  const std::string limit = format_duration(config_.timeout);
  std::string why = state_.phase == Phase::kInstalling
                        ? fmt::format("the platform did not finish within {} (timeout)", limit)
                        : fmt::format("the platform did not answer within {} (timeout)", limit);
  if (has_running_job()) {
    why += "; a package has not arrived";
  } else if (!live_.last_drop.empty()) {
    why += fmt::format("; a message was dropped: {}", live_.last_drop);
  } else if (state_.phase != Phase::kInstalling) {
    why += "; is the provisioner running?";
  }
  fail_attempt(std::move(why), Fault::kCounted);
}

void Session::Step::on_prov_answer(const protocol::ReplyTopic& topic, std::string_view topic_text,
                                   const protocol::KuraPayload& payload) {
  const Attempt& attempt = *state_.attempt;
  if (topic.account != config_.account || topic.requester != config_.client_id || topic.app != protocol::kAppProv ||
      topic.request_id != attempt.request_id) {
    return drop(topic_text, "an answer to something that we have not asked");
  }
  // Before an accepted CERT-V1 nobody can have proved to be the platform: the answer is a hint, signed or not.
  const bool verified = !attempt.signing_chain_pem.empty();
  const Bytes* nonce = payload.blob("prov.nonce");
  if (verified || payload.find("prov.nonce") != nullptr) {
    if (const auto ours = check_nonce(nonce != nullptr ? std::optional<Bytes>(*nonce) : std::nullopt); !ours) {
      return drop(topic_text, ours.error().message);
    }
  }
  if (verified) {
    if (const auto signature = verify_accepted(topic_text, payload); !signature) {
      return drop(topic_text, signature.error().message);
    }
  }
  const auto reply = protocol::parse_reply(payload);
  if (!reply) return drop(topic_text, reply.error().message);

  if (reply->code == 202) {
    // In confirming an answer means that the platform is there but has not got our reply yet: go on repeating it.
    if (state_.phase != Phase::kConfirming) clear(Timer::kRepeat);
    return note("the platform has accepted our hello");
  }
  if (reply->code != 200) return refused_by_platform(*reply, verified);
  if (state_.phase != Phase::kConfirming) return drop(topic_text, "it confirms a provisioning that has not ended here");
  note("the platform has recorded that we are configured");
  await_owner();
}

// What is installed is not undone by a refusal, and a generation that is being switched on cannot be called back.
bool Session::Step::is_beyond_recall() const {
  return state_.phase == Phase::kConfirming || live_.installing.has_value();
}

void Session::Step::refused_by_platform(const protocol::Reply& reply, bool verified) {
  const auto* meaning =
      std::find_if(kRefusals.begin(), kRefusals.end(), [&](const Meaning& m) { return m.code == reply.code; });
  std::string why = meaning != kRefusals.end() ? std::string(meaning->text)
                                               : std::string("an answer that the protocol does not know");
  if (is_for_owner() && reply.code == 409) {
    why = fmt::format("refused, already provisioned: {}", kArmRequest);
  } else {
    why = fmt::format("the platform answered {}: {}", reply.code, why);
  }
  if (!reply.error.empty()) why += fmt::format(" (it says: {})", printable(reply.error));

  if (is_beyond_recall()) return problem(std::move(why));
  if (reply.code != 429 && reply.code != 503) {
    return fail_attempt(std::move(why), verified ? Fault::kCounted : Fault::kPassing);
  }
  Millis pause = std::min(config_.retry_interval, kRetryAfterLimit);
  if (reply.retry_after_s) {
    pause = std::clamp(Millis(std::int64_t{*reply.retry_after_s} * 1000), Millis(0), kRetryAfterLimit);
  }
  // Upward only: earlier than it asked for would be refused again.
  constexpr std::uint64_t kParts = 1 << 20;
  pause += Millis(pause.count() / 5 * static_cast<std::int64_t>(now_.random % (kParts + 1)) /
                  static_cast<std::int64_t>(kParts));
  fail_attempt(std::move(why), Fault::kNone, std::max(pause, Millis(1000)));
}

void Session::Step::fail_attempt(std::string why, Fault fault, std::optional<Millis> pause) {
  const bool for_owner = is_for_owner();
  problem(fmt::format("the provision attempt has failed: {}", why));

  const Effects farewell = packages_farewell(why);
  const auto needs_no_state = [](const Effect& effect) { return std::holds_alternative<CancelPackages>(effect); };
  // Behind a save it would be lost if the disk is full, and with it the only thing that frees some.
  for (const Effect& effect : farewell) {
    if (needs_no_state(effect)) push(effect);
  }
  SessionState& state = change();
  state.attempt.reset();
  forget_attempt();
  if (for_owner) {
    // Asking the platform for help does not end the wait for the owner's broker, and does not count.
    back_to_owner(std::move(why), pause.value_or(Millis(0)));
  } else {
    state.last_failure = Failure{verification_time(), std::move(why)};
    if (fault != Fault::kNone) ++state.attempts_failed;
    const bool used_up = config_.retry_max_attempts >= 0 && state.attempts_failed >= config_.retry_max_attempts;
    if (fault == Fault::kCounted && used_up) {
      state.phase = Phase::kGaveUp;
      problem(fmt::format("giving up after {} failed attempts (retry-max-attempts)", state.attempts_failed));
    } else {
      wait(pause.value_or(with_jitter(config_.retry_interval, now_.random)));
    }
  }
  for (const Effect& effect : farewell) {
    if (!needs_no_state(effect)) act(effect);
  }
  act(LeaveProvision{true});
}

void Session::Step::wait(Millis pause) {
  SessionState& state = change();
  state.phase = Phase::kWaiting;
  state.wait_until = verification_time() + pause;
  state.wait_length = pause;
  set(Timer::kWait, pause);
  note(fmt::format("next attempt in {} s", (pause.count() + 999) / 1000));
}

}  // namespace fleet::agent
