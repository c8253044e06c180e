#include "agent/apply/state_folder.hpp"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/agent/apply/apply_fixture.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

mode_t mode_of(const fs::path& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

TEST_CASE("a new state folder is private and empty") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  CHECK(mode_of(parent / "state") == 0700);
  const auto state = folder->load_state();
  REQUIRE(state);
  CHECK_FALSE(state->has_value());
}

TEST_CASE("a folder with other things in it is refused and left as it is") {
  test::TempFolder foreign;
  fs::permissions(foreign.path(), fs::perms(0755));
  REQUIRE(write_file(foreign / "passwd", "root"));
  REQUIRE(write_file(foreign / ".passwd.0123.tmp", "root"));
  const auto folder = StateFolder::open(foreign.path());
  REQUIRE_FALSE(folder);
  CHECK(folder.error().code == ErrorCode::kInvalidArgument);
  CHECK(contains(folder.error().message, "state-dir"));
  CHECK(contains(folder.error().message, foreign.path().string()));
  CHECK(contains(folder.error().message, "a folder of its own"));
  CHECK(mode_of(foreign.path()) == 0755);
  CHECK(fs::exists(foreign / ".passwd.0123.tmp"));
  CHECK_FALSE(fs::exists(foreign / "agent.lock"));
}

TEST_CASE("a folder that is empty, a disk of its own, or the agent's is taken") {
  test::TempFolder parent;
  fs::create_directory(parent / "state");
  SUBCASE("empty") {}
  SUBCASE("the root of a file system") {
    fs::create_directory(parent / "state/lost+found");
  }
  SUBCASE("locked before") {
    REQUIRE(write_file(parent / "state/agent.lock", "1"));
    REQUIRE(write_file(parent / "state/notes", "of somebody"));
  }
  SUBCASE("with a state") {
    REQUIRE(write_file(parent / "state/state.json", "{}"));
  }
  SUBCASE("with generations") {
    fs::create_directory(parent / "state/generations");
  }
  const auto folder = StateFolder::open(parent / "state");
  CHECK_MESSAGE(folder, (folder ? "" : folder.error().message));
  CHECK(mode_of(parent / "state") == 0700);
}

TEST_CASE("the state comes back as it was saved, in a private file") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  SessionState state;
  state.phase = Phase::kAwaitingOwner;
  state.attempts_failed = 2;
  state.generation = 7;
  fs::create_symlink("generations/7", parent / "state/current");
  REQUIRE(folder->save_state(state));
  CHECK(mode_of(parent / "state/state.json") == 0600);
  const auto loaded = folder->load_state();
  REQUIRE(loaded);
  REQUIRE(loaded->has_value());
  CHECK((*loaded)->phase == Phase::kAwaitingOwner);
  CHECK((*loaded)->attempts_failed == 2);
  CHECK((*loaded)->generation == 7);
}

TEST_CASE("the generation of a state is the one in force, whatever a crash has left") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  SessionState state;
  state.generation = 2;
  REQUIRE(folder->save_state(state));
  CHECK((*folder->load_state())->generation == 0);
  Pki pki;
  const auto key = folder->device_key();
  REQUIRE(key);
  for (const std::uint64_t number : {1, 2, 3}) REQUIRE(folder->install(number, pki.staged(*key)));
  SUBCASE("switched, not saved") {
    CHECK((*folder->load_state())->generation == 3);
  }
  SUBCASE("written, not switched") {
    REQUIRE(switch_link(parent / "state/current", "generations/2"));
    CHECK((*folder->load_state())->generation == 2);
  }
}

TEST_CASE("a second agent on the same folder is refused with the pid of the first") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  const auto second = StateFolder::open(parent / "state");
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::kConflict);
  CHECK(contains(second.error().message, std::to_string(::getpid())));
  // looking needs no lock
  CHECK(read_state(parent / "state"));
  folder = StateFolder::open(parent / "other");
  CHECK(StateFolder::open(parent / "state"));
}

TEST_CASE("the device key is made once, stored privately, and made anew only when dropped") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  const auto first = folder->device_key();
  REQUIRE_MESSAGE(first, first.error().message);
  CHECK(mode_of(parent / "state/device.key") == 0600);
  CHECK(folder->device_key()->public_key().spki_sha256() == first->public_key().spki_sha256());
  REQUIRE(folder->drop_device_key());
  CHECK(folder->device_key()->public_key().spki_sha256() != first->public_key().spki_sha256());
}

TEST_CASE("a damaged device key is kCorrupt, is not replaced silently, and its error does not quote it") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  REQUIRE(write_file(parent / "state/device.key", "-----BEGIN PRIVATE KEY-----\nsecretbits\n"));
  const auto key = folder->device_key();
  REQUIRE_FALSE(key);
  CHECK(key.error().code == ErrorCode::kCorrupt);
  CHECK(contains(key.error().message, "reset --new-key"));
  CHECK_FALSE(contains(key.error().message, "secretbits"));
  REQUIRE(folder->reset(true));
  CHECK(folder->device_key());
}

TEST_CASE("a damaged state is refused with the way out, and reset keeps it aside") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  for (const std::string_view damaged : {"", "{", "[]", "{\"phase\":\"nonsense\"}", "\0\0\0\0"}) {
    CAPTURE(damaged);
    REQUIRE(write_file(parent / "state/state.json", damaged));
    const auto state = folder->load_state();
    REQUIRE_FALSE(state);
    CHECK(state.error().code == ErrorCode::kCorrupt);
    CHECK(contains(state.error().message, "state.json"));
    CHECK(contains(state.error().message, "provision-agent reset"));
  }
  REQUIRE(write_file(parent / "state/state.json", "half a sta"));
  REQUIRE(folder->reset(false));
  const auto state = folder->load_state();
  REQUIRE(state);
  REQUIRE(state->has_value());
  CHECK((*state)->enabled);
  bool kept = false;
  for (const auto& entry : fs::directory_iterator(parent / "state")) {
    if (!entry.path().filename().string().starts_with("state.json.corrupt-")) continue;
    kept = true;
    CHECK(*read_file(entry.path()) == "half a sta");
  }
  CHECK(kept);
}

TEST_CASE("reset starts over, keeps the configuration in force and tells its number") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  const auto key = folder->device_key();
  REQUIRE(key);
  Pki pki;
  REQUIRE(folder->install(4, pki.staged(*key)));
  SessionState state;
  state.phase = Phase::kGaveUp;
  state.generation = 4;
  state.attempts_failed = 9;
  state.pinned_issuer = "0123456789abcdef0123456789abcdef";
  REQUIRE(folder->save_state(state));

  SUBCASE("by default with the same key") {
    REQUIRE(folder->reset(false));
    CHECK(folder->device_key()->public_key().spki_sha256() == key->public_key().spki_sha256());
  }
  SUBCASE("with a new key if asked") {
    REQUIRE(folder->reset(true));
    CHECK(folder->device_key()->public_key().spki_sha256() != key->public_key().spki_sha256());
  }
  SUBCASE("with a new key if the old one was spent and a crash has kept it") {
    state.phase = Phase::kProvisioned;
    state.enabled = false;
    state.provisioned = true;
    REQUIRE(folder->save_state(state));
    REQUIRE(folder->reset(false));
    CHECK(folder->device_key()->public_key().spki_sha256() != key->public_key().spki_sha256());
  }
  SUBCASE("after a number was claimed that is not in force") {
    state.generation = 6;
    REQUIRE(folder->save_state(state));
    fs::create_directories(parent / "state/generations/5");
    REQUIRE(folder->reset(false));
  }
  SUBCASE("after the state was damaged") {
    REQUIRE(write_file(parent / "state/state.json", "damaged"));
    state.pinned_issuer.reset();
    REQUIRE(folder->reset(false));
  }
  const auto fresh = folder->load_state();
  REQUIRE(fresh);
  REQUIRE(fresh->has_value());
  CHECK((*fresh)->phase == Phase::kWaiting);
  CHECK((*fresh)->enabled);
  CHECK_FALSE((*fresh)->provisioned);
  CHECK((*fresh)->attempts_failed == 0);
  CHECK((*fresh)->generation == 4);
  CHECK((*fresh)->pinned_issuer == state.pinned_issuer);
  CHECK_MESSAGE(folder->owner_connection(), "the device keeps what works until another configuration replaces it");
}

}  // namespace
}  // namespace fleet::agent
