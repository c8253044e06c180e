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

}  // namespace
}  // namespace fleet::agent
