// Generations: what one provisioning has brought, whole, in a folder of its own. Switching to one is one rename.
//
//   STATE/generations/N/{configurations.xml, device.key, device-chain.pem, owner-ca.pem, generation.json}
//   STATE/generations/N/packages/NAME/VERSION -> the package in STATE/packages (see package_store.hpp)
//   STATE/current -> generations/N
//   STATE/trial -> generations/M, or `none`: where to go back to; there while N is not confirmed
//   STATE/reverted -> generations/M, or `none`: gone back to; there while the hook has not been told
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "agent/session/owner_connection.hpp"
#include "agent/session/session.hpp"
#include "core/base/result.hpp"
#include "core/crypto/key.hpp"

namespace fleet::agent {

// Removes what an installation that was killed has left.
Result<void> remove_half_written(const std::filesystem::path& state_folder);

// Makes generation `number` durable and switches to it, on trial: until confirm_generation() it is not final. `key` is the
// device's pending key. Checks first that the owner's broker can be reached with it (kInvalidArgument) and that its
// packages are there (kNotFound). Harmless to repeat with the same number, with the same content or another. On failure
// (kNoSpace when the disk is full) the generation in force stays and nothing half-written is left.
Result<void> install_generation(const std::filesystem::path& state_folder, std::uint64_t number, const Staged& content,
                                const crypto::PrivateKey& key);

// The one in force is final.
Result<void> confirm_generation(const std::filesystem::path& state_folder);
// Takes out of the way what neither the generation in force nor the one before it needs: generations, packages,
// downloads. Renames and nothing more, so it is done at once; what it returns is to be removed, by whichever thread and
// however slowly (removal.hpp). Does nothing while a generation is on trial.
std::vector<std::filesystem::path> retire_generations(const std::filesystem::path& state_folder);

// Back to the one before the trial, and removes the one that was tried. The number in force then, 0: none. nullopt if
// none is on trial. After an error the next call, by the next start at the latest, goes on with it.
Result<std::optional<std::uint64_t>> revert_generation(const std::filesystem::path& state_folder);
// Back to the one before the one in force, which is removed: as if it had been on trial until now. Its number; kNotFound
// if there is none.
Result<std::uint64_t> roll_back_generation(const std::filesystem::path& state_folder);

// Whether revert or roll-back has gone back to the generation in force (or to none), and the hook has not been told
// since. Another generation that is confirmed ends this too.
bool is_rollback_untold(const std::filesystem::path& state_folder);
Result<void> set_rollback_told(const std::filesystem::path& state_folder);

// What is known about a generation besides its content.
struct GenerationRecord {
  std::uint64_t number = 0;
  std::string installed_at;     // RFC 3339
  std::uint64_t previous = 0;   // the one that was in force before it, 0: none
  std::vector<Package> packages;
  std::vector<std::string> components;  // pids
};
// Of the generation in force. kNotFound if there is none, kCorrupt.
Result<GenerationRecord> read_generation_record(const std::filesystem::path& state_folder);

// The number of the generation in force; nullopt if there is none.
std::optional<std::uint64_t> current_generation(const std::filesystem::path& state_folder);

// The owner connection of the generation in force. kNotFound if there is none, kCorrupt if its files are not what was
// written.
Result<OwnerConnection> load_owner_connection(const std::filesystem::path& state_folder);

}  // namespace fleet::agent
