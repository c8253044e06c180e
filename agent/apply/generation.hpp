// Generations: what one provisioning has brought, whole, in a folder of its own. Switching to one is one rename.
//
//   STATE/generations/N/{configurations.xml, device.key, device-chain.pem, owner-ca.pem, generation.json}
//   STATE/current -> generations/N
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "agent/apply/owner_connection.hpp"
#include "agent/session/session.hpp"
#include "core/base/result.hpp"
#include "core/crypto/key.hpp"

namespace fleet::agent {

inline constexpr std::size_t kGenerationsKept = 3;

// Removes what an installation that was killed has left.
Result<void> remove_half_written(const std::filesystem::path& state_folder);

// Makes generation `number` durable and switches to it; `key` is the device's pending key. Checks first that the
// owner's broker can be reached with it (kInvalidArgument). Harmless to repeat with the same number, with the same
// content or another. On failure (kNoSpace when the disk is full) the generation in force stays and nothing
// half-written is left.
Result<void> install_generation(const std::filesystem::path& state_folder, std::uint64_t number, const Staged& content,
                                const crypto::PrivateKey& key);

// The number of the generation in force; nullopt if there is none.
std::optional<std::uint64_t> current_generation(const std::filesystem::path& state_folder);

// The owner connection of the generation in force. kNotFound if there is none, kCorrupt if its files are not what was
// written.
Result<OwnerConnection> load_owner_connection(const std::filesystem::path& state_folder);

}  // namespace fleet::agent
