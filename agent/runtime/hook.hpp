// The command that the settings name, told of what has happened: HOOK apply|rollback|provisioned|failed.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "agent/runtime/hook_output.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"

namespace fleet::agent {

// Runs one at a time, in the order of the events, without a shell, in a process group of its own, with FLEET_STATE_DIR
// FLEET_GENERATION and FLEET_PACKAGES ("NAME/VERSION …" of the generation in force) in its environment. Killed with its
// children when it takes longer than `limit`. What it writes goes to our stderr. A failure is logged. On the thread of the
// io_context.
class HookRunner {
 public:
  struct Handlers {
    // One has run to its end or to its limit, whatever came of it; not called for one that could not be started.
    std::function<void(const std::string& event, std::uint64_t generation)> on_end;
    std::function<void()> on_idle;  // none runs and none waits
  };

  // An empty `program`: every call does nothing.
  HookRunner(boost::asio::io_context& io, std::filesystem::path program, std::filesystem::path state_dir,
             Handlers handlers, Millis limit = Seconds(30));
  ~HookRunner();  // kills the one that runs
  HookRunner(const HookRunner&) = delete;
  HookRunner& operator=(const HookRunner&) = delete;

  // What came of one call: an error has the exit code, the signal or the limit, and the hook's last words.
  using Done = std::function<void(const Result<void>& outcome)>;

  // `done` is called in any case but after stop(): also, with success, if there is no program.
  void run(std::string event, std::uint64_t generation, Done done = {});
  // Another program from the next one on.
  void set_program(std::filesystem::path program) { program_ = std::move(program); }
  // Begins no other one; the one that runs goes on to its end or its limit.
  void stop();
  bool idle() const { return pid_ < 0; }
  // A call with that event has yet to begin.
  bool waits(const std::string& event) const;

 private:
  struct Call {
    std::string event;
    std::uint64_t generation = 0;
    Done done;
  };

  void start_next();
  Result<void> spawn(const Call& call);
  Result<void> outcome_of(int status);
  void tell(const Done& done, const Result<void>& outcome);
  void watch();
  void on_exit();
  void kill_group() const;

  std::filesystem::path program_;
  std::filesystem::path state_dir_;
  Handlers handlers_;
  Millis limit_;
  std::deque<Call> calls_;
  Call running_;
  bool too_slow_ = false;  // the one that runs has been killed
  std::shared_ptr<HookOutput> output_;  // of the one that runs
  std::uint64_t runs_ = 0;
  bool stopped_ = false;
  pid_t pid_ = -1;
  boost::asio::io_context& io_;
  boost::asio::posix::stream_descriptor process_;  // a pidfd
  boost::asio::steady_timer timer_;
};

}  // namespace fleet::agent
