#include "agent/runtime/announcer.hpp"

#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

const std::string kApply = "apply";
const std::string kRollback = "rollback";
const std::string kProvisioned = "provisioned";
const std::string kFailed = "failed";

}  // namespace

Announcer::Announcer(boost::asio::io_context& io, const std::filesystem::path& state_folder,
                     const std::filesystem::path& program, std::function<void()> on_idle)
    : notes_(state_folder),
      has_program_(!program.empty()),
      hook_(io, program, state_folder,
            {.on_end = [this](const std::string& event, std::uint64_t generation) { ended(event, generation); },
             .on_idle = std::move(on_idle)}) {}

void Announcer::catch_up(const SessionState& state) {
  if (notes_.owes_rollback()) rolled_back(state.generation);
  if (state.provisioned) {
    if (!notes_.knows_provisioned(state.generation)) provisioned(state.generation);
  } else if (!notes_.knows_failures(state.attempts_failed)) {
    failed(state.generation, state.attempts_failed);
  }
}

void Announcer::apply(std::uint64_t generation, HookRunner::Done done) {
  hook_.run(kApply, generation, std::move(done));
}

void Announcer::rolled_back(std::uint64_t generation, HookRunner::Done done) {
  log::warn("apply", "back to the configuration before", {{"generation", generation}});
  hook_.run(kRollback, generation, std::move(done));
  // A hook that comes into the settings later finds things as they are.
  if (!has_program_) ended(kRollback, generation);
}

void Announcer::provisioned(std::uint64_t generation) {
  hook_.run(kProvisioned, generation);
}

void Announcer::failed(std::uint64_t generation, int attempts_failed) {
  failures_ = attempts_failed;
  hook_.run(kFailed, generation);
}

void Announcer::set_program(const std::filesystem::path& program) {
  has_program_ = !program.empty();
  hook_.set_program(program);
}

void Announcer::ended(const std::string& event, std::uint64_t generation) {
  if (hook_.waits(event)) return;  // what is told next is owed still
  Result<void> noted;
  if (event == kRollback) noted = notes_.told_rollback();
  if (event == kProvisioned) noted = notes_.told_provisioned(generation);
  if (event == kFailed) noted = notes_.told_failures(failures_);
  if (noted) return;
  log::warn("hook", "that it was told cannot be noted; it is told again at the next start",
            {{"event", event}, {"error", noted.error().message}});
}

std::string in_force_again(std::uint64_t generation) {
  return generation == 0 ? "no configuration is in force" : fmt::format("generation {} is in force again", generation);
}

Result<void> tell_of_rollback(const std::filesystem::path& state_folder, const std::filesystem::path& program,
                              std::uint64_t generation) {
  boost::asio::io_context io{1};
  Announcer announcer(io, state_folder, program, [] {});
  Result<void> result;
  announcer.rolled_back(generation, [&](const Result<void>& told) {
    result = told;
    io.stop();
  });
  io.run();
  return result;
}

}  // namespace fleet::agent
