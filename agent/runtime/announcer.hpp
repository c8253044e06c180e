// What the hook is told of, each thing at least once: what a crash or a stop has kept from it is told at the next start.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include <boost/asio/io_context.hpp>

#include "agent/apply/hook_notes.hpp"
#include "agent/runtime/hook.hpp"
#include "agent/session/session.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

// Call each after what it tells is durable. On the thread of the io_context.
class Announcer {
 public:
  // An empty `program`: nobody is told. `on_idle`: see HookRunner.
  Announcer(boost::asio::io_context& io, const std::filesystem::path& state_folder, const std::filesystem::path& program,
            std::function<void()> on_idle);

  // What it does not know yet of a device that is in `state`.
  void catch_up(const SessionState& state);

  // `done`: see HookRunner::run(). A trial ends in any case, so nothing is owed: it is either repeated or taken back.
  void apply(std::uint64_t generation, HookRunner::Done done);
  // That generation is in force again (0: none is).
  void rolled_back(std::uint64_t generation, HookRunner::Done done = {});
  void provisioned(std::uint64_t generation);
  // The last of `attempts_failed` failed attempts.
  void failed(std::uint64_t generation, int attempts_failed);

  void set_program(const std::filesystem::path& program);
  // Begins no other hook; the one that runs goes on to its end or its limit.
  void stop() { hook_.stop(); }
  bool idle() const { return hook_.idle(); }

 private:
  void ended(const std::string& event, std::uint64_t generation);

  HookNotes notes_;
  bool has_program_;
  int failures_ = 0;
  HookRunner hook_;
};

// For a person: "generation 1 is in force again".
std::string in_force_again(std::uint64_t generation);

// For a command that works without an agent: tells the hook that this generation is in force again, and waits for it.
Result<void> tell_of_rollback(const std::filesystem::path& state_folder, const std::filesystem::path& program,
                              std::uint64_t generation);

}  // namespace fleet::agent
