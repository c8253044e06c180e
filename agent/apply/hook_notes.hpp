// What the hook has been told, and what it has yet to be told, as files in the state folder: what a crash or a stop has
// kept from it is told at the next start.
//
//   STATE/announced       the generation with which it was told that the device is provisioned
//   STATE/failures-told   how many failed attempts it knows of
//   STATE/reverted        there while it does not know yet that this generation is in force again (generation.hpp)
#pragma once

#include <cstdint>
#include <filesystem>

#include "core/base/result.hpp"

namespace fleet::agent {

// The first two are compared with the session's state, so that nothing has to be written before it is true.
class HookNotes {
 public:
  explicit HookNotes(std::filesystem::path state_folder) : folder_(std::move(state_folder)) {}

  bool knows_provisioned(std::uint64_t generation) const;
  Result<void> told_provisioned(std::uint64_t generation) const;

  // `count`: a session's attempts_failed.
  bool knows_failures(int count) const;
  Result<void> told_failures(int count) const;

  bool owes_rollback() const;
  Result<void> told_rollback() const;

  // Another provisioning begins: what was told of the last one counts no more. What is in force stays, and is still owed.
  Result<void> forget() const;

 private:
  std::filesystem::path folder_;
};

}  // namespace fleet::agent
