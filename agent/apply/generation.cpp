#include "agent/apply/generation.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <stdio.h>
#include <vector>

#include <boost/json.hpp>

#include "agent/apply/package_store.hpp"
#include "agent/apply/removal.hpp"
#include "core/base/crash_point.hpp"
#include "core/base/file.hpp"
#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::string_view kConfigurations = "configurations.xml";
constexpr std::string_view kKey = "device.key";
constexpr std::string_view kChain = "device-chain.pem";
constexpr std::string_view kOwnerCas = "owner-ca.pem";
constexpr std::string_view kRecord = "generation.json";

fs::path generations(const fs::path& state_folder) {
  return state_folder / "generations";
}
fs::path link(const fs::path& state_folder) {
  return state_folder / "current";
}
fs::path trial(const fs::path& state_folder) {
  return state_folder / "trial";
}
fs::path reverted(const fs::path& state_folder) {
  return state_folder / "reverted";
}
// What links say, relative to the state folder.
fs::path target(std::uint64_t number) {
  return number == 0 ? fs::path("none") : fs::path("generations") / std::to_string(number);
}

std::optional<std::uint64_t> parse_number(const std::string& name) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number == 0) return std::nullopt;
  return number;
}

std::vector<std::uint64_t> list_generations(const fs::path& state_folder) {
  std::vector<std::uint64_t> numbers;
  std::error_code error;
  for (fs::directory_iterator it(generations(state_folder), error), end; !error && it != end; it.increment(error)) {
    if (const auto number = parse_number(it->path().filename().string())) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

std::string join(const std::vector<std::string>& pems) {
  std::string text;
  for (const std::string& pem : pems) {
    text += pem;
    if (!pem.ends_with('\n')) text += '\n';
  }
  return text;
}

std::string join_cas(const Staged& content) {
  std::vector<std::string> pems;
  for (const auto& [alias, pem] : content.trusted_pem) pems.push_back(pem);
  return join(pems);
}

// The parts of a generation as files; what is not there has no file.
struct Files {
  Secret configurations;  // holds passwords
  std::string chain_pem;
  std::string owner_cas_pem;
};

// A configuration that the device could never connect with must not replace one that works.
Result<Files> check(const Staged& content, const crypto::PrivateKey& key) {
  TRY_ASSIGN(const OwnerConnection connection, parse_owner_connection(content.configurations));
  Files files;
  files.chain_pem = join(content.device_chain_pem);
  files.owner_cas_pem = join_cas(content);
  if (files.chain_pem.empty()) {
    if (!connection.username) {
      return fail(ErrorCode::kInvalidArgument, "configuration: neither username and password nor a device certificate");
    }
  } else {
    TRY_ASSIGN(const auto chain, crypto::Certificate::chain_from_pem(files.chain_pem));
    if (chain.front().public_key().spki_sha256() != key.public_key().spki_sha256()) {
      return fail(ErrorCode::kInvalidArgument, "device certificate '{}': does not belong to this device's key",
                  chain.front().subject_cn());
    }
  }
  if (!files.owner_cas_pem.empty()) TRY(crypto::Certificate::chain_from_pem(files.owner_cas_pem, 100));
  TRY_ASSIGN(std::string xml, protocol::to_xml(content.configurations));
  files.configurations = Secret(xml);
  wipe(xml);
  return files;
}

// --- the record

std::string to_json(const GenerationRecord& record) {
  json::array packages;
  for (const Package& package : record.packages) {
    packages.push_back(
        json::object{{"name", package.id.name}, {"version", package.id.version}, {"sha256", package.sha256}});
  }
  return json::serialize(json::object{{"generation", record.number},
                                      {"installedAt", record.installed_at},
                                      {"previous", record.previous},
                                      {"packages", std::move(packages)},
                                      {"components", json::array(record.components.begin(), record.components.end())}}) +
         "\n";
}

Result<GenerationRecord> parse_record(std::string_view text) try {
  const json::value value = json::parse({text.data(), text.size()});
  const json::object& object = value.as_object();
  GenerationRecord record;
  record.number = object.at("generation").to_number<std::uint64_t>();
  record.installed_at = std::string(object.at("installedAt").as_string());
  if (!object.contains("packages")) return record;  // written by version 0.1
  record.previous = object.at("previous").to_number<std::uint64_t>();
  for (const json::value& entry : object.at("packages").as_array()) {
    const json::object& package = entry.as_object();
    record.packages.push_back({{std::string(package.at("name").as_string()), std::string(package.at("version").as_string())},
                               std::string(package.at("sha256").as_string())});
  }
  for (const json::value& pid : object.at("components").as_array()) record.components.emplace_back(pid.as_string());
  return record;
} catch (const std::exception& exception) {
  return fail(ErrorCode::kCorrupt, "{}: {}", kRecord, exception.what());
}

Result<GenerationRecord> read_record(const fs::path& state_folder, std::uint64_t number) {
  TRY_ASSIGN(const Bytes text, read_file(generations(state_folder) / std::to_string(number) / kRecord));
  return parse_record(text);
}

// The generation before `number`: by its record, else (version 0.1 wrote none) by its number. 0: none.
std::uint64_t previous_of(const fs::path& state_folder, std::uint64_t number) {
  const std::vector<std::uint64_t> numbers = list_generations(state_folder);
  const auto record = read_record(state_folder, number);
  if (record && record->previous != 0) {
    const bool there = std::find(numbers.begin(), numbers.end(), record->previous) != numbers.end();
    return there ? record->previous : 0;
  }
  const auto next = std::lower_bound(numbers.begin(), numbers.end(), number);
  return next == numbers.begin() || record ? 0 : *std::prev(next);
}

GenerationRecord make_record(std::uint64_t number, std::uint64_t previous, const Staged& content) {
  GenerationRecord record{number, format_time(wall_now()), previous, content.packages, {}};
  for (const auto& component : content.configurations) record.components.push_back(component.pid);
  return record;
}

// --- writing

Result<void> check_packages(const fs::path& state_folder, const std::vector<Package>& packages) {
  for (const Package& package : packages) {
    if (has_package(state_folder, package)) continue;
    return fail(ErrorCode::kNotFound, "package {} {}: is not on this device any more", package.id.name,
                package.id.version);
  }
  return {};
}

// Links from the generation to its packages, which it shares with others.
Result<void> link_packages(const fs::path& folder, const std::vector<Package>& packages) {
  const fs::path up = fs::path("..") / ".." / ".." / "..";  // packages/NAME, the generation, generations
  for (const Package& package : packages) {
    const fs::path parent = folder / "packages" / package.id.name;
    TRY(make_folder(folder / "packages"));
    TRY(make_folder(parent));
    TRY(switch_link(parent / package.id.version, package_folder(up, package)));
  }
  return {};
}

// Every file is synced by write_file, the folder with the last of them.
Result<void> write_files(const fs::path& folder, const GenerationRecord& record, const Files& files,
                         const crypto::PrivateKey& key) {
  TRY(make_folder(folder));
  TRY(link_packages(folder, record.packages));
  TRY(write_file(folder / kConfigurations, files.configurations.reveal()));
  if (!files.chain_pem.empty()) {
    TRY(write_file(folder / kKey, key.to_pem().reveal()));
    TRY(write_file(folder / kChain, files.chain_pem, 0644));
  }
  if (!files.owner_cas_pem.empty()) TRY(write_file(folder / kOwnerCas, files.owner_cas_pem, 0644));
  return write_file(folder / kRecord, to_json(record), 0644);
}

// Gives the finished folder its place. A generation of that number is there only if an installation was killed behind
// this point; if it is already the one in force, the two are exchanged, so that `current` never points nowhere.
Result<void> put_in_place(const fs::path& finished, const fs::path& place, bool in_force) {
  std::error_code ignored;
  if (!fs::exists(place, ignored)) {
    if (::rename(finished.c_str(), place.c_str()) != 0) return fail(errno_error(errno, place.string()));
  } else if (in_force) {
    if (::renameat2(AT_FDCWD, finished.c_str(), AT_FDCWD, place.c_str(), RENAME_EXCHANGE) != 0) {
      return fail(errno_error(errno, place.string()));
    }
    TRY(fleet::remove_all(finished));
  } else {
    TRY(fleet::remove_all(place));
    if (::rename(finished.c_str(), place.c_str()) != 0) return fail(errno_error(errno, place.string()));
  }
  return sync_folder(place.parent_path());
}

Result<void> remove_link(const fs::path& link) {
  if (::unlink(link.c_str()) != 0 && errno != ENOENT) return fail(errno_error(errno, link.string()));
  return sync_folder(link.parent_path());
}

// `current` points at that generation, or nowhere for 0.
Result<void> put_in_force(const fs::path& state_folder, std::uint64_t number) {
  return number == 0 ? remove_link(link(state_folder)) : switch_link(link(state_folder), target(number));
}

// What was in force before the trial is so again. The number, 0: none; nullopt if none is on trial. `trial` is still
// there: a crash repeats this.
Result<std::optional<std::uint64_t>> leave_trial(const fs::path& state_folder) {
  std::error_code error;
  const fs::path before = fs::read_symlink(trial(state_folder), error);
  if (error) return std::optional<std::uint64_t>();
  const std::uint64_t previous = parse_number(before.filename().string()).value_or(0);
  const std::uint64_t tried = current_generation(state_folder).value_or(0);
  TRY(put_in_force(state_folder, previous));
  crash_point("agent.generation-reverted");
  if (tried != previous) TRY(fleet::remove_all(generations(state_folder) / std::to_string(tried)));
  return std::optional(previous);
}

// After a switch to `number` that has failed: the link may point there already, only not durably. The generation goes
// once the link is known to point elsewhere again, on the disk too; what a power cut could bring back stays. The hook
// was never told of it, so it need not hear that it has gone.
void undo_switch(const fs::path& state_folder, std::uint64_t number) {
  Result<void> undone;
  if (const auto left = leave_trial(state_folder); !left) undone = fail(left.error());
  if (undone) undone = remove_link(trial(state_folder));
  if (undone) undone = fleet::remove_all(generations(state_folder) / std::to_string(number));
  if (!undone) {
    log::warn("apply", "a generation that did not come into force stays",
              {{"generation", number}, {"error", undone.error().message}});
  }
}

Error as_corrupt(Error error, std::string_view what) {
  if (error.code != ErrorCode::kPermissionDenied && error.code != ErrorCode::kIo) error.code = ErrorCode::kCorrupt;
  return with_context(std::move(error), what);
}

// The file's content, or "" if this generation has none.
Result<Bytes> read_optional(const fs::path& file) {
  auto content = read_file(file);
  if (!content && content.error().code == ErrorCode::kNotFound) return Bytes();
  return content;
}

Result<OwnerConnection> load(const fs::path& folder) {
  TRY_ASSIGN(Bytes xml, read_file(folder / kConfigurations));
  auto configurations = protocol::parse_xml(xml);
  wipe(xml);
  TRY(configurations);
  TRY_ASSIGN(OwnerConnection connection, parse_owner_connection(*configurations));
  TRY_ASSIGN(const Bytes chain_pem, read_optional(folder / kChain));
  if (!chain_pem.empty()) {
    TRY_ASSIGN(connection.chain, crypto::Certificate::chain_from_pem(chain_pem));
    TRY_ASSIGN(Bytes key_pem, read_file(folder / kKey));
    auto key = crypto::PrivateKey::from_pem(key_pem);
    wipe(key_pem);
    TRY(key);
    connection.key = std::move(*key);
  }
  TRY_ASSIGN(const Bytes cas_pem, read_optional(folder / kOwnerCas));
  if (!cas_pem.empty()) {
    TRY_ASSIGN(connection.roots, crypto::Certificate::chain_from_pem(cas_pem, 100));
  }
  return connection;
}

}  // namespace

Result<void> remove_half_written(const fs::path& state_folder) {
  std::vector<fs::path> leftovers;
  std::error_code error;
  for (const fs::path& folder : {state_folder, generations(state_folder)}) {
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (name.starts_with('.') && name.ends_with(".tmp")) leftovers.push_back(it->path());
    }
  }
  for (const fs::path& leftover : leftovers) TRY(fleet::remove_all(leftover));
  return remove_half_unpacked(state_folder);
}

Result<void> install_generation(const fs::path& state_folder, std::uint64_t number, const Staged& content,
                                const crypto::PrivateKey& key) {
  if (number == 0) return fail(ErrorCode::kInternal, "generation 0: generations are numbered from 1");
  TRY_ASSIGN(const Files files, check(content, key));
  TRY(check_packages(state_folder, content.packages));
  const std::string context = fmt::format("generation {}", number);
  const fs::path parent = generations(state_folder);
  const fs::path temporary = parent / fmt::format(".{}.{}.tmp", number, to_hex(random_bytes(6)));
  const std::uint64_t now = current_generation(state_folder).value_or(0);
  const bool in_force = now == number;
  const std::uint64_t previous = in_force ? previous_of(state_folder, number) : now;

  Result<void> installed = make_folder(parent);
  if (installed) installed = write_files(temporary, make_record(number, previous, content), files, key);
  if (installed) installed = switch_link(trial(state_folder), target(previous));
  if (installed) installed = put_in_place(temporary, parent / std::to_string(number), in_force);
  if (!installed) {
    // best effort: the next start removes it too
    static_cast<void>(fleet::remove_all(temporary).has_value());
    if (!in_force) static_cast<void>(remove_link(trial(state_folder)).has_value());
    return fail(with_context(installed.error(), context));
  }
  crash_point("agent.generation-written");
  if (const auto switched = put_in_force(state_folder, number); !switched) {
    if (!in_force) undo_switch(state_folder, number);
    return fail(with_context(switched.error(), context));
  }
  crash_point("agent.generation-switched");
  return {};
}

Result<void> confirm_generation(const fs::path& state_folder) {
  TRY(remove_link(reverted(state_folder)));
  return remove_link(trial(state_folder));
}

std::vector<fs::path> retire_generations(const fs::path& state_folder) {
  std::vector<fs::path> retired;
  const auto in_force = current_generation(state_folder);
  if (!in_force || fs::is_symlink(trial(state_folder))) return retired;
  const std::uint64_t previous = previous_of(state_folder, *in_force);
  std::vector<Package> packages;
  for (const std::uint64_t number : list_generations(state_folder)) {
    const fs::path folder = generations(state_folder) / std::to_string(number);
    if (number == *in_force || number == previous) {
      const auto record = read_record(state_folder, number);
      if (!record) {
        log::warn("apply", "old packages stay", {{"error", record.error().message}});
        return retired;
      }
      packages.insert(packages.end(), record->packages.begin(), record->packages.end());
    } else if (auto aside = set_aside(folder, generations(state_folder))) {
      retired.push_back(std::move(*aside));
    } else {
      log::warn("apply", "an old generation stays", {{"error", aside.error().message}});
    }
  }
  for (fs::path& path : retire_packages(state_folder, packages)) retired.push_back(std::move(path));
  return retired;
}

Result<std::optional<std::uint64_t>> revert_generation(const fs::path& state_folder) {
  TRY_ASSIGN(const auto previous, leave_trial(state_folder));
  if (!previous) return previous;
  // In one step the trial is over and the hook is owed its word about that.
  if (::rename(trial(state_folder).c_str(), reverted(state_folder).c_str()) != 0) {
    return fail(errno_error(errno, trial(state_folder).string()));
  }
  TRY(sync_folder(state_folder));
  crash_point("agent.rollback-owed");
  return previous;
}

Result<std::uint64_t> roll_back_generation(const fs::path& state_folder) {
  const auto number = current_generation(state_folder);
  if (!number) return fail(ErrorCode::kNotFound, "{}: no configuration is in force", state_folder.string());
  const std::uint64_t previous = previous_of(state_folder, *number);
  if (previous == 0) {
    return fail(ErrorCode::kNotFound, "{}: there is no generation before generation {}", state_folder.string(), *number);
  }
  auto usable = load(generations(state_folder) / std::to_string(previous));
  if (!usable) return fail(as_corrupt(usable.error(), fmt::format("generation {}", previous)));
  TRY(switch_link(trial(state_folder), target(previous)));
  crash_point("agent.rollback-begun");
  if (const auto back = revert_generation(state_folder); !back) {
    // It has not even begun: the next start need not go on with it.
    if (current_generation(state_folder) == number) static_cast<void>(remove_link(trial(state_folder)).has_value());
    return fail(back.error());
  }
  return previous;
}

bool is_rollback_untold(const fs::path& state_folder) {
  return fs::is_symlink(reverted(state_folder));
}

Result<void> set_rollback_told(const fs::path& state_folder) {
  return remove_link(reverted(state_folder));
}

Result<GenerationRecord> read_generation_record(const fs::path& state_folder) {
  const auto number = current_generation(state_folder);
  if (!number) return fail(ErrorCode::kNotFound, "{}: no configuration is in force", state_folder.string());
  auto record = read_record(state_folder, *number);
  if (!record) return fail(as_corrupt(record.error(), fmt::format("generation {}", *number)));
  return record;
}

std::optional<std::uint64_t> current_generation(const fs::path& state_folder) {
  std::error_code error;
  const fs::path target = fs::read_symlink(link(state_folder), error);
  if (error) return std::nullopt;
  return parse_number(target.filename().string());
}

Result<OwnerConnection> load_owner_connection(const fs::path& state_folder) {
  const auto number = current_generation(state_folder);
  if (!number) {
    return fail(ErrorCode::kNotFound, "{}: no configuration is in force", state_folder.string());
  }
  const fs::path folder = generations(state_folder) / std::to_string(*number);
  auto connection = load(folder);
  if (!connection) return fail(as_corrupt(connection.error(), fmt::format("generation {}", *number)));
  connection->generation = *number;
  return connection;
}

}  // namespace fleet::agent
