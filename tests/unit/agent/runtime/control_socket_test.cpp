#include "agent/runtime/control_socket.hpp"

#include <atomic>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

AgentStatus some_status() {
  AgentStatus status;
  status.pid = 4711;
  status.phase = "awaiting-owner";
  status.client_id = "02FC00000001";
  return status;
}

// A running agent as far as its socket goes.
class Server {
 public:
  using RollBack = std::function<void(ControlServer::RolledBackTo)>;
  explicit Server(const fs::path& folder, RollBack roll_back = {})
      : server_(io_, folder, {.status = some_status, .roll_back = std::move(roll_back)}) {
    started = server_.start();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Server() {
    io_.stop();
    thread_.join();
  }
  Result<void> started;
  // On the agent's thread.
  void post(std::function<void()> act) { boost::asio::post(io_, std::move(act)); }

 private:
  boost::asio::io_context io_{1};
  ControlServer server_;
  std::thread thread_;
};

// Connected to the socket of a running agent.
Fd connect_to(const fs::path& folder) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (folder / "agent.sock").string().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

// All that comes until the other side closes; "-" if that does not happen within 10 s.
std::string read_to_end(const Fd& fd) {
  const timeval limit{10, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  std::string all;
  char buffer[256];
  for (;;) {
    const ssize_t got = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == ECONNRESET) return all;  // closed with something unread
    if (got < 0) return "-";
    if (got == 0) return all;
    all.append(buffer, static_cast<std::size_t>(got));
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
      CHECK(status->client_id == "02FC00000001");
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
  ControlServer server(io, folder.path(), {});
  REQUIRE(server.start());
  CHECK(ask_agent(folder.path()).error().code == ErrorCode::kTimedOut);
  CHECK(ask_agent(folder / "none").error().code == ErrorCode::kNotFound);
}

TEST_CASE("a rollback is answered with the generation that came of it, however long that took") {
  test::TempFolder folder;
  ControlServer::RolledBackTo later;
  std::atomic<bool> asked{false};
  Server server(folder.path(), [&](ControlServer::RolledBackTo answer) {
    later = std::move(answer);
    asked = true;
  });
  Result<std::optional<std::uint64_t>> outcome;
  std::thread asking([&] { outcome = ask_to_roll_back(folder.path()); });
  while (!asked) std::this_thread::yield();
  CHECK(ask_agent(folder.path()));  // nobody else waits for that
  SUBCASE("done") {
    server.post([&] { std::exchange(later, {})(7); });
    asking.join();
    REQUIRE_MESSAGE(outcome, outcome.error().message);
    CHECK(*outcome == 7);
  }
  SUBCASE("refused") {
    server.post([&] { std::exchange(later, {})(fail(ErrorCode::kConflict, "an attempt is \"under way\"")); });
    asking.join();
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().code == ErrorCode::kConflict);
    CHECK(outcome.error().message == "an attempt is \"under way\"");
  }
  SUBCASE("never: the agent has ended") {
    server.post([&] { later = {}; });
    asking.join();
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().code == ErrorCode::kUnavailable);
    CHECK(outcome.error().message.find("ended before it answered") != std::string::npos);
  }
}

TEST_CASE("without an agent there is nobody to ask for a rollback, which is no error") {
  test::TempFolder folder;
  for (const fs::path& path : {folder.path(), folder / "none"}) {
    const auto asked = ask_to_roll_back(path);
    REQUIRE_MESSAGE(asked, asked.error().message);
    CHECK_FALSE(asked->has_value());
  }
}

TEST_CASE("whoever says nothing, too much or something else is told so or left, and does nothing") {
  test::TempFolder folder;
  std::atomic<int> asked{0};
  const Server server(folder.path(), [&](const ControlServer::RolledBackTo&) { ++asked; });
  REQUIRE(server.started);
  const Fd silent = connect_to(folder.path());
  const Fd talkative = connect_to(folder.path());
  const std::string endless(1000, 'x');
  REQUIRE(::send(talkative.get(), endless.data(), endless.size(), MSG_NOSIGNAL) > 0);
  CHECK(read_to_end(talkative).empty());
  for (const std::string& line : {std::string("reset\n"), std::string("\n"), std::string("rollback please\n")}) {
    const Fd other = connect_to(folder.path());
    REQUIRE(::send(other.get(), line.data(), line.size(), MSG_NOSIGNAL) > 0);
    CHECK(read_to_end(other).find("no such command; there are status and rollback") != std::string::npos);
  }
  CHECK(read_to_end(silent).empty());
  CHECK(asked == 0);
}

}  // namespace
}  // namespace fleet::agent
