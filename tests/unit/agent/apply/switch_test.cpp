// The switch to a new generation when the disk fails right behind it: whatever `current` points to is there and whole.
#include <cerrno>
#include <functional>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/base/file.hpp"
#include "tests/unit/agent/apply/apply_fixture.hpp"

namespace {

// Says of which folder or file an fsync fails. One for this whole test program: see fsync() below.
std::function<bool(const std::filesystem::path&)>& fsync_fails() {
  static std::function<bool(const std::filesystem::path&)> fails;
  return fails;
}

}  // namespace

// Takes the place of the C library's in this program.
extern "C" int fsync(int fd) {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
  if (!error && fsync_fails() && fsync_fails()(path)) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

struct FailingDisk {
  explicit FailingDisk(std::function<bool(const fs::path&)> fails) { fsync_fails() = std::move(fails); }
  ~FailingDisk() { fsync_fails() = {}; }
};

struct Device {
  test::TempFolder folder;
  Pki pki;
  crypto::PrivateKey key = *crypto::PrivateKey::generate();

  fs::path path() const { return fs::canonical(folder.path()); }
  Result<void> install(std::uint64_t number) {
    return install_generation(path(), number, pki.staged(key, fmt::format("mqtts://owner-{}.example.com", number)), key);
  }
  bool has(std::uint64_t number) const { return fs::exists(path() / "generations" / std::to_string(number)); }
  std::string host() const {
    const auto connection = load_owner_connection(path());
    return connection ? connection->broker_url.host : connection.error().message;
  }
};

TEST_CASE("a switch whose fsync fails is taken back, and what was in force stays in force") {
  Device device;
  REQUIRE(device.install(1));
  {
    const FailingDisk disk(
        [&](const fs::path& path) { return path == device.path() && current_generation(device.path()) == 2; });
    const auto installed = device.install(2);
    REQUIRE_FALSE(installed);
    CHECK(installed.error().code == ErrorCode::kIo);
  }
  CHECK(current_generation(device.path()) == 1);
  CHECK(device.host() == "owner-1.example.com");
  CHECK_FALSE(device.has(2));
  CHECK_MESSAGE(!is_rollback_untold(device.path()), "the hook never heard of it");
  REQUIRE(device.install(2));
  CHECK(device.host() == "owner-2.example.com");
}

TEST_CASE("a switch that cannot be taken back either keeps both generations, for either may be in force") {
  Device device;
  REQUIRE(device.install(1));
  {
    bool failing = false;
    const FailingDisk disk([&](const fs::path& path) {
      failing = failing || current_generation(device.path()) == 2;
      return failing && path == device.path();
    });
    REQUIRE_FALSE(device.install(2));
  }
  CHECK(device.has(1));
  CHECK(device.has(2));
  CHECK(load_owner_connection(device.path()));
  REQUIRE(device.install(2));
  CHECK(device.host() == "owner-2.example.com");
}

TEST_CASE("a first generation whose switch fails leaves no link that points nowhere") {
  Device device;
  {
    const FailingDisk disk(
        [&](const fs::path& path) { return path == device.path() && fs::is_symlink(device.path() / "current"); });
    REQUIRE_FALSE(device.install(1));
  }
  CHECK_FALSE(current_generation(device.path()));
  CHECK_FALSE(device.has(1));
  REQUIRE(device.install(1));
  CHECK(device.host() == "owner-1.example.com");
}

}  // namespace
}  // namespace fleet::agent
