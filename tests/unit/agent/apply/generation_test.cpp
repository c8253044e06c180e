#include <csignal>
#include <fstream>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "core/base/file.hpp"
#include "tests/unit/agent/apply/apply_fixture.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

struct Device {
  test::TempFolder folder;
  Pki pki;
  crypto::PrivateKey key = *crypto::PrivateKey::generate();

  fs::path path() const { return folder.path(); }
  // Installed and confirmed, and what is old taken out of the way.
  Result<void> install(std::uint64_t number, const Staged& content) {
    TRY(try_out(number, content));
    TRY(confirm_generation(path()));
    for (const fs::path& retired : retire_generations(path())) TRY(fleet::remove_all(retired));
    return {};
  }
  Result<void> try_out(std::uint64_t number, const Staged& content) {
    return install_generation(path(), number, content, key);
  }
  mode_t mode(const std::string& name) const {
    struct stat status {};
    REQUIRE(::stat((path() / name).c_str(), &status) == 0);
    return status.st_mode & 07777;
  }
  // Names below generations/, hidden ones too.
  std::vector<std::string> listed() const {
    std::vector<std::string> names;
    if (!fs::exists(path() / "generations")) return names;
    for (const auto& entry : fs::directory_iterator(path() / "generations")) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_CASE("a generation is whole, private and in force after its installation") {
  Device device;
  REQUIRE_FALSE(current_generation(device.path()).has_value());
  CHECK(load_owner_connection(device.path()).error().code == ErrorCode::kNotFound);

  const auto installed = device.install(1, device.pki.staged(device.key));
  REQUIRE_MESSAGE(installed, installed.error().message);
  CHECK(current_generation(device.path()) == 1);
  CHECK(fs::read_symlink(device.path() / "current") == "generations/1");
  CHECK(device.mode("current/configurations.xml") == 0600);
  CHECK(device.mode("current/device.key") == 0600);
  CHECK(device.mode("generations") == 0700);

  const auto connection = load_owner_connection(device.path());
  REQUIRE_MESSAGE(connection, connection.error().message);
  CHECK(connection->generation == 1);
  CHECK(connection->account == "acme");
  REQUIRE(connection->key.has_value());
  CHECK(connection->key->public_key().spki_sha256() == device.key.public_key().spki_sha256());
  REQUIRE(connection->chain.size() == 1);
  CHECK(connection->chain[0].subject_cn() == "gw-1");
  REQUIRE(connection->roots.size() == 1);
  const auto xml = read_file(device.path() / "current/configurations.xml");
  REQUIRE(xml);
  CHECK_MESSAGE(protocol::parse_xml(*xml)->size() == 2, "all components are kept, not only the owner connection");
}

TEST_CASE("a generation keeps the key that it was made with") {
  Device device;
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  device.key = *crypto::PrivateKey::generate();
  const auto connection = load_owner_connection(device.path());
  REQUIRE(connection);
  CHECK(connection->key->public_key().spki_sha256() != device.key.public_key().spki_sha256());
  CHECK(connection->key->public_key().spki_sha256() == connection->chain[0].public_key().spki_sha256());
}

TEST_CASE("installing the same number again is harmless, with the same content and with another") {
  Device device;
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  REQUIRE(device.install(1, device.pki.staged(device.key, "mqtts://second.example.com")));
  CHECK(load_owner_connection(device.path())->broker_url.host == "second.example.com");
  CHECK(device.listed() == std::vector<std::string>{"1"});
}

TEST_CASE("a generation written but not switched to before a crash is replaced") {
  Device device;
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  REQUIRE(device.install(2, device.pki.staged(device.key, "mqtts://lost.example.com")));
  REQUIRE(switch_link(device.path() / "current", "generations/1"));
  REQUIRE(device.install(2, device.pki.staged(device.key, "mqtts://second.example.com")));
  CHECK(current_generation(device.path()) == 2);
  CHECK(load_owner_connection(device.path())->broker_url.host == "second.example.com");
}

TEST_CASE("the generation in force and the one before it are kept") {
  Device device;
  for (std::uint64_t number = 1; number <= 12; ++number) REQUIRE(device.install(number, device.pki.staged(device.key)));
  CHECK(device.listed() == std::vector<std::string>{"11", "12"});
}

TEST_CASE("what is retired but not removed yet is in nobody's way, and a start removes it") {
  Device device;
  for (const std::uint64_t number : {1, 2, 3}) {
    REQUIRE(device.try_out(number, device.pki.staged(device.key)));
    REQUIRE(confirm_generation(device.path()));
  }
  const auto retired = retire_generations(device.path());
  REQUIRE(retired.size() == 1);
  CHECK(fs::exists(retired.front()));
  CHECK_FALSE(fs::exists(device.path() / "generations/1"));
  // back to where the number is free again, and on with the one that is still being removed
  REQUIRE(roll_back_generation(device.path()) == 2);
  REQUIRE(device.try_out(1, device.pki.staged(device.key, "mqtts://anew.example.com")));
  REQUIRE(confirm_generation(device.path()));
  REQUIRE(fleet::remove_all(retired.front()));
  CHECK(load_owner_connection(device.path())->broker_url.host == "anew.example.com");

  REQUIRE(device.try_out(2, device.pki.staged(device.key)));
  CHECK_MESSAGE(retire_generations(device.path()).empty(), "what a trial may go back to stays");
  REQUIRE(confirm_generation(device.path()));
  REQUIRE(device.try_out(3, device.pki.staged(device.key)));
  REQUIRE(confirm_generation(device.path()));
  REQUIRE(retire_generations(device.path()).size() == 1);
  REQUIRE(remove_half_written(device.path()));
  CHECK(device.listed() == std::vector<std::string>{"2", "3"});
}

TEST_CASE("a hook is owed its word on every way back until it has been told, and on no other") {
  Device device;
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  CHECK_FALSE(is_rollback_untold(device.path()));
  REQUIRE(device.try_out(2, device.pki.staged(device.key)));
  CHECK_FALSE(is_rollback_untold(device.path()));
  SUBCASE("of a trial") {
    REQUIRE(*revert_generation(device.path()) == 1);
  }
  SUBCASE("of what a crash has left on trial") {
    REQUIRE(StateFolder::open(device.path())->reverted() == 1);
  }
  SUBCASE("that a person wanted") {
    REQUIRE(confirm_generation(device.path()));
    REQUIRE(roll_back_generation(device.path()) == 1);
    CHECK_FALSE(fs::exists(device.path() / "generations/2"));
  }
  SUBCASE("that a crash has cut in two") {
    REQUIRE(confirm_generation(device.path()));
    REQUIRE(switch_link(device.path() / "trial", "generations/1"));
    REQUIRE(StateFolder::open(device.path())->reverted() == 1);
  }
  CHECK(current_generation(device.path()) == 1);
  CHECK_FALSE(fs::is_symlink(device.path() / "trial"));
  REQUIRE(is_rollback_untold(device.path()));
  const auto next = StateFolder::open(device.path());
  REQUIRE(next);
  CHECK_MESSAGE(!next->reverted(), "it happened once");
  REQUIRE(is_rollback_untold(device.path()));
  REQUIRE(set_rollback_told(device.path()));
  CHECK_FALSE(is_rollback_untold(device.path()));
}

TEST_CASE("another generation that is final ends what the hook is owed about the way back before it") {
  Device device;
  REQUIRE(device.try_out(1, device.pki.staged(device.key)));
  REQUIRE(*revert_generation(device.path()) == 0);
  REQUIRE(device.try_out(1, device.pki.staged(device.key)));
  CHECK(is_rollback_untold(device.path()));
  REQUIRE(confirm_generation(device.path()));
  CHECK_FALSE(is_rollback_untold(device.path()));
}

TEST_CASE("half-written folders are removed, whole generations are not") {
  Device device;
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  fs::create_directories(device.path() / "generations/.2.abcdef.tmp");
  std::ofstream(device.path() / "generations/.2.abcdef.tmp/device.key") << "half";
  std::ofstream(device.path() / ".state.json.abcdef.tmp") << "half";
  REQUIRE(remove_half_written(device.path()));
  CHECK(device.listed() == std::vector<std::string>{"1"});
  CHECK_FALSE(fs::exists(device.path() / ".state.json.abcdef.tmp"));
  CHECK(load_owner_connection(device.path()));
}

TEST_CASE("what could never connect does not replace what works") {
  Device device;
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  const auto refuses = [&](const Staged& content, std::string_view why) {
    const auto installed = device.install(2, content);
    REQUIRE_FALSE(installed);
    CHECK(installed.error().code == ErrorCode::kInvalidArgument);
    CHECK(contains(installed.error().message, why));
    CHECK(current_generation(device.path()) == 1);
    CHECK(device.listed() == std::vector<std::string>{"1"});
  };
  SUBCASE("no owner's broker") {
    Staged content = device.pki.staged(device.key);
    content.configurations.erase(content.configurations.begin());
    refuses(content, "MqttDataTransport");
  }
  SUBCASE("another device's certificate") {
    refuses(device.pki.staged(*crypto::PrivateKey::generate()), "does not belong to this device's key");
  }
  SUBCASE("neither a certificate nor a password") {
    Staged content = device.pki.staged(device.key);
    content.device_chain_pem.clear();
    refuses(content, "neither");
  }
}

TEST_CASE("a username and password need no certificate") {
  Device device;
  Staged content = device.pki.staged(device.key);
  content.device_chain_pem.clear();
  content.configurations[0].properties.push_back({"username", protocol::PropertyType::kString, false, false, {"u1"}});
  content.configurations[0].properties.push_back({"password", protocol::PropertyType::kPassword, false, false, {"p1"}});
  REQUIRE(device.install(1, content));
  const auto connection = load_owner_connection(device.path());
  REQUIRE(connection);
  CHECK(connection->username == "u1");
  CHECK_FALSE(connection->key.has_value());
  CHECK_FALSE(fs::exists(device.path() / "current/device.key"));
}

TEST_CASE("damaged files of a generation are kCorrupt and name the generation") {
  Device device;
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  const char* name = nullptr;
  SUBCASE("configuration") {
    name = "configurations.xml";
  }
  SUBCASE("key") {
    name = "device.key";
  }
  SUBCASE("chain") {
    name = "device-chain.pem";
  }
  SUBCASE("CAs") {
    name = "owner-ca.pem";
  }
  REQUIRE(write_file(device.path() / "current" / name, "garbage"));
  const auto connection = load_owner_connection(device.path());
  REQUIRE_FALSE(connection);
  CHECK(connection.error().code == ErrorCode::kCorrupt);
  CHECK(contains(connection.error().message, "generation 1"));
}

// A file system with room for little, where mounting is allowed; elsewhere a limit on the size of a file.
class FullDisk {
 public:
  explicit FullDisk(fs::path folder) : folder_(std::move(folder)) {
    mounted_ = ::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=64k") == 0;
    if (!mounted_) {
      ::getrlimit(RLIMIT_FSIZE, &before_);
      before_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    }
  }
  ~FullDisk() {
    release();
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

  // Room for an empty folder or two, not for a generation.
  void fill() {
    if (mounted_) {
      std::ofstream filler(folder_ / "filler");
      const std::string block(4096, 'x');
      while (filler.write(block.data(), 4096).flush()) {
      }
      filler.close();
      fs::resize_file(folder_ / "filler", fs::file_size(folder_ / "filler") / 4096 * 4096 - 4096);
    } else {
      rlimit limit = before_;
      limit.rlim_cur = 200;
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
  }
  void release() {
    if (mounted_) {
      fs::remove(folder_ / "filler");
    } else {
      ::setrlimit(RLIMIT_FSIZE, &before_);
      std::signal(SIGXFSZ, before_handler_);
    }
  }
  bool mounted() const { return mounted_; }

 private:
  fs::path folder_;
  bool mounted_ = false;
  rlimit before_{};
  void (*before_handler_)(int) = SIG_DFL;
};

TEST_CASE(
    "a full disk leaves the generation in force and nothing half-written, and is no longer in the way afterwards") {
  Device device;
  FullDisk disk(device.path());
  REQUIRE(device.install(1, device.pki.staged(device.key)));
  disk.fill();
  const auto installed = device.install(2, device.pki.staged(device.key, "mqtts://second.example.com"));
  const auto listed = device.listed();
  const auto current = current_generation(device.path());
  disk.release();
  REQUIRE_FALSE(installed);
  if (disk.mounted()) CHECK(installed.error().code == ErrorCode::kNoSpace);
  CHECK(contains(installed.error().message, "generation 2"));
  CHECK(current == 1);
  CHECK(listed == std::vector<std::string>{"1"});
  REQUIRE(device.install(2, device.pki.staged(device.key, "mqtts://second.example.com")));
  CHECK(load_owner_connection(device.path())->broker_url.host == "second.example.com");
}

TEST_CASE("a full disk does not damage the saved state") {
  Device device;
  FullDisk disk(device.path());
  auto folder = StateFolder::open(device.path());
  REQUIRE(folder);
  SessionState state;
  state.attempts_failed = 3;
  REQUIRE(folder->save_state(state));
  disk.fill();
  state.attempts_failed = 4;
  state.last_failure = {wall_now(), std::string(9000, 'x')};
  const auto saved = folder->save_state(state);
  disk.release();
  REQUIRE_FALSE(saved);
  if (disk.mounted()) CHECK(saved.error().code == ErrorCode::kNoSpace);
  const auto loaded = folder->load_state();
  REQUIRE(loaded);
  REQUIRE(loaded->has_value());
  CHECK((*loaded)->attempts_failed == 3);
  REQUIRE(folder->save_state(state));
}

}  // namespace
}  // namespace fleet::agent
