#include "agent/apply/package_store.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/apply/removal.hpp"
#include "core/base/crash_point.hpp"
#include "core/base/file.hpp"
#include "core/base/log.hpp"
#include "core/base/secret.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kPackageFolder = 0755;

fs::path packages(const fs::path& state_folder) {
  return state_folder / "packages";
}

std::vector<fs::path> list(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    paths.push_back(it->path());
  }
  return paths;
}

// Everything below a folder, at once: one call instead of an fsync for each of thousands of files.
Result<void> sync_tree(const fs::path& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::syncfs(fd.get()) != 0) return fail(errno_error(errno, folder.string()));
  return {};
}

Result<void> keep_as_is(const fs::path& file, const fs::path& target) {
  // The download has the mode of a private file and is removed later: the same bytes under another name.
  if (::link(file.c_str(), target.c_str()) != 0) return fail(errno_error(errno, target.string()));
  return {};
}

bool is_called_archive(std::string_view name) {
  return name.ends_with(".tar.gz") || name.ends_with(".tgz");
}

Result<void> fill(const fs::path& folder, const fs::path& file, const std::string& file_name, const Unpack& unpack,
                  const UnpackProgress& progress) {
  TRY(make_folder(folder, kPackageFolder));
  TRY_ASSIGN(const bool unpacked, unpack(file, folder, progress));
  if (unpacked) return {};
  if (is_called_archive(file_name)) {
    return fail(ErrorCode::kMalformed, "{} is not a tar archive in gzip", file_name);
  }
  return keep_as_is(file, folder / file_name);
}

// Removes a folder if it is empty.
void tidy(const fs::path& folder) {
  ::rmdir(folder.c_str());
}

// Where downloads are on their way.
fs::path downloads(const fs::path& state_folder) {
  return state_folder / "downloads";
}

}  // namespace

fs::path package_folder(const fs::path& state_folder, const Package& package) {
  return packages(state_folder) / package.id.name / package.id.version / package.sha256;
}

fs::path download_file(const fs::path& state_folder, const Package& package) {
  return downloads(state_folder) / package.sha256;
}

bool has_package(const fs::path& state_folder, const Package& package) {
  std::error_code ignored;
  return fs::is_directory(fs::symlink_status(package_folder(state_folder, package), ignored));
}

Result<void> store_package(const fs::path& state_folder, const Package& package, const fs::path& file,
                           const std::string& file_name, const Unpack& unpack, const UnpackProgress& progress) {
  if (has_package(state_folder, package)) return {};
  const fs::path place = package_folder(state_folder, package);
  const fs::path temporary = packages(state_folder) / fmt::format(".{}.tmp", to_hex(random_bytes(6)));
  Result<void> stored = make_folder(packages(state_folder), kPackageFolder);
  if (stored) stored = fill(temporary, file, file_name, unpack, progress);
  if (stored) stored = sync_tree(temporary);
  if (stored) stored = make_folder(place.parent_path().parent_path(), kPackageFolder);
  if (stored) stored = make_folder(place.parent_path(), kPackageFolder);
  crash_point("agent.package-unpacked");
  // Syncing takes its time, and whoever has cancelled meanwhile has no use for the package.
  std::error_code ignored;
  const std::uint64_t size = fs::file_size(file, ignored);
  if (stored && !progress(size, size)) stored = fail(ErrorCode::kUnavailable, "cancelled");
  if (stored && ::rename(temporary.c_str(), place.c_str()) != 0) stored = fail(errno_error(errno, place.string()));
  if (!stored) {
    // best effort: the next start removes it too
    static_cast<void>(fleet::remove_all(temporary).has_value());
    tidy(place.parent_path());
    tidy(place.parent_path().parent_path());
    return stored;
  }
  TRY(sync_folder(place.parent_path()));
  crash_point("agent.package-stored");
  return {};
}

std::string file_name_of(std::string_view uri, std::string_view otherwise) {
  uri = uri.substr(0, uri.find_first_of("?#"));
  const std::string_view name = uri.substr(uri.rfind('/') + 1);
  const bool harmless =
      !name.empty() && name.size() <= 255 && name.front() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("._+~-").find(c) != std::string_view::npos;
      });
  return std::string(harmless ? name : otherwise);
}

std::vector<fs::path> retire_packages(const fs::path& state_folder, const std::vector<Package>& kept) {
  std::vector<fs::path> retired;
  const auto retire = [&](const fs::path& path, const fs::path& folder) {
    if (auto aside = set_aside(path, folder)) {
      retired.push_back(std::move(*aside));
    } else if (aside.error().code != ErrorCode::kNotFound) {
      log::warn("apply", "an old package stays", {{"error", aside.error().message}});
    }
  };
  std::vector<fs::path> places;
  for (const Package& package : kept) places.push_back(package_folder(state_folder, package));
  const auto is_kept = [&](const fs::path& path) {
    return std::find(places.begin(), places.end(), path) != places.end();
  };
  for (const fs::path& name : list(packages(state_folder))) {
    if (name.filename().string().starts_with('.')) continue;  // being unpacked or removed, maybe on another thread
    for (const fs::path& version : list(name)) {
      for (const fs::path& content : list(version)) {
        if (!is_kept(content)) retire(content, packages(state_folder));
      }
      tidy(version);
    }
    tidy(name);
  }
  retire(downloads(state_folder), state_folder);
  return retired;
}

Result<void> remove_half_unpacked(const fs::path& state_folder) {
  for (const fs::path& path : list(packages(state_folder))) {
    const std::string name = path.filename().string();
    if (name.starts_with('.') && name.ends_with(".tmp")) TRY(fleet::remove_all(path));
  }
  return {};
}

}  // namespace fleet::agent
