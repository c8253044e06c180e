#include "core/base/notify.hpp"

#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>

#include <doctest/doctest.h>

#include "core/base/fd.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;

namespace {

// NOTIFY_SOCKET for the time of a test.
struct NotifySocket {
  explicit NotifySocket(const std::string& value) { ::setenv("NOTIFY_SOCKET", value.c_str(), 1); }
  ~NotifySocket() { ::unsetenv("NOTIFY_SOCKET"); }
};

Fd listen_on(const std::string& name) {
  Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  REQUIRE(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())) == 0);
  return fd;
}

std::string received(const Fd& fd) {
  char buffer[256];
  const ssize_t size = ::recv(fd.get(), buffer, sizeof buffer, 0);
  return size < 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(size));
}

}  // namespace

TEST_CASE("without NOTIFY_SOCKET nobody is told and nothing fails") {
  ::unsetenv("NOTIFY_SOCKET");
  CHECK(notify_service_manager("READY=1"));
  const NotifySocket empty("");
  CHECK(notify_service_manager("READY=1"));
}

TEST_CASE("the state goes to the socket, by path or abstract name") {
  const fleet::test::TempFolder folder;
  for (const std::string& name : {(folder / "notify").string(), "@" + folder.path().string()}) {
    CAPTURE(name);
    const Fd manager = listen_on(name);
    const NotifySocket variable(name);
    CHECK(notify_service_manager("READY=1\nSTATUS=fine"));
    CHECK(received(manager) == "READY=1\nSTATUS=fine");
  }
}

TEST_CASE("a socket that is not there or not a socket name is an error") {
  const fleet::test::TempFolder folder;
  {
    const NotifySocket missing((folder / "missing").string());
    CHECK(notify_service_manager("READY=1").error().code == ErrorCode::kNotFound);
  }
  {
    const NotifySocket relative("relative");
    CHECK(notify_service_manager("READY=1").error().code == ErrorCode::kInvalidArgument);
  }
  const NotifySocket too_long("/" + std::string(200, 'x'));
  CHECK(notify_service_manager("READY=1").error().code == ErrorCode::kInvalidArgument);
}
