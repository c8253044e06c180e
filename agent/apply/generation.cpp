#include "agent/apply/generation.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <stdio.h>
#include <vector>

#include "core/base/crash_point.hpp"
#include "core/base/file.hpp"
#include "core/base/log.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

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

// Every file is synced by write_file, the folder with the last of them.
Result<void> write_files(const fs::path& folder, std::uint64_t number, const Files& files,
                         const crypto::PrivateKey& key) {
  TRY(make_folder(folder));
  TRY(write_file(folder / kConfigurations, files.configurations.reveal()));
  if (!files.chain_pem.empty()) {
    TRY(write_file(folder / kKey, key.to_pem().reveal()));
    TRY(write_file(folder / kChain, files.chain_pem, 0644));
  }
  if (!files.owner_cas_pem.empty()) TRY(write_file(folder / kOwnerCas, files.owner_cas_pem, 0644));
  return write_file(folder / kRecord,
                    fmt::format("{{\"generation\":{},\"installedAt\":\"{}\"}}\n", number, format_time(wall_now())),
                    0644);
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

void prune(const fs::path& state_folder, std::uint64_t in_force) {
  const std::vector<std::uint64_t> numbers = list_generations(state_folder);
  for (std::size_t i = 0; i + kGenerationsKept < numbers.size(); ++i) {
    if (numbers[i] == in_force) continue;
    const auto removed = fleet::remove_all(generations(state_folder) / std::to_string(numbers[i]));
    if (!removed) log::warn("apply", "an old generation stays", {{"error", removed.error().message}});
  }
}

fs::path target_of(std::uint64_t number) {
  return fs::path("generations") / std::to_string(number);
}

// After a switch to `number` that has failed: the link may point there already, only not durably. The generation goes
// once the link is known to point elsewhere again, on the disk too; what a power cut could bring back stays.
void undo_switch(const fs::path& state_folder, std::uint64_t number, std::optional<std::uint64_t> former) {
  Result<void> undone;
  if (current_generation(state_folder) == number) {
    if (former) {
      undone = switch_link(link(state_folder), target_of(*former));
    } else {
      undone = fleet::remove_all(link(state_folder));
      if (undone) undone = sync_folder(state_folder);
    }
  }
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
  return {};
}

Result<void> install_generation(const fs::path& state_folder, std::uint64_t number, const Staged& content,
                                const crypto::PrivateKey& key) {
  if (number == 0) return fail(ErrorCode::kInternal, "generation 0: generations are numbered from 1");
  TRY_ASSIGN(const Files files, check(content, key));
  const std::string context = fmt::format("generation {}", number);
  const fs::path parent = generations(state_folder);
  const fs::path temporary = parent / fmt::format(".{}.{}.tmp", number, to_hex(random_bytes(6)));
  const std::optional<std::uint64_t> former = current_generation(state_folder);
  const bool in_force = former == number;

  Result<void> installed = make_folder(parent);
  if (installed) installed = write_files(temporary, number, files, key);
  if (installed) installed = put_in_place(temporary, parent / std::to_string(number), in_force);
  if (!installed) {
    // best effort: the next start removes it too
    static_cast<void>(fleet::remove_all(temporary).has_value());
    return fail(with_context(installed.error(), context));
  }
  crash_point("agent.generation-written");
  if (const auto switched = switch_link(link(state_folder), target_of(number)); !switched) {
    if (!in_force) undo_switch(state_folder, number, former);
    return fail(with_context(switched.error(), context));
  }
  crash_point("agent.generation-switched");
  prune(state_folder, number);
  return {};
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
