#include "agent/runtime/status.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include "agent/runtime/status_socket.hpp"
#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

AgentStatus full_status() {
  const WallTime at = from_unix_millis(1'800'000'000'000);
  AgentStatus status;
  status.pid = 4711;
  status.phase = "awaiting-owner";
  status.enabled = true;
  status.attempts_failed = 2;
  status.generation = 3;
  status.packages = {{{"app", "1.0"}, std::string(64, 'a')}, {{"tool", "7"}, std::string(64, 'b')}};
  status.client_id = "02FC00000001";
  status.owner_broker = "mqtts://owner:8883";
  status.owner_connection = "connecting";
  status.owner_failure = Failure{at, "refused"};
  status.last_failure = Failure{at, "why \"quoted\""};
  status.next_try = at + Seconds(5);
  status.next = "another try";
  status.brokers = {{"mqtts://a:8883", "", Failure{at, "away"}}, {"mqtts://b:8883", "connected", std::nullopt}};
  return status;
}

// A running agent as far as its status goes.
class Server {
 public:
  explicit Server(const fs::path& folder) : server_(io_, folder, [] { return to_json(full_status()); }) {
    started = server_.start();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Server() {
    io_.stop();
    thread_.join();
  }
  Result<void> started;

 private:
  boost::asio::io_context io_{1};
  StatusServer server_;
  std::thread thread_;
};

TEST_CASE("a status comes back from its text as it was") {
  const std::string text = to_json(full_status());
  const auto status = parse_status(text);
  REQUIRE_MESSAGE(status, status.error().message);
  CHECK(to_json(*status) == text);
  CHECK(status->pid == 4711);
  CHECK(status->brokers.size() == 2);
  CHECK(status->packages == full_status().packages);
  CHECK(status->last_failure->what == "why \"quoted\"");
  const AgentStatus empty = status_of(SessionState{});
  CHECK(to_json(*parse_status(to_json(empty))) == to_json(empty));
  CHECK(to_json(empty).find("\"source\":\"state-file\"") != std::string::npos);
}

TEST_CASE("a text that is no status is malformed") {
  for (const std::string_view bad : {"", "[]", "{", "{\"phase\":1,\"enabled\":true,\"provisioned\":true}",
                                     "{\"enabled\":1,\"provisioned\":true}",
                                     "{\"enabled\":true,\"provisioned\":true,\"brokers\":[1]}",
                                     "{\"enabled\":true,\"provisioned\":true,\"nextTry\":\"soon\"}"}) {
    CAPTURE(bad);
    const auto status = parse_status(bad);
    REQUIRE_FALSE(status);
    CHECK(status.error().code == ErrorCode::kMalformed);
  }
}

TEST_CASE("what happens next is told for every phase") {
  for (int phase = 0; phase <= static_cast<int>(Phase::kGaveUp); ++phase) {
    SessionState state;
    state.phase = static_cast<Phase>(phase);
    CHECK_FALSE(what_next(state).empty());
  }
}

TEST_CASE("a running agent tells its status to its own user only, however long the folder's name is") {
  test::TempFolder folder;
  fs::path state = folder.path();
  SUBCASE("short") {}
  SUBCASE("longer than a socket's name may be") {
    state /= std::string(120, 'x');
  }
  fs::create_directories(state);
  {
    const Server server(state);
    REQUIRE_MESSAGE(server.started, server.started.error().message);
    struct stat file {};
    REQUIRE(::stat((state / "agent.sock").c_str(), &file) == 0);
    CHECK((file.st_mode & 0777) == 0600);
    for (int i = 0; i < 3; ++i) {
      const auto status = ask_agent(state);
      REQUIRE_MESSAGE(status, status.error().message);
      CHECK(to_json(*status) == to_json(full_status()));
    }
  }
  CHECK_FALSE(fs::exists(state / "agent.sock"));
  CHECK(ask_agent(state).error().code == ErrorCode::kNotFound);
}

TEST_CASE("a socket that a killed agent has left is nobody, and the next agent takes its place") {
  test::TempFolder folder;
  {
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder / "agent.sock").string().copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  CHECK(ask_agent(folder.path()).error().code == ErrorCode::kNotFound);
  const Server server(folder.path());
  REQUIRE(server.started);
  CHECK(ask_agent(folder.path()));
}

TEST_CASE("an agent that is stuck is told as that, and a folder that is not there as no agent") {
  test::TempFolder folder;
  boost::asio::io_context io;  // never run
  StatusServer server(io, folder.path(), [] { return std::string(); });
  REQUIRE(server.start());
  CHECK(ask_agent(folder.path()).error().code == ErrorCode::kTimedOut);
  CHECK(ask_agent(folder / "none").error().code == ErrorCode::kNotFound);
}

}  // namespace
}  // namespace fleet::agent
