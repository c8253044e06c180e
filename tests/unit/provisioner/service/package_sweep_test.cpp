#include "provisioner/service/package_sweep.hpp"

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "provisioner/service/foundation.hpp"
#include "tests/unit/provisioner/service/stage.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

const std::string kOne(64, '1');
const std::string kTwo(64, '2');
constexpr auto kLong = PackageSweep::kUploadGrace;

// Two files that no package names.
struct Sweeping : Stage {
  Sweeping() {
    REQUIRE(packages.prepare());
    for (const std::string& name : {kOne, kTwo}) REQUIRE(write_file(packages.path() / name, name));
  }
  std::size_t round(WallTime now) {
    std::size_t removed = 0;
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(removed, sweep.round(tx, packages, now));
      return {};
    });
    return removed;
  }
  void drop(const std::string& sha256) {
    run([&](Transaction& tx) { return sweep.remove_dropped(tx, packages, {sha256}, start); });
  }
  void name(const std::string& sha256) {
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(auto request, tx.find_request(request_id));
      Package package;
      package.name = "app";
      package.version = "1";
      package.source = PackageSource::kFile;
      package.file_name = "app.tgz";
      package.sha256 = sha256;
      package.size = 64;
      request->packages = std::vector<Package>{package};
      return tx.update_request(*request);
    });
  }
  void end(AttemptState state, WallTime at) {
    Attempt ended = attempt();
    ended.state = state;
    ended.ended_at = at;
    ended.due_at.reset();
    run([&](Transaction& tx) { return tx.update_attempt(ended); });
  }

  fleet::test::TempFolder folder;
  PackageFolder packages{folder / "packages"};
  PackageSweep sweep;
  const WallTime start = wall_now();
};

}  // namespace

TEST_CASE("A file that is dropped goes at once, but not while an attempt may download it") {
  Sweeping files;
  files.drop(kOne);
  CHECK_FALSE(files.packages.has(kOne));
  files.open_attempt(files.start, Seconds(300));
  files.drop(kTwo);
  CHECK(files.packages.has(kTwo));
  files.end(AttemptState::kCompleted, files.start);
  files.drop(kTwo);  // an optional package may come after the configuration
  CHECK(files.packages.has(kTwo));
  files.end(AttemptState::kFailed, files.start);
  files.drop(kTwo);
  CHECK_FALSE(files.packages.has(kTwo));
}

TEST_CASE("What was uploaded and not named within an hour goes; what is named stays") {
  Sweeping files;
  CHECK(files.round(files.start) == 0);
  CHECK(files.round(files.start + kLong - Seconds(1)) == 0);
  files.name(kTwo);
  CHECK(files.round(files.start + kLong) == 1);
  CHECK_FALSE(files.packages.has(kOne));
  CHECK(files.packages.has(kTwo));
}

TEST_CASE("A round waits for the attempts that began while the file was named, not for later ones") {
  Sweeping files;
  files.open_attempt(files.start, Seconds(300));
  CHECK(files.round(files.start) == 0);
  CHECK(files.round(files.start + kLong) == 0);
  files.end(AttemptState::kCompleted, files.start + kLong);
  CHECK(files.round(files.start + kLong + kCompletedGrace - Seconds(1)) == 0);
  CHECK(files.round(files.start + kLong + kCompletedGrace) == 2);
  Sweeping busy;
  CHECK(busy.round(busy.start) == 0);
  busy.open_attempt(busy.start + Seconds(1), Seconds(300));
  CHECK(busy.round(busy.start + kLong) == 2);
}

TEST_CASE("A link to an IPv6 address has it in brackets") {
  CHECK(packages_url_of("2001:db8::1", 8885) == "https://[2001:db8::1]:8885");
  CHECK(packages_url_of("192.0.2.1", 8885) == "https://192.0.2.1:8885");
  CHECK(packages_url_of("plant.example", 8885) == "https://plant.example:8885");
}
