// The agent's folder on disk: the session's state, the device's key, the generations; one agent at a time.
//
//   STATE/{state.json, device.key, generations/, current, agent.lock, …}    folder 0700, secrets 0600
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "agent/apply/generation.hpp"
#include "agent/session/owner_connection.hpp"
#include "agent/session/session.hpp"
#include "core/base/file.hpp"
#include "core/base/result.hpp"
#include "core/crypto/key.hpp"

namespace fleet::agent {

// The state that an agent has left in `folder`, without taking the lock: for looking. Its generation is the one in
// force, also after a crash between switching and saving. nullopt if there is none; kCorrupt names the file and the way
// out.
Result<std::optional<SessionState>> read_state(const std::filesystem::path& folder);

// An opened state folder. Holds its lock while it lives. Not thread-safe.
class StateFolder {
 public:
  // Makes the folder if it is not there, takes its lock and removes what a killed agent has left half-written; a
  // generation that was still on trial is taken back, see reverted().
  // kConflict with the pid if another agent has it; kInvalidArgument, and nothing touched, for a folder that holds
  // other things and nothing of an agent's.
  static Result<StateFolder> open(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return folder_; }
  // The generation that open() has gone back to (0: none), if it had to.
  const std::optional<std::uint64_t>& reverted() const { return reverted_; }

  Result<std::optional<SessionState>> load_state() const { return read_state(folder_); }
  // Durable when it returns. Passes the crash point agent.state-saved.PHASE.
  Result<void> save_state(const SessionState& state) const;

  // The pending device key: read, or made (P-256) and stored first. kCorrupt names the file and the way out.
  Result<crypto::PrivateKey> device_key() const;
  // The next device_key() is another one. Generations keep the key that they were made with.
  Result<void> drop_device_key() const;

  // See generation.hpp; with the pending device key.
  Result<void> install(std::uint64_t generation, const Staged& content) const;
  Result<void> confirm() const { return confirm_generation(folder_); }
  std::vector<std::filesystem::path> retire() const { return retire_generations(folder_); }
  Result<std::optional<std::uint64_t>> revert() const { return revert_generation(folder_); }
  Result<OwnerConnection> owner_connection() const { return load_owner_connection(folder_); }

  // Back to the generation before the one in force, whole: components, packages, key, chain and CAs. Its number; kNotFound
  // if there is none. Whether the device is provisioned stays as it is.
  Result<std::uint64_t> roll_back() const { return roll_back_generation(folder_); }

  // Back to enabled=true, provisioned=false, ready for a first attempt; with another key if `new_key` says so or the
  // device has been provisioned with this one. The generation in force stays until another one
  // replaces it; the platform's pinned issuer and the last verified time stay too. A state that cannot be read is kept
  // aside as state.json.corrupt-TIME.
  Result<void> reset(bool new_key) const;

 private:
  StateFolder(std::filesystem::path folder, FileLock lock) : folder_(std::move(folder)), lock_(std::move(lock)) {}

  std::filesystem::path folder_;
  FileLock lock_;
  std::optional<std::uint64_t> reverted_;
};

}  // namespace fleet::agent
