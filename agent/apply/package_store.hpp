// The packages on this device, versions side by side. Each is a folder that never changes once it is there, so any
// number of generations can refer to it.
//
//   STATE/packages/NAME/VERSION/SHA256/…   what the archive holds; a file that is no archive stays as it is
//   STATE/downloads/SHA256[.part]          on their way
//
// The digest is part of the place: the same version with another content is another package, and a rollback finds the
// content that the generation was made with.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/apply/unpack.hpp"
#include "agent/session/session.hpp"
#include "core/base/result.hpp"

namespace fleet::agent {

// Where a package is, below `state_folder` or, with "" for that, relative to it.
std::filesystem::path package_folder(const std::filesystem::path& state_folder, const Package& package);
// Where its file is while it is on its way.
std::filesystem::path download_file(const std::filesystem::path& state_folder, const Package& package);

bool has_package(const std::filesystem::path& state_folder, const Package& package);

// unpack() with its limits: its own, or that of a PackageHelper.
using Unpack = std::function<Result<bool>(const std::filesystem::path& file, const std::filesystem::path& folder,
                                          const UnpackProgress& progress)>;

// Puts `file`, whose digest has been checked, in its place, whole and durable or not at all: a .tar.gz unpacked, any
// other file as `file_name`. A file that is called .tar.gz or .tgz must be one. Harmless to repeat. The errors of
// `unpack`, and those of the disk.
Result<void> store_package(const std::filesystem::path& state_folder, const Package& package,
                           const std::filesystem::path& file, const std::string& file_name, const Unpack& unpack,
                           const UnpackProgress& progress);

// The name under which the file at `uri` is kept if it is no archive: the last name in its path, or `otherwise`.
std::string file_name_of(std::string_view uri, std::string_view otherwise);

// Sets aside all packages but `kept`, and all downloads (removal.hpp); returns where they are now.
std::vector<std::filesystem::path> retire_packages(const std::filesystem::path& state_folder,
                                                   const std::vector<Package>& kept);

// Removes what an unpacking that was killed has left.
Result<void> remove_half_unpacked(const std::filesystem::path& state_folder);

}  // namespace fleet::agent
