#include "agent/apply/hook_notes.hpp"

#include "core/base/file.hpp"
#include "tests/unit/agent/apply/apply_fixture.hpp"

namespace fleet::agent {
namespace {

TEST_CASE("a hook knows what it was told, until that is another thing or another provisioning begins") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  const HookNotes notes(folder->path());
  CHECK_FALSE(notes.knows_provisioned(3));
  CHECK_FALSE(notes.knows_failures(2));
  CHECK_MESSAGE(notes.knows_failures(0), "there is nothing to know");
  REQUIRE(notes.told_provisioned(3));
  REQUIRE(notes.told_failures(2));
  CHECK(notes.knows_provisioned(3));
  CHECK_FALSE(notes.knows_provisioned(4));
  CHECK(notes.knows_failures(2));
  CHECK_FALSE(notes.knows_failures(3));
  REQUIRE(notes.told_provisioned(4));
  CHECK_FALSE(notes.knows_provisioned(3));
  REQUIRE(folder->reset(false));
  CHECK_FALSE(notes.knows_provisioned(4));
  CHECK_FALSE(notes.knows_failures(2));
}

TEST_CASE("a rollback is owed until it was told, also across a reset") {
  test::TempFolder parent;
  auto folder = StateFolder::open(parent / "state");
  REQUIRE(folder);
  const HookNotes notes(folder->path());
  CHECK_FALSE(notes.owes_rollback());
  const auto key = folder->device_key();
  REQUIRE(key);
  REQUIRE(folder->install(1, Pki().staged(*key)));
  REQUIRE(*folder->revert() == 0);
  CHECK(notes.owes_rollback());
  REQUIRE(folder->reset(false));
  CHECK(notes.owes_rollback());
  REQUIRE(notes.told_rollback());
  CHECK_FALSE(notes.owes_rollback());
}

}  // namespace
}  // namespace fleet::agent
