// Unpacks a .tar.gz that nobody trusts (libarchive). The agent has this done by its package helper (package_helper.hpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "core/base/result.hpp"

namespace fleet::agent {

struct UnpackLimits {
  std::uint64_t max_size = 1024 * 1024 * 1024;  // bytes, of all files together: package-max-unpacked
  std::uint64_t max_entries = 20'000;           // headers, and folders that have none: package-max-entries
  std::size_t max_depth = 32;                   // names in a path
  std::uint64_t disk_reserve = 1024 * 1024;     // bytes that stay free, so that the agent can still save its state
};

// Told of each piece: compressed bytes so far, of how many. False cancels.
using UnpackProgress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

// False if the file is no tar in gzip, by its content and not by its name: then nothing was done. Unpacks `file` into `folder`, which is there and empty, and to which nobody else writes. Only regular files and
// folders are taken; an archive with anything else (links, devices, pipes), with an absolute path, `..`, a control
// character or a path twice is refused as a whole. Files get their mode without set-id bits and without write for
// others, folders 0755, everything belongs to the caller. kMalformed, kLimitExceeded, kNoSpace, kUnavailable when
// cancelled; what has been unpacked until then stays for the caller to remove. Not synced. Blocks; any thread.
Result<bool> unpack(const std::filesystem::path& file, const std::filesystem::path& folder, const UnpackLimits& limits,
                    const UnpackProgress& progress);

}  // namespace fleet::agent
