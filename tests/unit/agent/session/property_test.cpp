// Whatever happens, in whatever order: what must hold after every step.
#include <random>
#include <set>

#include <doctest/doctest.h>

#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

// What the session has asked of the world and not been answered.
struct Awaited {
  bool connect = false, subscribe = false, install = false, owner = false;

  bool any() const { return connect || subscribe || install || owner; }
  void asked_by(const Effect& effect) {
    if (std::holds_alternative<LeaveProvision>(effect)) connect = subscribe = false;
    if (std::holds_alternative<ConnectProvision>(effect)) connect = true;
    if (std::holds_alternative<SubscribeProvision>(effect)) subscribe = true;
    if (std::holds_alternative<InstallGeneration>(effect)) install = true;
    if (std::holds_alternative<ConnectOwner>(effect)) owner = true;
  }
  // OwnerBorn tells of a connection, which can still fail.
  void answered_by(const Event& event) {
    const bool lost = std::holds_alternative<ProvisionLost>(event) || std::holds_alternative<ProvisionRefused>(event) ||
                      std::holds_alternative<ProvisionUnreachable>(event);
    if (lost || std::holds_alternative<ProvisionConnected>(event)) connect = false;
    if (lost || std::holds_alternative<ProvisionSubscribed>(event)) subscribe = false;
    if (std::holds_alternative<Installed>(event)) install = false;
    if (std::holds_alternative<OwnerFailed>(event)) owner = false;
    if (std::holds_alternative<OwnerBorn>(event)) owner = true;
  }
};

// Feeds one session with random events and checks each step.
class Chaos {
 public:
  explicit Chaos(std::uint64_t seed) : random_(seed), config_(default_config()) {
    config_.retry_max_attempts = pick(3) == 0 ? 5 : -1;
    config_.ca_authentication = pick(4) != 0;
    config_.owner_timeout = Millis(60'000);
    session_.emplace(config_, SessionState{});
    saved_ = to_json(session_->state());
    now_ = {kToday, SteadyTime(std::chrono::hours(1000)), 0};
  }

  void run(int steps) {
    feed(Started{pki().csr_der});
    for (int i = 0; i < steps; ++i) {
      if (pick(40) == 0) {
        restart();
      } else {
        feed(next_event());
      }
    }
  }

  std::set<Phase> reached;

 private:
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  std::uint64_t number_on_trial() const {
    const SessionState& state = session_->state();
    const std::uint64_t next = state.generation + 1;
    return state.attempt ? state.attempt->generation.value_or(next) : next;
  }

  void restart() {
    auto state = parse_session_state(saved_);
    REQUIRE(state);
    session_.emplace(config_, *state);
    alarm_.reset();
    awaited_ = {};
    feed(Started{pki().csr_der});
  }

  // A message of the platform, sometimes a false one.
  Event next_message() {
    if (!session_->state().attempt)
      return ProvisionMessage{"$EDC/provision/02FC00000001/CONF-V1/PUT/configurations", "x"};
    const Attempt& attempt = *session_->state().attempt;
    if (pick(6) == 0) {
      static constexpr std::array<std::int32_t, 6> kCodes{200, 202, 202, 401, 429, 503};
      const Message answer =
          prov_answer({.code = kCodes[pick(kCodes.size())], .error = {}, .retry_after_s = 5, .body = {}},
                      attempt.request_id, attempt.nonce);
      return ProvisionMessage{answer.topic, answer.payload};
    }
    static const std::vector<Draft> kDrafts{
        cert_draft(pki().signer),
        key_draft(pki().device_certificate(kClientId, pki().device_key.public_key())),
        owner_ca_draft(pki().root.certificate),
        conf_draft(owner_xml(true)),
        download_draft({1, {"app", "1.0"}, "https://packages.example/app.tar.gz", std::string(64, 'a'), true}),
        inline_draft("tool_2.0.tar.gz", "content"),
        {"DEPLOY-V2", "EXEC", "download", {}}};
    static const Signer kImpostor = pki().make_signer(
        make_ca("Somebody's CA", crypto::CertificateProfile::kPlatformCa, make_root("Somebody's Root")));
    // Mostly in order, so that the deeper phases are reached.
    const std::size_t which = attempt.signing_chain_pem.empty() && pick(3) != 0 ? 0 : pick(pick(5) == 0 ? 7 : 4);
    const bool impostor = pick(4) == 0;
    const bool replayed = pick(8) == 0;
    const std::string rid = "r" + std::to_string(which) + (pick(5) == 0 ? "again" : "");
    const Message message =
        request(kDrafts[which], rid, replayed ? Bytes(16, 'x') : attempt.nonce, impostor ? kImpostor : pki().signer);
    genuine_ = !impostor && !replayed;
    return ProvisionMessage{message.topic, message.payload};
  }

  Event next_event() {
    const Error error{ErrorCode::kUnavailable, "away"};
    genuine_ = false;
    switch (pick(24)) {
      case 0:
        return ProvisionRefused{error};
      case 1:
        return ProvisionUnreachable{error};
      case 2:
        return ProvisionLost{error};
      case 3:
        return OwnerFailed{error};
      case 4:
      case 13:
        return pick(4) == 0 ? Event(OwnerBorn{}) : Event(TimerFired{});
      case 5:
      case 12:
        return Installed{number_on_trial(), pick(3) == 0 ? std::optional<Error>(error) : std::nullopt};
      case 6:
        now_.steady += Millis(static_cast<std::int64_t>(pick(20'000)));
        now_.wall += Millis(static_cast<std::int64_t>(pick(20'000)));
        return TimerFired{};
      case 7:
        if (alarm_ && *alarm_ > now_.steady) now_.steady = *alarm_;
        return TimerFired{};
      case 8:
        return ProvisionConnected{};
      case 9:
        return ProvisionSubscribed{pick(20) != 0};
      case 10:
      case 11:
        genuine_ = true;  // what the edge says about a package may let the configuration behind it be installed
        return package_event();
      default:
        return next_message();
    }
  }

  // About a package that is under way, or about one that is not.
  Event package_event() {
    static const std::vector<std::string> kKeys{"r4", "r5", "r4again", "r5again"};
    const std::string& key = kKeys[pick(kKeys.size())];
    if (pick(3) == 0) return PackageProgress{key, protocol::DeployStage::kDownload, static_cast<int>(pick(101))};
    if (pick(3) == 0) return PackageFailed{key, protocol::DeployStage::kInstall, {ErrorCode::kMalformed, "damaged"}};
    return PackageDone{key, pick(2) == 0};
  }

  void feed(const Event& event) {
    now_.random = random_();
    const std::string before = to_json(session_->state());
    const Staged staged_before = session_->state().attempt ? session_->state().attempt->staged : Staged{};
    const Effects effects = session_->handle(event, now_);
    INFO("event " << event.index() << ", effects " << effects.size());
    awaited_.answered_by(event);
    const Awaited awaited_before = awaited_;
    for (const Effect& effect : effects) awaited_.asked_by(effect);
    check(effects, before, staged_before, std::holds_alternative<SaveFailed>(event));

    bool failed = false;
    Awaited carried_out = awaited_before;
    for (const Effect& effect : effects) {
      if (std::holds_alternative<SaveState>(effect)) {
        if (pick(25) == 0) {
          failed = true;
          break;
        }
        saved_ = to_json(session_->state());
      }
      if (const auto* wake = std::get_if<WakeAt>(&effect)) alarm_ = wake->at;
      carried_out.asked_by(effect);
    }
    awaited_ = carried_out;
    if (failed) {
      genuine_ = false;
      feed(SaveFailed{{ErrorCode::kNoSpace, "no space left on device"}});
    }
  }

  void check(const Effects& effects, const std::string& before, const Staged& staged_before, bool save_failed) {
    const SessionState& state = session_->state();
    // Persist before act.
    bool saved = false;
    const bool changed = to_json(state) != before;
    std::optional<SteadyTime> wake;
    for (const Effect& effect : effects) {
      if (std::holds_alternative<SaveState>(effect)) saved = true;
      if (const auto* publish = std::get_if<PublishProvision>(&effect)) {
        if (changed && !save_failed) REQUIRE(saved);
        check_reply(*publish, save_failed);
      }
      if (const auto* w = std::get_if<WakeAt>(&effect)) wake = w->at;
    }
    if (changed && !save_failed) REQUIRE(saved);
    // Never busy, never asleep for good.
    if (wake) REQUIRE(*wake >= now_.steady + Millis(100));
    const bool at_rest = state.phase == Phase::kDisabled || state.phase == Phase::kGaveUp;
    reached.insert(state.phase);
    INFO("phase " << to_string(state.phase));
    REQUIRE((wake || at_rest || awaited_.any()));
    if (state.phase == Phase::kWaiting) REQUIRE(wake);
    // Nothing is staged or installed on the word of somebody else.
    if (!genuine_ && state.attempt) {
      REQUIRE(state.attempt->staged.device_chain_pem.size() <= staged_before.device_chain_pem.size());
      REQUIRE(state.attempt->staged.trusted_pem.size() <= staged_before.trusted_pem.size());
      for (const Effect& effect : effects) REQUIRE_FALSE(std::holds_alternative<InstallGeneration>(effect));
    }
    if (state.attempt) {
      REQUIRE((state.phase == Phase::kConnecting || state.phase == Phase::kHello || state.phase == Phase::kInstalling ||
               state.phase == Phase::kConfirming));
    }
    if (state.provisioned) REQUIRE(state.phase == Phase::kProvisioned);
    REQUIRE(to_json(*parse_session_state(to_json(state))) == to_json(state));
  }

  // One reply a request id within an attempt; a 500 because the disk is full is the end of the attempt.
  void check_reply(const PublishProvision& publish, bool save_failed) {
    const bool is_reply = publish.topic.find("/REPLY/") != std::string::npos;
    if (!is_reply || save_failed || !session_->state().attempt) return;
    const auto [first, is_new] =
        replies_.try_emplace(session_->state().attempt->nonce + publish.topic, publish.payload);
    if (!is_new) REQUIRE(first->second == publish.payload);
  }

  std::mt19937_64 random_;
  SessionConfig config_;
  std::optional<Session> session_;
  Now now_;
  std::string saved_;
  std::optional<SteadyTime> alarm_;
  Awaited awaited_;
  bool genuine_ = false;
  std::map<std::string, Bytes> replies_;
};

TEST_CASE("whatever happens in whatever order, a session persists before it acts, keeps its word and never spins") {
  std::set<Phase> reached;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    Chaos chaos(seed);
    chaos.run(250);
    reached.merge(chaos.reached);
  }
  CHECK(reached.size() == 8);  // all but disabled
}

}  // namespace
}  // namespace fleet::agent::test
