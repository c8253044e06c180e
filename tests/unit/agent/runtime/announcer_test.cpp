#include "agent/runtime/announcer.hpp"

#include <fstream>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

// A device's state folder and a hook of one line of shell, which outlive the process that tells it.
struct Device {
  test::TempFolder state, outside;

  fs::path hook(const std::string& script = "echo $1 $FLEET_GENERATION >> $out") const {
    const fs::path file = outside / "hook";
    fs::remove(file);
    std::ofstream(file) << "#!/bin/sh\nout=" << (outside / "out").string() << "\n" << script << "\n";
    fs::permissions(file, fs::perms(0700));
    return file;
  }
  std::string told() const { return read_file(outside / "out").value_or(""); }

  // One process: `tell` says what it tells the hook, then it runs until nothing is left to do.
  void run(const std::function<void(Announcer&)>& tell) const { run(tell, hook()); }
  void run(const std::function<void(Announcer&)>& tell, const fs::path& program) const {
    boost::asio::io_context io;
    Announcer announcer(io, state.path(), program, [] {});
    tell(announcer);
    io.run();
  }
  // One that dies while its hook is at work.
  void die(const std::function<void(Announcer&)>& tell) const {
    boost::asio::io_context io;
    Announcer announcer(io, state.path(), hook("sleep 1000"), [] {});
    tell(announcer);
  }
};

SessionState failed_state(int attempts) {
  SessionState state;
  state.attempts_failed = attempts;
  state.generation = 2;
  return state;
}

SessionState provisioned_state() {
  SessionState state;
  state.provisioned = true;
  state.generation = 2;
  return state;
}

TEST_CASE("what the hook was told it is not told again") {
  const Device device;
  SessionState state;
  SUBCASE("that an attempt has failed") {
    state = failed_state(3);
    device.run([](Announcer& hook) { hook.failed(2, 3); });
    REQUIRE(device.told() == "failed 2\n");
  }
  SUBCASE("that the device is provisioned") {
    state = provisioned_state();
    device.run([](Announcer& hook) { hook.provisioned(2); });
    REQUIRE(device.told() == "provisioned 2\n");
  }
  SUBCASE("also if it did not like it") {
    state = failed_state(1);
    const fs::path angry = device.hook("echo $1 $FLEET_GENERATION >> $out; exit 1");
    device.run([](Announcer& hook) { hook.failed(2, 1); }, angry);
    REQUIRE(device.told() == "failed 2\n");
  }
  fs::remove(device.outside / "out");
  device.run([&](Announcer& hook) { hook.catch_up(state); });
  CHECK(device.told().empty());
}

TEST_CASE("what a crash has kept from the hook is told by the next start, once for failures of one kind") {
  const Device device;
  SessionState state;
  std::string expected;
  SUBCASE("nothing") {}
  SUBCASE("failed attempts") {
    state = failed_state(3);
    device.run([](Announcer& hook) { hook.failed(2, 1); });
    fs::remove(device.outside / "out");
    device.die([](Announcer& hook) {
      hook.failed(2, 2);
      hook.failed(2, 3);
    });
    expected = "failed 2\n";
  }
  SUBCASE("that the device is provisioned") {
    state = provisioned_state();
    device.die([](Announcer& hook) { hook.provisioned(2); });
    expected = "provisioned 2\n";
  }
  SUBCASE("that a generation is in force again") {
    state = provisioned_state();
    fs::create_symlink("generations/2", device.state / "reverted");
    expected = "rollback 2\nprovisioned 2\n";
  }
  SUBCASE("a hook that could not be started") {
    state = failed_state(1);
    const fs::path broken = device.hook();
    fs::permissions(broken, fs::perms(0600));
    device.run([](Announcer& hook) { hook.failed(2, 1); }, broken);
    expected = "failed 2\n";
  }
  CHECK(device.told().empty());
  device.run([&](Announcer& hook) { hook.catch_up(state); });
  CHECK(device.told() == expected);
  device.run([&](Announcer& hook) { hook.catch_up(state); });
  CHECK(device.told() == expected);
}

TEST_CASE("as long as another call of the same kind waits, the hook is owed it") {
  const Device device;
  device.run(
      [&](Announcer& hook) {
        hook.failed(2, 1);
        hook.failed(2, 2);
      },
      device.hook("echo $1 >> $out; [ $(wc -l < $out) -gt 1 ] || [ ! -e " + (device.state / "failures-told").string() +
                  " ] || echo too early >> $out"));
  CHECK(device.told() == "failed\nfailed\n");
  device.run([](Announcer& hook) { hook.catch_up(failed_state(2)); });
  CHECK(device.told() == "failed\nfailed\n");
}

TEST_CASE("without a hook nobody is owed anything about a way back") {
  const Device device;
  fs::create_symlink("generations/1", device.state / "reverted");
  bool done = false;
  device.run([&](Announcer& hook) { hook.rolled_back(1, [&](const Result<void>& told) { done = told.has_value(); }); }, {});
  CHECK(done);
  CHECK_FALSE(fs::is_symlink(device.state / "reverted"));
}

TEST_CASE("a command that goes back tells the hook itself, and says what it answered") {
  const Device device;
  fs::create_symlink("generations/1", device.state / "reverted");
  CHECK(tell_of_rollback(device.state.path(), device.hook(), 1));
  CHECK(device.told() == "rollback 1\n");
  CHECK_FALSE(fs::is_symlink(device.state / "reverted"));
  const auto refused = tell_of_rollback(device.state.path(), device.hook("echo no >&2; exit 2"), 1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message == "the hook failed with exit code 2: no");
  CHECK(in_force_again(1) == "generation 1 is in force again");
  CHECK(in_force_again(0) == "no configuration is in force");
}

}  // namespace
}  // namespace fleet::agent
