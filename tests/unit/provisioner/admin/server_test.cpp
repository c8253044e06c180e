#include <atomic>
#include <cstring>
#include <random>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>

#include <doctest/doctest.h>

#include "core/base/fd.hpp"
#include "core/base/file.hpp"
#include "tests/support/process.hpp"
#include "tests/unit/provisioner/admin/admin_fixture.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

Fd connect_to(const std::filesystem::path& socket) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket.c_str(), sizeof(address.sun_path) - 1);
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  return fd;
}

AdminSettings settings_for(const std::filesystem::path& socket) {
  AdminSettings settings;
  settings.socket = socket;
  settings.deliver = [](Outcome) {};
  return settings;
}

}  // namespace

TEST_CASE("only its owner may open the socket") {
  AdminFixture admin;
  struct stat found {};
  REQUIRE(::lstat(admin.socket().c_str(), &found) == 0);
  CHECK(S_ISSOCK(found.st_mode));
  CHECK((found.st_mode & 07777) == 0600);
}

TEST_CASE("a socket that was left behind is replaced, and the file goes with the server") {
  Platform platform;
  const auto path = platform.folder / "admin.sock";
  {
    const Fd left(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    REQUIRE(::bind(left.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }
  boost::asio::io_context io;
  AdminServer server(io, settings_for(path), *platform.store, platform.executor);
  CHECK(server.start().has_value());
  server.stop();
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a file in the place of the socket is not removed") {
  Platform platform;
  const auto path = platform.folder / "admin.sock";
  REQUIRE(write_file(path, "precious"));
  boost::asio::io_context io;
  AdminServer server(io, settings_for(path), *platform.store, platform.executor);
  const auto started = server.start();
  REQUIRE_FALSE(started.has_value());
  CHECK(started.error().code == ErrorCode::kAlreadyExists);
  server.stop();
  CHECK(read_file(path).value() == "precious");
}

TEST_CASE("a path that is too long for a socket says so") {
  Platform platform;
  boost::asio::io_context io;
  const auto path = platform.folder / std::string(120, 'x');
  AdminServer server(io, settings_for(path), *platform.store, platform.executor);
  const auto started = server.start();
  REQUIRE_FALSE(started.has_value());
  CHECK(started.error().code == ErrorCode::kInvalidArgument);
  CHECK(call_admin(path, "GET", "/v1/status").error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("curl understands it") {
  AdminFixture admin;
  const auto outcome =
      fleet::test::run({"curl", "-sS", "-i", "--unix-socket", admin.socket().string(), "http://localhost/v1/status"});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.output.starts_with("HTTP/1.1 200 OK"));
  CHECK(outcome.output.find("\"broker\":\"running\"") != std::string::npos);
}

TEST_CASE("curl is told to go on with a large body") {
  AdminFixture admin;
  const auto file = admin.platform.folder / "body.json";
  REQUIRE(write_file(file, "{\"documents\":[\"" + std::string(3 * 1024 * 1024, 'x') + "\"]}"));
  const auto outcome = fleet::test::run({"curl", "-sS", "--unix-socket", admin.socket().string(), "--data-binary",
                                         "@" + file.string(), "http://localhost/v1/apply"});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.output.find("\"invalid_argument\"") != std::string::npos);
}

TEST_CASE("a body that is announced larger than the limit is refused before it comes") {
  AdminFixture admin;
  const std::string answer =
      talk(admin.socket(), "POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 67108865\r\n\r\n");
  CHECK(answer.starts_with("HTTP/1.1 413 "));
  const std::string chunked =
      talk(admin.socket(), "POST /v1/apply HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n");
  CHECK(chunked.starts_with("HTTP/1.1 413 "));
}

TEST_CASE("what is no HTTP is answered 400 or not at all, and the next caller is served") {
  AdminFixture admin;
  std::mt19937 random(7);
  std::vector<std::string> garbage{"",
                                   "\r\n\r\n",
                                   "hello\r\n\r\n",
                                   std::string(1'000'000, 'A'),
                                   "GET",
                                   "GET /v1/status",
                                   "GET /v1/status HTTP/9.9\r\n\r\n",
                                   "GET /v1/status HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                                   "GET /v1/status HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                                   "POST /v1/apply HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                                   "GET /v1/status HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n",
                                   "GET " + std::string(100'000, '/') + " HTTP/1.1\r\n\r\n",
                                   std::string("GET /v1/\0status HTTP/1.1\r\n\r\n", 28),
                                   "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"};
  for (int i = 0; i < 200; ++i) {
    std::string bytes(random() % 300, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    garbage.push_back(bytes);
    std::string altered = "POST /v1/apply HTTP/1.1\r\nHost: a\r\nContent-Length: 16\r\n\r\n{\"documents\":[]}";
    altered[random() % altered.size()] = static_cast<char>(random());
    garbage.push_back(altered);
  }
  for (const std::string& bytes : garbage) {
    const std::string answer = talk(admin.socket(), bytes);
    const bool fine = answer.empty() || answer.starts_with("HTTP/1.1 ");
    CHECK(fine);
    if (!bytes.starts_with("POST")) CHECK_FALSE(answer.starts_with("HTTP/1.1 200"));
  }
  CHECK(admin.get("/v1/status").at("total") == 0);
}

TEST_CASE("fifty callers at once are all served") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  std::atomic<int> good = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < 50; ++i) {
    callers.emplace_back([&, i] {
      const std::string number = std::to_string(i);
      std::string body =
          "{\"documents\":[{\"apiVersion\":\"provisioner/"
          "v1\",\"kind\":\"ProvisionRequest\",\"metadata\":{\"name\":\"gw-" +
          number + "\",\"labels\":{\"site\":\"n\"}},\"spec\":{\"profile\":\"gateway\",\"clientId\":\"C" + number +
          "\",\"provisionUserUsername\":\"u" + number + "\"}}]}";
      const auto applied = call_admin(admin.socket(), "POST", "/v1/apply", body);
      const auto described = call_admin(admin.socket(), "GET", "/v1/requests/gw-" + number);
      if (applied && applied->status == 200 && described && described->status == 200) ++good;
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(good == 50);
  CHECK(admin.get("/v1/status").at("total") == 50);
}

TEST_CASE("silent callers take up their places only, and those who wait get one that is freed") {
  AdminFixture admin;
  std::vector<Fd> silent;
  for (int i = 0; i < 70; ++i) silent.push_back(connect_to(admin.socket()));
  std::atomic<bool> served = false;
  std::thread caller([&] {
    const auto reply = call_admin(admin.socket(), "GET", "/v1/status");
    served = reply && reply->status == 200;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK_FALSE(served);
  silent.clear();
  caller.join();
  CHECK(served);
}

TEST_CASE("a caller that goes away in the middle is forgotten") {
  AdminFixture admin;
  for (int i = 0; i < 200; ++i) {
    const Fd fd = connect_to(admin.socket());
    constexpr std::string_view kHalf = "POST /v1/apply HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"docu";
    ::send(fd.get(), kHalf.data(), kHalf.size(), MSG_NOSIGNAL);
  }
  CHECK(admin.get("/v1/status").at("total") == 0);
}

TEST_CASE("a caller that does not wait for its answer has its work done all the same") {
  AdminFixture admin;
  admin.apply_account_and_profile();
  REQUIRE(admin.apply(request_yaml("gw", "C1")).status == 200);
  {
    const Fd fd = connect_to(admin.socket());
    constexpr std::string_view kDisable = "POST /v1/requests/gw/disable HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    REQUIRE(::send(fd.get(), kDisable.data(), kDisable.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kDisable.size()));
  }
  CHECK(fleet::test::eventually([&] { return !admin.platform.request("gw").enabled; }));
}

TEST_CASE("where nobody listens the client says so") {
  const fleet::test::TempFolder folder;
  const auto missing = call_admin(folder / "admin.sock", "GET", "/v1/status");
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().code == ErrorCode::kUnavailable);
}

TEST_CASE("a connection that breaks before the answer is told as such") {
  const fleet::test::TempFolder folder;
  const auto path = folder / "admin.sock";
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  REQUIRE(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  std::thread rude([&] { const Fd accepted(::accept(listener.get(), nullptr, nullptr)); });
  const auto reply = call_admin(path, "POST", "/v1/apply", "{}");
  rude.join();
  REQUIRE_FALSE(reply.has_value());
  CHECK(reply.error().code == ErrorCode::kIo);
}
