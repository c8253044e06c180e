#include "agent/apply/state_folder.hpp"

#include <cerrno>
#include <cstdio>

#include "agent/apply/hook_notes.hpp"
#include "core/base/crash_point.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kLock = "agent.lock";

fs::path state_file(const fs::path& folder) {
  return folder / "state.json";
}
fs::path key_file(const fs::path& folder) {
  return folder / "device.key";
}

// A folder of somebody else's would be locked away from its users and lose files: only an empty one becomes ours.
Result<void> check_ours(const fs::path& folder) {
  bool foreign = false;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name == kLock || name == "state.json" || name == "generations") return {};
    foreign = foreign || name != "lost+found";
  }
  if (!foreign) return {};
  return fail(ErrorCode::kInvalidArgument,
              "state-dir: {}: holds other things and nothing of an agent's; name a folder of its own, new or empty",
              folder.string());
}

}  // namespace

Result<std::optional<SessionState>> read_state(const fs::path& folder) {
  auto text = read_file(state_file(folder));
  if (!text && text.error().code == ErrorCode::kNotFound) return std::optional<SessionState>();
  TRY(text);
  auto state = parse_session_state(*text);
  wipe(*text);
  if (!state) {
    return fail(ErrorCode::kCorrupt, "{}: {}; `provision-agent reset` keeps it aside and starts over",
                state_file(folder).string(), state.error().message);
  }
  state->generation = current_generation(folder).value_or(0);
  return std::optional<SessionState>(std::move(*state));
}

Result<StateFolder> StateFolder::open(const fs::path& folder) {
  TRY(check_ours(folder));
  TRY(make_folder(folder));
  TRY_ASSIGN(FileLock lock, FileLock::acquire(folder / kLock));
  TRY(remove_half_written(folder));
  StateFolder opened(folder, std::move(lock));
  TRY_ASSIGN(opened.reverted_, revert_generation(folder));
  return opened;
}

Result<void> StateFolder::save_state(const SessionState& state) const {
  std::string text = to_json(state);
  const auto written = write_file(state_file(folder_), text);
  wipe(text);
  TRY(written);
  crash_point(fmt::format("agent.state-saved.{}", to_string(state.phase)));
  return {};
}

Result<crypto::PrivateKey> StateFolder::device_key() const {
  const fs::path file = key_file(folder_);
  auto pem = read_file(file, 65536);
  if (pem) {
    auto key = crypto::PrivateKey::from_pem(*pem);
    wipe(*pem);
    if (key) return key;
    return fail(ErrorCode::kCorrupt, "{}: {}; `provision-agent reset --new-key` makes another", file.string(),
                key.error().message);
  }
  if (pem.error().code != ErrorCode::kNotFound) return fail(pem.error());
  TRY_ASSIGN(crypto::PrivateKey key, crypto::PrivateKey::generate());
  TRY(create_file(file, key.to_pem().reveal()));
  crash_point("agent.key-made");
  return key;
}

Result<void> StateFolder::drop_device_key() const {
  TRY(fleet::remove_all(key_file(folder_)));
  return sync_folder(folder_);
}

Result<void> StateFolder::install(std::uint64_t generation, const Staged& content) const {
  TRY_ASSIGN(const crypto::PrivateKey key, device_key());
  return install_generation(folder_, generation, content, key);
}

Result<void> StateFolder::reset(bool new_key) const {
  SessionState fresh;
  fresh.generation = current_generation(folder_).value_or(0);
  bool spent = false;  // the key: what it was for has been reached
  auto old = load_state();
  if (!old) {
    if (old.error().code != ErrorCode::kCorrupt) return fail(old.error());
    const fs::path aside = folder_ / fmt::format("state.json.corrupt-{}", to_unix_millis(wall_now()));
    if (std::rename(state_file(folder_).c_str(), aside.c_str()) != 0) return fail(errno_error(errno, aside.string()));
  } else if (*old) {
    spent = (*old)->provisioned;
    fresh.pinned_issuer = (*old)->pinned_issuer;
    fresh.last_time = (*old)->last_time;
  }
  // In this order a reset that is killed in between can simply be repeated: an unfinished attempt never meets a new
  // key, and a spent key never a new attempt.
  if (spent) TRY(drop_device_key());
  TRY(HookNotes(folder_).forget());
  TRY(save_state(fresh));
  if (new_key) TRY(drop_device_key());
  return {};
}

}  // namespace fleet::agent
