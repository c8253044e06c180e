#include "agent/runtime/hook.hpp"

#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

// A hook of one line of shell, run with $1 = the event and `$out` a file that it may write to.
struct Hook {
  explicit Hook(const std::string& script, Millis limit = Seconds(20))
      : runner(io, write(script), folder.path(),
               {.on_end = [this](const std::string& event, std::uint64_t generation) {
                  ended.push_back(event + " " + std::to_string(generation));
                },
                .on_idle = [this] { ++idle; }},
               limit) {}

  fs::path write(const std::string& script) const {
    const fs::path file = folder / "hook";
    std::ofstream(file) << "#!/bin/sh\nout=" << (folder / "out").string() << "\n" << script << "\n";
    fs::permissions(file, fs::perms(0700));
    return file;
  }
  std::string out() const { return read_file(folder / "out").value_or(""); }

  test::TempFolder folder;
  boost::asio::io_context io;
  std::vector<std::string> ended;
  int idle = 0;
  HookRunner runner;
};

TEST_CASE("hooks run one after the other, and each one that has run is told, failed or not") {
  Hook hook("echo $1 $FLEET_GENERATION >> $out; [ $1 != failed ]");
  hook.runner.run("configured", 3);
  hook.runner.run("failed", 3);
  hook.runner.run("provisioned", 4);
  hook.io.run();
  CHECK(hook.out() == "configured 3\nfailed 3\nprovisioned 4\n");
  CHECK(hook.ended == std::vector<std::string>{"configured 3", "failed 3", "provisioned 4"});
  CHECK(hook.idle == 1);
}

TEST_CASE("a hook that cannot be started has not run") {
  Hook hook("true");
  REQUIRE(::chmod((hook.folder / "hook").c_str(), 0600) == 0);
  hook.runner.run("provisioned", 1);
  hook.io.run();
  CHECK(hook.ended.empty());
  CHECK(hook.runner.idle());
}

TEST_CASE("a hook that takes too long is killed with its children") {
  Hook hook("sleep 1000 & sleep 1000", Millis(50));
  hook.runner.run("configured", 1);
  hook.io.run();
  CHECK(hook.ended == std::vector<std::string>{"configured 1"});
}

TEST_CASE("the limit of a hook that has just ended does not kill the next one") {
  constexpr Millis kLimit{2000};
  Hook hook("[ $1 = configured ] || echo $1 >> $out", kLimit);
  hook.runner.run("configured", 1);
  hook.runner.run("provisioned", 1);
  // The first one has ended and its time is up as well before either is noticed.
  std::this_thread::sleep_for(kLimit + Millis(20));
  hook.io.run();
  CHECK(hook.out() == "provisioned\n");
}

TEST_CASE("when it is stopped the hook that runs comes to its end, and those that wait are not begun") {
  Hook hook("echo begun $1 >> $out; sleep 0.2; echo ended $1 >> $out");
  hook.runner.run("configured", 1);
  hook.runner.run("provisioned", 1);
  hook.runner.stop();
  CHECK_FALSE(hook.runner.idle());
  hook.runner.run("failed", 1);
  hook.io.run();
  CHECK(hook.out() == "begun configured\nended configured\n");
  CHECK(hook.ended == std::vector<std::string>{"configured 1"});
  CHECK(hook.idle == 1);
}

TEST_CASE("whoever asks learns what came of a hook, with its last words") {
  std::vector<std::string> outcomes;
  const auto note = [&](const Result<void>& outcome) {
    outcomes.push_back(outcome ? "ok" : outcome.error().message);
  };
  SUBCASE("it went well") {
    Hook hook("echo fine");
    hook.runner.run("apply", 1, note);
    hook.io.run();
    CHECK(outcomes == std::vector<std::string>{"ok"});
  }
  SUBCASE("it failed") {
    Hook hook("echo first; echo 'no such thing: foo' >&2; echo; exit 3");
    hook.runner.run("apply", 1, note);
    hook.io.run();
    CHECK(outcomes == std::vector<std::string>{"the hook failed with exit code 3: no such thing: foo"});
  }
  SUBCASE("it failed without a word") {
    Hook hook("exit 1");
    hook.runner.run("apply", 1, note);
    hook.io.run();
    CHECK(outcomes == std::vector<std::string>{"the hook failed with exit code 1"});
  }
  SUBCASE("it was killed") {
    Hook hook("kill -9 $$");
    hook.runner.run("apply", 1, note);
    hook.io.run();
    CHECK(outcomes == std::vector<std::string>{"the hook ended by signal 9"});
  }
  SUBCASE("it hung") {
    Hook hook("echo waiting; sleep 1000", Millis(200));
    hook.runner.run("apply", 1, note);
    hook.io.run();
    REQUIRE(outcomes.size() == 1);
    CHECK(outcomes[0].starts_with("the hook took longer than 200ms"));
  }
  SUBCASE("it cannot be started") {
    Hook hook("true");
    REQUIRE(::chmod((hook.folder / "hook").c_str(), 0600) == 0);
    hook.runner.run("apply", 1, note);
    hook.io.run();
    REQUIRE(outcomes.size() == 1);
    CHECK(outcomes[0].find("Permission denied") != std::string::npos);
  }
  SUBCASE("there is none") {
    boost::asio::io_context io;
    HookRunner runner(io, {}, {}, {.on_end = [](const std::string&, std::uint64_t) {}, .on_idle = [] {}});
    runner.run("apply", 1, note);
    CHECK(outcomes.empty());  // not inside the call
    io.run();
    CHECK(outcomes == std::vector<std::string>{"ok"});
  }
}

TEST_CASE("a hook that waits when the program is taken out of the settings has nothing to say") {
  Hook hook("true");
  std::vector<std::string> outcomes;
  hook.runner.run("failed", 1);
  hook.runner.run("apply", 2, [&](const Result<void>& outcome) {
    outcomes.push_back(outcome ? "ok" : outcome.error().message);
  });
  hook.runner.set_program({});
  hook.io.run();
  CHECK(outcomes == std::vector<std::string>{"ok"});
  CHECK(hook.ended == std::vector<std::string>{"failed 1"});
  CHECK(hook.idle == 1);
}

TEST_CASE("what is told of one hook may begin another one") {
  Hook hook("echo $1 >> $out; [ $1 != apply ]");
  hook.runner.run("apply", 2, [&](const Result<void>& outcome) {
    CHECK_FALSE(outcome);
    hook.runner.run("rollback", 1);
  });
  hook.io.run();
  CHECK(hook.out() == "apply\nrollback\n");
  CHECK(hook.ended == std::vector<std::string>{"apply 2", "rollback 1"});
  CHECK(hook.idle == 1);
}

TEST_CASE("a process that a hook leaves in the background is not waited for and keeps its output") {
  Hook hook("(sleep 1; echo still here && echo alive > $out) & echo done");
  bool done = false;
  const auto begin = std::chrono::steady_clock::now();
  hook.runner.run("apply", 1, [&](const Result<void>& outcome) {
    done = outcome.has_value();
    CHECK(std::chrono::steady_clock::now() - begin < Millis(900));
  });
  hook.io.run();
  CHECK(done);
  CHECK(hook.out() == "alive\n");
}

TEST_CASE("a hook that writes without end is held up by nobody and holds nobody up") {
  Hook hook("yes | head -c 5000000 >&2; echo last; exit 1");
  std::string outcome;
  hook.runner.run("apply", 1, [&](const Result<void>& result) { outcome = result.error().message; });
  hook.io.run();
  CHECK(outcome == "the hook failed with exit code 1: last");
}

}  // namespace
}  // namespace fleet::agent
