// One device in a world without time: carries out the effects of its session, and lets it crash.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/session/session.hpp"
#include "tests/unit/agent/session/platform.hpp"

namespace fleet::agent::test {

SessionConfig default_config();

class World {
 public:
  explicit World(SessionConfig session_config = default_config(), SessionState state = {});
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void start();
  // Throws the session away and makes another one from the last saved text; connections and messages in flight are
  // lost.
  void reboot();
  // One event into the session; its effects are carried out, what follows from them is queued.
  void feed(const Event& event);
  void deliver(const Message& message) { feed(ProvisionMessage{message.topic, message.payload}); }
  // Handles what is queued, without letting time pass.
  void settle();
  // Lets time pass, from alarm to alarm, until `done` or `limit` of time has gone by. False if the limit came first.
  bool run_until(const std::function<bool()>& done, Millis limit = Millis(3'600'000));
  bool run_until(Phase phase, Millis limit = Millis(3'600'000));
  void pass(Millis time) {
    run_until([] { return false; }, time);
  }

  const SessionState& state() const { return session->state(); }
  const Attempt& attempt() const { return *session->state().attempt; }
  // Whether a report, a problem or not, has `text` in it.
  bool reported(std::string_view text) const;
  // The code that the device replied to `rid`, 0 if it did not.
  std::int32_t code_of(const std::string& rid) const;
  Bytes reply_to(const std::string& rid) const;
  template <typename T>
  std::size_t count() const {
    std::size_t n = 0;
    for (const Effect& effect : effects) n += std::holds_alternative<T>(effect) ? 1 : 0;
    return n;
  }
  // A device that has said hello to a silent platform: the test plays the platform by hand.
  void say_hello();
  // As above, with an accepted CERT-V1.
  void accept_certificate();

  SessionConfig config;
  Platform platform;
  std::optional<Session> session;
  std::string saved;  // as on disk
  Now now;
  std::optional<SteadyTime> alarm;
  std::vector<Effect> effects;      // all that were carried out
  std::vector<Message> published;   // all of the device
  std::vector<Installed> installs;  // outcomes given
  std::vector<Staged> generations;  // contents that were installed
  // How the world behaves.
  std::function<Event()> connect = [] { return Event(ProvisionConnected{}); };
  std::function<Event()> owner = [] { return Event(OwnerBorn{}); };
  std::function<std::optional<Error>()> install = [] { return std::optional<Error>(); };
  bool answers_subscribe = true;
  bool answers_install = true;
  std::function<std::vector<Event>(const FetchPackage&)> fetch = [](const FetchPackage& job) {
    return std::vector<Event>{PackageDone{job.key, false}};
  };
  bool disk_full = false;
  int crash_at_save = 0;  // reboot right after the n-th SaveState; 0: never
  int saves = 0;
  std::function<void(const Effects&, const std::string& before)> inspect = [](const Effects&, const std::string&) {};

 private:
  bool carry_out(const Effect& effect);  // false: the effects behind it are dropped

  std::deque<Event> queue_;
};

}  // namespace fleet::agent::test
