#include <filesystem>
#include <fstream>
#include <iterator>
#include <sysexits.h>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
namespace fs = std::filesystem;
using fleet::test::TempFolder;

namespace {

fleet::test::Outcome agent(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), FLEET_AGENT);
  return fleet::test::run(std::move(arguments));
}

fleet::test::Outcome shell(const std::string& script) {
  return fleet::test::run({"bash", "-c", script, "bash", FLEET_AGENT});
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// What a crash leaves while the hook has generation 2 on trial.
struct CrashedOnTrial {
  CrashedOnTrial() {
    fs::create_directories(state / "generations" / "1");
    fs::create_directories(state / "generations" / "2");
    fs::create_symlink("generations/2", state / "current");
    fs::create_symlink("generations/1", state / "trial");
    std::ofstream(folder / "hook") << "#!/bin/sh\necho $1 $FLEET_GENERATION >> " << (folder / "told").string() << "\n";
    fs::permissions(folder / "hook", fs::perms(0700));
    fs::permissions(state, fs::perms(0700));
  }
  auto run(const std::string& command) {
    return agent({command, "--state-dir", state.string(), "--hook", (folder / "hook").string()});
  }
  std::string told() const {
    std::ifstream file(folder / "told");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  TempFolder folder;
  fs::path state = folder / "state";
};

}  // namespace

TEST_CASE("a word that is no command or option is named, with the nearest one") {
  CHECK(has(agent({"bogus"}).errors, "error: bogus: no such command; there are run, status, identity, rollback, reset\n"));
  CHECK(has(agent({"stats"}).errors, "error: stats: no such command; did you mean status?\n"));
  const auto outcome = agent({"run", "--pasword-file=hunter2"});
  CHECK(outcome.exit_code == EX_USAGE);
  CHECK(has(outcome.errors, "error: --pasword-file: no such option; did you mean --password-file?\n"));
  CHECK_FALSE(has(outcome.errors, "hunter2"));
}

TEST_CASE("help has an example") {
  const auto outcome = agent({"--help"});
  CHECK(outcome.exit_code == EX_OK);
  CHECK(has(outcome.output, "Example:\n  provision-agent run "));
}

TEST_CASE("output that does not get out is an error, but a reader that has gone is none") {
  const TempFolder folder;
  const std::string status = "\"$1\" status --state-dir " + folder.path().string();
  const auto full = shell(status + " >/dev/full");
  CHECK(full.exit_code == EX_IOERR);
  CHECK(full.errors == "error: standard output: No space left on device\n");
  CHECK(shell("\"$1\" --help >/dev/full").exit_code == EX_IOERR);
  CHECK(shell(status + " | true").errors.empty());
}

TEST_CASE("a settings file that is a folder, missing or unreadable is told with what helps") {
  const TempFolder folder;
  const auto a_folder = agent({"status", "--config", folder.path().string()});
  CHECK(a_folder.exit_code == EX_CONFIG);
  CHECK(has(a_folder.errors,
            "error: command line: config: " + folder.path().string() + ": a folder, not a settings file\n"));
  const auto missing = agent({"status", "--config", (folder / "none.yaml").string()});
  CHECK(missing.exit_code == EX_CONFIG);
  CHECK(has(missing.errors, "hint: name the settings file with --config, or give the settings as options\n"));
}

TEST_CASE("a file that the command line names and that is not there gets no hint about settings files") {
  const TempFolder folder;
  const auto outcome = agent({"run", "--state-dir", folder.path().string(), "--broker-url", "mqtts://h:8883",
                              "--broker-ca-file", (folder / "none.crt").string(), "--password-file",
                              (folder / "none").string(), "--client-id", "C1", "--username", "u"});
  CHECK(outcome.exit_code == EX_CONFIG);
  CHECK(has(outcome.errors, (folder / "none.crt").string()));
  CHECK_FALSE(has(outcome.errors, "sample agent.yaml"));
}

TEST_CASE("a rollback after a crash on trial goes back to what was in force, no further, and tells the hook") {
  CrashedOnTrial device;
  const auto outcome = device.run("rollback");
  INFO(outcome.errors);
  CHECK(outcome.exit_code == EX_OK);
  CHECK(has(outcome.output, "generation 1 is in force again"));
  CHECK(device.told() == "rollback 1\n");
  CHECK(fs::read_symlink(device.state / "current") == "generations/1");
}

TEST_CASE("a reset after a crash on trial tells the hook that the generation is taken back") {
  CrashedOnTrial device;
  const auto outcome = device.run("reset");
  INFO(outcome.errors);
  CHECK(outcome.exit_code == EX_OK);
  CHECK(device.told() == "rollback 1\n");
}
