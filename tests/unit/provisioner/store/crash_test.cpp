// kill -9 at each point of a commit: what was answered is there, what was not is whole or absent, the projection never
// admits more than the store, and agrees with it after the next start.
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/crash_point.hpp"
#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace {
// Set in the forked child only.
std::string crash_at;
}  // namespace

// This program brings its own seam instead of core_crash_points_on, so that one child at a time can be told where to
// die.
namespace fleet {
void crash_point(std::string_view name) {
  if (!crash_at.empty() && name == crash_at) ::kill(::getpid(), SIGKILL);
}
}  // namespace fleet

namespace fleet::provisioner {
namespace {

// In a child process: opens the store, runs `work` with the crash armed. True if the child was killed there.
bool killed_at(const std::string& point, const StoreSettings& settings, const Work& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto store = Store::open(settings, post_inline);
    if (!store) ::_exit(1);
    crash_at = point;
    const auto done = (*store)->run(work);
    ::_exit(done ? 2 : 3);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

TEST_CASE("killed at any point of a commit, a piece of work is there as a whole or not at all") {
  StoreFixture fixture;
  ProvisionRequest one = fixture.insert(sample_request("one"));
  ProvisionRequest two = fixture.insert(sample_request("two"));
  fixture.close();
  // Closes one device, opens another, lets a third change its credentials.
  const Work work = [&](Transaction& tx) -> Result<void> {
    ProvisionRequest closed = one;
    closed.status = JobStatus::kAbandoned;
    TRY(tx.update_request(closed));
    ProvisionRequest rekeyed = two;
    rekeyed.connect_verifier = Bytes(32, 'n');
    TRY(tx.update_request(rekeyed));
    ProvisionRequest added = sample_request("three");
    return tx.insert_request(added);
  };
  std::string point;
  bool committed = false;
  SUBCASE("after the closings") {
    point = "store.after-closings";
  }
  SUBCASE("before the commit") {
    point = "store.before-commit";
  }
  SUBCASE("after the commit") {
    point = "store.after-commit";
    committed = true;
  }
  REQUIRE(killed_at(point, fixture.settings(), work));

  // The plugin, in a broker that lives on: the closings are in, no opening is.
  const auto after_crash = fixture.admission("cid-one");
  REQUIRE(after_crash);
  CHECK(after_crash->state == Admission::kAbandoned);
  CHECK_FALSE(fixture.admission("cid-two"));
  CHECK_FALSE(fixture.admission("cid-three"));

  fixture.open();
  CHECK((fixture.find("one")->status == JobStatus::kAbandoned) == committed);
  CHECK((fixture.find("two")->connect_verifier == Bytes(32, 'n')) == committed);
  CHECK(fixture.find("three").has_value() == committed);
  for (const char* const name : {"one", "two", "three"}) {
    const auto stored = fixture.find(name);
    const auto row = fixture.admission(std::string("cid-") + name);
    REQUIRE(row.has_value() == stored.has_value());
    if (row) CHECK(*row == admission_of(*stored));
  }
  CHECK(fixture.projection_generation() == fixture.store_generation());
}

TEST_CASE("what was answered survives kill -9") {
  StoreFixture fixture;
  fixture.close();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto store = Store::open(fixture.settings(), post_inline);
    if (!store) ::_exit(1);
    for (int i = 0; i < 20; ++i) {
      const auto done = (*store)->run([&](Transaction& tx) -> Result<void> {
        ProvisionRequest request = sample_request("r" + std::to_string(i));
        return tx.insert_request(request);
      });
      if (!done) ::_exit(2);
    }
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  fixture.open();
  CHECK(fixture.number("provisioner.db", "SELECT count(*) FROM request") == 20);
  CHECK(fixture.number("admission.db", "SELECT count(*) FROM device") == 20);
}

TEST_CASE("killed in the first commit after the projection was made anew, the next start makes it whole again") {
  StoreFixture fixture;
  fixture.insert(sample_request("one"));
  fixture.close();
  std::filesystem::resize_file(fixture.folder / "admission.db", 0);
  REQUIRE(killed_at("store.before-commit", fixture.settings(), [](Transaction& tx) -> Result<void> {
    ProvisionRequest request = sample_request("two");
    return tx.insert_request(request);
  }));
  fixture.open();
  CHECK(fixture.admission("cid-one"));
  CHECK_FALSE(fixture.admission("cid-two"));
}

}  // namespace
}  // namespace fleet::provisioner
