#include "agent/runtime/watchdog.hpp"

#include <cstdlib>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

#include <doctest/doctest.h>

#include "core/base/fd.hpp"
#include "core/base/notify.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {
namespace {

// A service manager that wants to hear of us within 40 ms.
class Manager {
 public:
  Manager() : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = (folder_ / "notify").string();
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
    ::setenv("WATCHDOG_USEC", "40000", 1);
    ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  }
  ~Manager() {
    for (const char* variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(variable);
  }
  // How often it has heard of us since it was last asked.
  int heard() {
    int count = 0;
    char buffer[64];
    for (ssize_t got; (got = ::recv(fd_.get(), buffer, sizeof buffer, 0)) > 0;) {
      CHECK(std::string_view(buffer, static_cast<std::size_t>(got)) == "WATCHDOG=1");
      ++count;
    }
    return count;
  }

 private:
  test::TempFolder folder_;
  Fd fd_;
};

TEST_CASE("the service manager hears of a loop that turns, and nothing of one that is stuck") {
  Manager manager;
  boost::asio::io_context io;
  Watchdog watchdog(io);
  watchdog.start();
  CHECK(manager.heard() == 1);
  std::this_thread::sleep_for(Millis(60));  // stuck for longer than the manager waits
  CHECK(manager.heard() == 0);
  io.run_one();
  CHECK(manager.heard() == 1);
}

TEST_CASE("without a watchdog, with a wrong limit or with one for another process nothing is said") {
  Manager manager;
  CHECK(watchdog_limit() == Millis(40));
  SUBCASE("none") {
    ::unsetenv("WATCHDOG_USEC");
  }
  SUBCASE("wrong") {
    ::setenv("WATCHDOG_USEC", "soon", 1);
  }
  SUBCASE("zero") {
    ::setenv("WATCHDOG_USEC", "0", 1);
  }
  SUBCASE("another process") {
    ::setenv("WATCHDOG_PID", "1", 1);
  }
  boost::asio::io_context io;
  Watchdog watchdog(io);
  watchdog.start();
  io.run();  // ends at once: nothing is waited for
  CHECK(manager.heard() == 0);
}

}  // namespace
}  // namespace fleet::agent
