// Whatever the order of replies, notifications, repeated hellos, sweeps and crashes: the configuration is never sent
// before what it waits for, and it always arrives in the end.
#include <algorithm>
#include <map>
#include <random>
#include <string>

#include <doctest/doctest.h>

#include "core/protocol/deploy.hpp"
#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

// A device that does what it is told, in any order and as often as it likes, on a line that loses messages.
class Chaos {
 public:
  Chaos(World& world, std::uint32_t seed) : world_(world), device_(world.add_device("GW1")), random_(seed) {}

  void begin() { hear(world_.hello(device_, kNonce)); }

  // One thing happens.
  void step() {
    switch (pick(10)) {
      case 8:
        return hand_over();
      case 9:
        if (world_.to_hand_over.empty()) return;
        return hear(world_.fail_to_hand_over("gw1", "not now"));
      case 0:
        world_.now += Seconds(pick(70));
        return hear(world_.sweep());
      case 1:
        return hear(world_.hello(device_, kNonce));
      case 2:
        return world_.reopen();
      case 3:
      case 4:
        return answer(pick_heard());
      default:
        return tell(pick_heard());
    }
  }

  // From now on nothing is lost, and everything is done.
  void finish() {
    reliable_ = true;
    for (int round = 0; round < 20 && !completed(); ++round) {
      world_.now += Seconds(10);
      hear(world_.hello(device_, kNonce));
      hand_over();
      const auto known = heard_;
      for (const auto& [id, message] : known) {
        answer(&message);
        if (message.app != "DEPLOY-V2") continue;
        note_installed(message);
        hear(world_.install(device_, message));
      }
    }
  }

  bool completed() { return world_.request("gw1").status == JobStatus::kCompleted; }

 private:
  static inline const std::string kNonce = std::string(16, 'n');

  std::uint32_t pick(std::uint32_t below) { return static_cast<std::uint32_t>(random_() % below); }

  const Heard* pick_heard() {
    if (heard_.empty()) return nullptr;
    return &std::next(heard_.begin(), pick(static_cast<std::uint32_t>(heard_.size())))->second;
  }

  // Only what was asked for: not before all else that the configuration waits for is done.
  void hand_over() {
    if (world_.to_hand_over.empty()) return;
    check_done(true);
    handed_over_ = true;
    hear(world_.hand_over("gw1"));
  }

  // A third of what the provisioner says is lost behind its commit, as when it is killed there.
  void hear(const std::vector<Heard>& messages) {
    for (const Heard& message : messages) {
      if (message.app == "PROV-V1") continue;
      if (message.app == "CONF-V1") {
        check();
      }
      if (reliable_ || pick(3) != 0) heard_[message.id] = message;
    }
  }

  void answer(const Heard* message) {
    if (message == nullptr) return;
    const Heard copy = *message;
    replied_[copy.id] = true;
    hear(world_.reply(device_, copy));
  }

  void tell(const Heard* message) {
    if (message == nullptr || message->app != "DEPLOY-V2") return;
    const Heard copy = *message;
    using Phase = JobNotice::Phase;
    using State = JobNotice::State;
    const bool done = pick(2) == 0;
    const Phase phase = pick(2) == 0 ? Phase::kDownload : Phase::kInstall;
    if (done && phase == Phase::kInstall) note_installed(copy);
    hear(world_.notify(device_, copy, phase, done ? State::kDone : State::kRunning, static_cast<int>(pick(101))));
  }

  void note_installed(const Heard& message) { installed_[message.id] = true; }

  // The property: nothing was sent too early.
  void check() {
    if (world_.attempts("gw1").back().handover != Handover::kNone) CHECK(handed_over_);
    check_done(false);
  }

  void check_done(bool everything) {
    for (const Step& step : world_.steps(world_.attempts("gw1").back().id)) {
      if (step.optional) continue;
      if (everything && step.kind != StepKind::kConfiguration) CHECK(replied_[step.rid]);
      if (step.kind == StepKind::kPackage) CHECK((replied_[step.rid] && installed_[step.rid]));
      if (step.kind == StepKind::kInlinePackage) CHECK(replied_[step.rid]);
    }
  }

  World& world_;
  Device device_;
  std::mt19937 random_;
  std::map<std::string, Heard> heard_;       // by rid, what the device has received
  std::map<std::string, bool> replied_, installed_;  // by rid, what it has said
  bool handed_over_ = false;
  bool reliable_ = false;
};

}  // namespace

TEST_CASE("The configuration is never early and always arrives, whatever happens in between") {
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    World world;
    world.package_contents["inline"] = "content";
    std::vector<Package> packages{package("one"), package("inline", PackageSource::kInline),
                                  package("extra", PackageSource::kUrl, false), package("two", PackageSource::kFile)};
    packages.resize(1 + seed % packages.size());
    world.set_packages(packages);
    if (seed % 2 == 0) {
      world.change_account([](Account& account) { account.credentials = OwnerCredentials::kPassword; });
    }
    Chaos chaos(world, seed);
    chaos.begin();
    for (int i = 0; i < 40 && !chaos.completed(); ++i) chaos.step();
    chaos.finish();
    CHECK(chaos.completed());
    CHECK(world.misses == 0);
  }
}

TEST_CASE("A piece of work that is rolled back and run again decides the same") {
  World world;
  world.set_packages({package("app")});
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, std::string(16, 'n'));
  const Heard asked = find(messages, "DEPLOY-V2");
  world.reply(device, asked);
  const auto job = protocol::parse_download_request(asked.payload)->job_id;
  const JobNotice done{job, JobNotice::Phase::kInstall, JobNotice::State::kDone, 100, ""};
  std::vector<std::size_t> sent;
  for (const bool keep : {false, false, true, true}) {
    std::size_t messages_sent = 0;
    world.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(const Outcome outcome, world.executor->on_notice(tx, device.client_id, done, world.now));
      messages_sent = outcome.send.size();
      return {};
    }, keep);
    sent.push_back(messages_sent);
  }
  CHECK(sent == std::vector<std::size_t>{1, 1, 1, 0});
}
