// Connectors that are programs: real ones, most of them shell scripts.
#include "provisioner/owner/command.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "provisioner/owner/connector.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::provisioner;

namespace {

const std::atomic<bool> kGoOn = false;

Result<CommandResult> shell(const std::string& script, const std::string& input = "", Seconds limit = Seconds(20)) {
  return run_command({"/bin/sh", "-c", script}, Secret(input), limit, kGoOn);
}

OwnerLogin login() {
  return {"acme", "GW1", "user", Secret("pass\"word"), true};
}

}  // namespace

TEST_CASE("A program gets its input and its end of it, and tells how it went") {
  const fleet::test::TempFolder folder;
  const std::string file = (folder / "seen").string();
  auto result = shell("cat > " + file + "; echo problem >&2; echo dropped; exit 3", "the input");
  REQUIRE(result);
  CHECK(result->exit_code == 3);
  CHECK(result->errors == "problem");
  CHECK(read_file(file) == "the input");
}

TEST_CASE("A program that reads nothing, or writes a lot, hinders nobody") {
  CHECK(shell("exit 0", std::string(10'000'000, 'x'))->exit_code == 0);
  const auto loud = shell("yes long line | head -c 5000000 >&2; exit 4");
  REQUIRE(loud);
  CHECK(loud->exit_code == 4);
  CHECK(loud->errors.size() <= 500);
  CHECK(loud->errors.find('\n') == std::string::npos);
  CHECK(shell("exec 2>&-; sleep 0.3; exit 5")->exit_code == 5);
}

TEST_CASE("A program that hangs is killed with its children at the limit") {
  const fleet::test::TempFolder folder;
  const std::string pids = (folder / "pids").string();
  const auto result = shell("sleep 100 & echo $! > " + pids + "; sleep 100", "", Seconds(1));
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kTimedOut);
  const std::string pid = read_file(pids).value_or("0");
  CHECK(fleet::test::eventually([&] {
    const auto status = read_file("/proc/" + pid.substr(0, pid.find('\n')) + "/stat");
    return !status || status->find(") Z") != std::string::npos;
  }));
}

TEST_CASE("A service that stops does not wait for a program") {
  std::atomic<bool> stopping = false;
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    stopping = true;
  });
  const auto result = run_command({"/bin/sleep", "100"}, Secret(), Seconds(60), stopping);
  stopper.join();
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kUnavailable);
}

TEST_CASE("A program that is not there, may not be run or dies is an error that names it") {
  CHECK(run_command({"/nowhere/program"}, Secret(), Seconds(5), kGoOn).error().code == ErrorCode::kNotFound);
  CHECK(run_command({"/etc/passwd"}, Secret(), Seconds(5), kGoOn).error().code == ErrorCode::kPermissionDenied);
  const auto dead = shell("kill -9 $$");
  REQUIRE_FALSE(dead);
  CHECK(dead.error().message.find("signal 9") != std::string::npos);
}

TEST_CASE("The program has no secrets of ours in its environment, and no arguments but its own") {
  const fleet::test::TempFolder folder;
  const std::string file = (folder / "environment").string();
  REQUIRE(shell("env > " + file)->exit_code == 0);
  const std::string seen = *read_file(file);
  CHECK(seen.find("PATH=") != std::string::npos);
  CHECK(seen.find("HOME=") == std::string::npos);
}

TEST_CASE("The program inherits no files and sockets of ours") {
  const fleet::test::TempFolder folder;
  // as a library may open one: without O_CLOEXEC
  const int ours = ::open((folder / "of-ours").c_str(), O_RDWR | O_CREAT, 0600);
  REQUIRE(ours > 2);
  const std::string file = (folder / "seen").string();
  const auto result = shell("ls -l /proc/$$/fd > " + file);
  ::close(ours);
  REQUIRE(result);
  const std::string seen = *read_file(file);
  CHECK(seen.find("socket:") != std::string::npos);  // its input
  CHECK(seen.find("of-ours") == std::string::npos);
}

TEST_CASE("A connector is told the login as JSON; 0 is taken, 75 is later, the rest is somebody's to look at") {
  const fleet::test::TempFolder folder;
  const std::string file = (folder / "seen").string();
  const auto by = [&](const std::string& script) {
    OwnerConnector connector;
    connector.command = {"/bin/sh", "-c", script};
    return hand_over(connector, login(), kGoOn);
  };
  REQUIRE(by("cat > " + file));
  CHECK(*read_file(file) == "{\"action\":\"set\",\"account\":\"acme\",\"clientId\":\"GW1\",\"username\":\"user\",\"password\":"
                            "\"pass\\\"word\",\"deviceCredentialsTight\":\"STRICT\"}\n");
  const auto later = by("echo locked >&2; exit 75");
  REQUIRE_FALSE(later);
  CHECK(later.error().code == ErrorCode::kUnavailable);
  CHECK(later.error().message == "/bin/sh says: try again: locked");
  const auto wrong = by("exit 1");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code == ErrorCode::kInvalidArgument);
  CHECK(wrong.error().message.find("pass") == std::string::npos);
}

TEST_CASE("A connector that is to take a login back is told so, and one that does not know of it sets a password nobody has") {
  const fleet::test::TempFolder folder;
  const std::string file = (folder / "seen").string();
  OwnerConnector connector;
  connector.command = {"/bin/sh", "-c", "cat >> " + file};
  OwnerLogin given = login();
  given.password = Secret();
  REQUIRE(take_back(connector, given, kGoOn));
  REQUIRE(take_back(connector, given, kGoOn));
  const std::string seen = *read_file(file);
  const std::string begin = "{\"action\":\"remove\",\"account\":\"acme\",\"clientId\":\"GW1\",\"username\":\"user\",\"password\":\"";
  CHECK(seen.starts_with(begin));
  const std::string first = seen.substr(begin.size(), 32);
  CHECK(first.find('"') == std::string::npos);
  CHECK(seen.find(first, begin.size() + 1) == std::string::npos);  // the second time another one
  connector.command = {"/bin/sh", "-c", "cat >&2; exit 75"};
  const auto later = take_back(connector, given, kGoOn);
  REQUIRE_FALSE(later);
  CHECK(later.error().code == ErrorCode::kUnavailable);
  CHECK(later.error().message.find("\"password\":\"***\"") != std::string::npos);
}

TEST_CASE("A connector that repeats its input to stderr does not bring the password into the error") {
  OwnerConnector connector;
  for (const std::string code : {"1", "75"}) {
    connector.command = {"/bin/sh", "-c", "cat >&2; echo ' pass\"word pass\"word.' >&2; exit " + code};
    const auto result = hand_over(connector, login(), kGoOn);
    REQUIRE_FALSE(result);
    CAPTURE(result.error().message);
    CHECK(result.error().message.find("word\":\"***\"") != std::string::npos);
    CHECK(result.error().message.find("*** ***.") != std::string::npos);
    CHECK(result.error().message.find("\"word") == std::string::npos);
  }
}

TEST_CASE("A password at which what is kept of stderr ends is not shown in part") {
  OwnerConnector connector;
  connector.command = {"/bin/sh", "-c", "printf '%494s' x >&2; cat >/dev/null; printf 'pass\"word' >&2; exit 1"};
  const auto result = hand_over(connector, login(), kGoOn);
  REQUIRE_FALSE(result);
  CAPTURE(result.error().message);
  CHECK(result.error().message.ends_with("x***"));
}
