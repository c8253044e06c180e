// The package server and curl as its client, over real TLS on loopback.
#include "provisioner/packages/server.hpp"

#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/base/log.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/digest.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using fleet::test::run;

namespace {

struct Answer {
  int status = 0;
  int curl = 0;  // its exit code
  std::string headers;
  std::string body;
};

class ServerRig {
 public:
  explicit ServerRig(std::string content, PackageServerSettings settings = {}) : content_(std::move(content)) {
    log::set_level(log::Level::kError);
    REQUIRE(files_.prepare());
    auto upload = PackageUpload::begin(files_, sha256());
    REQUIRE(upload);
    REQUIRE(upload->add(content_));
    REQUIRE(upload->finish());
    const auto key = crypto::PrivateKey::generate().value();
    const WallTime now = wall_now();
    const auto root = crypto::issue_root({crypto::CertificateProfile::kRootCa, "root", {}, now - Seconds(60),
                                          now + Seconds(86'400)}, key).value();
    const auto server_key = crypto::PrivateKey::generate().value();
    const auto leaf = crypto::issue({crypto::CertificateProfile::kServer, "localhost", {"localhost"}, now - Seconds(60),
                                     now + Seconds(86'400)}, server_key.public_key(), {root, key}).value();
    CHECK(leaf.host_names() == std::vector<std::string>{"localhost"});
    REQUIRE(write_file(folder_ / "root.pem", root.to_pem()));
    settings.address = "127.0.0.1";
    settings.port = 0;
    settings.tls = crypto::make_server_context(leaf.to_pem(), server_key.to_pem()).value();
    server_ = std::make_unique<PackageServer>(
        settings, files_, links_, [this](const PackageLink& link, std::function<void(bool)> answer) {
          if (silent) return;
          answer(alive && link.request_id == 7);
        });
    REQUIRE(server_->start());
    REQUIRE(server_->start());  // once more is nothing
  }

  std::string sha256() const { return to_hex(crypto::sha256(content_)); }
  std::string link(WallTime when = wall_now()) const { return links_.make({sha256(), 7, 1}, "app.tar.gz", when); }
  std::string url(const std::string& target) const { return fmt::format("https://localhost:{}{}", server_->port(), target); }

  Answer get(const std::string& target, std::vector<std::string> options = {}) const {
    std::vector<std::string> command{"curl", "-sS", "--max-time", "20", "--cacert", (folder_ / "root.pem").string(), "-D",
                                     (folder_ / "headers").string(), "-o", (folder_ / "body").string(), "-w",
                                     "%{http_code}"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(url(target));
    static_cast<void>(fleet::remove_all(folder_ / "body"));
    const auto outcome = run(command);
    Answer answer{std::atoi(outcome.output.c_str()), outcome.exit_code, "", ""};
    answer.headers = read_file(folder_ / "headers").value_or("");
    answer.body = read_file(folder_ / "body", 64 * 1024 * 1024).value_or("");
    return answer;
  }

  PackageServer& server() { return *server_; }
  void close() { server_.reset(); }

  std::atomic<bool> alive = true;
  std::atomic<bool> silent = false;

 private:
  fleet::test::TempFolder folder_;
  std::string content_;
  PackageFolder files_{folder_ / "packages"};
  PackageLinks links_{"", Bytes(32, 'k')};
  std::unique_ptr<PackageServer> server_;
};

std::string sample(std::size_t size) {
  std::string content;
  for (std::size_t i = 0; content.size() < size; ++i) content += std::to_string(i) + ",";
  content.resize(size);
  return content;
}

// A client of the kind that does not read, or does not even speak.
int connect_to(int port, int receive_buffer = 0) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer > 0) ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

// True if the server closes the connection within `limit`.
bool is_closed(int fd, Seconds limit) {
  const timeval time{limit.count(), 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  char byte = 0;
  return ::recv(fd, &byte, 1, 0) == 0;
}

}  // namespace

TEST_CASE("curl gets the whole file, byte by byte the same, with what resuming needs") {
  const std::string content = sample(3 * 1024 * 1024 + 17);
  const ServerRig rig(content);
  const Answer answer = rig.get(rig.link());
  CHECK(answer.curl == 0);
  CHECK(answer.status == 200);
  CHECK(answer.body == content);
  CHECK(answer.headers.find("Accept-Ranges: bytes") != std::string::npos);
  CHECK(answer.headers.find("ETag: \"" + rig.sha256() + "\"") != std::string::npos);
}

TEST_CASE("curl gets a part, and goes on where it was cut off") {
  const std::string content = sample(200'000);
  const ServerRig rig(content);
  Answer answer = rig.get(rig.link(), {"-r", "100-299"});
  CHECK(answer.status == 206);
  CHECK(answer.body == content.substr(100, 200));
  CHECK(answer.headers.find("Content-Range: bytes 100-299/200000") != std::string::npos);
  answer = rig.get(rig.link(), {"-r", "199999-"});
  CHECK(answer.status == 206);
  CHECK(answer.body == content.substr(199'999));
  answer = rig.get(rig.link(), {"-r", "200000-"});
  CHECK(answer.status == 416);
  CHECK(answer.headers.find("Content-Range: bytes */200000") != std::string::npos);
  answer = rig.get(rig.link(), {"-r", "5-6", "-H", "If-Range: \"another\""});
  CHECK(answer.status == 200);
  CHECK(answer.body == content);
  answer = rig.get(rig.link(), {"-r", "5-6", "-H", "If-Range: \"" + rig.sha256() + "\""});
  CHECK(answer.status == 206);
}

TEST_CASE("HEAD tells the size and gives nothing") {
  const ServerRig rig(sample(1000));
  const Answer answer = rig.get(rig.link(), {"-I"});
  CHECK(answer.curl == 0);
  CHECK(answer.status == 200);
  CHECK(answer.headers.find("Content-Length: 1000") != std::string::npos);
}

TEST_CASE("Only a good link of a living attempt opens anything") {
  ServerRig rig(sample(1000));
  const std::string link = rig.link();
  CHECK(rig.get("/").status == 404);
  CHECK(rig.get("/p/").status == 404);
  CHECK(rig.get("/p/..%2f..%2fetc/passwd?a=1.1&e=2&s=3").status == 404);
  CHECK(rig.get(link.substr(0, link.size() - 1) + (link.back() == '0' ? "1" : "0")).status == 403);
  CHECK(rig.get(rig.link(wall_now() - kLinkValidity - Seconds(10))).status == 410);
  CHECK(rig.get(link, {"-X", "POST", "-d", ""}).status == 405);
  CHECK(rig.get(link, {"-X", "DELETE"}).status == 405);
  CHECK(rig.get(link, {"-H", "X-Long: " + std::string(10'000, 'x')}).status != 200);
  rig.alive = false;
  const Answer dead = rig.get(link);
  CHECK(dead.status == 410);
  CHECK(dead.body.empty());
  rig.alive = true;
  CHECK(rig.get(link).status == 200);
}

TEST_CASE("A file that is gone is not found") {
  const ServerRig rig(sample(1000));
  const PackageLinks links("", Bytes(32, 'k'));
  CHECK(rig.get(links.make({std::string(64, 'b'), 7, 1}, "x", wall_now())).status == 404);
}

TEST_CASE("Who does not speak is cut off, and others are served meanwhile") {
  PackageServerSettings settings;
  settings.request_limit = Seconds(1);
  const std::string content = sample(8 * 1024 * 1024);
  ServerRig rig(content, settings);
  const int silent = connect_to(rig.server().port());
  CHECK(rig.get(rig.link()).body == content);
  CHECK(is_closed(silent, Seconds(10)));
  ::close(silent);
}

TEST_CASE("Who does not read is cut off, so that others get their turn") {
  PackageServerSettings settings;
  settings.chunk_limit = Seconds(2);
  settings.max_connections = 1;
  ServerRig rig(sample(32 * 1024 * 1024), settings);  // more than the kernel keeps for a connection
  fleet::test::Process slow({{"curl", "-sS", "-k", "--max-time", "30", "--limit-rate", "1k", "-o", "/dev/null",
                              rig.url(rig.link())}});
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  CHECK(rig.get(rig.link(), {"-r", "0-9"}).status == 206);
  CHECK(slow.running());  // it still chews on what it had
}

TEST_CASE("One address cannot take all connections") {
  PackageServerSettings settings;
  settings.max_per_address = 2;
  ServerRig rig(sample(10), settings);
  const int one = connect_to(rig.server().port());
  const int two = connect_to(rig.server().port());
  const int three = connect_to(rig.server().port());
  CHECK(is_closed(three, Seconds(5)));
  for (const int fd : {one, two, three}) ::close(fd);
  CHECK(fleet::test::eventually([&] { return rig.get(rig.link()).status == 200; }));
}

TEST_CASE("Beyond the limit connections wait until others have ended") {
  PackageServerSettings settings;
  settings.max_connections = 1;
  settings.request_limit = Seconds(2);
  ServerRig rig(sample(10), settings);
  const int first = connect_to(rig.server().port());
  CHECK(rig.get(rig.link()).status == 200);  // once the silent one is cut off
  ::close(first);
}

TEST_CASE("Nobody's word on the attempt is an answer too, and stopping waits for nothing") {
  PackageServerSettings settings;
  settings.request_limit = Seconds(1);
  ServerRig rig(sample(10), settings);
  rig.silent = true;
  CHECK(rig.get(rig.link()).status == 503);
  std::thread asking([&] { static_cast<void>(rig.get(rig.link(), {"--max-time", "5"})); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  rig.close();
  asking.join();
}

TEST_CASE("A port that is taken is an error that says what to change") {
  ServerRig rig(sample(10));
  PackageServerSettings settings;
  settings.address = "127.0.0.1";
  settings.port = rig.server().port();
  const auto key = crypto::PrivateKey::generate().value();
  const WallTime now = wall_now();
  const auto root = crypto::issue_root({crypto::CertificateProfile::kRootCa, "r", {}, now, now + Seconds(60)}, key).value();
  settings.tls = crypto::make_server_context(root.to_pem(), key.to_pem()).value();
  PackageServer second(settings, PackageFolder("/nowhere"), PackageLinks("", Bytes(32, 'k')), {});
  const auto started = second.start();
  REQUIRE_FALSE(started);
  CHECK(started.error().code == ErrorCode::kUnavailable);
  CHECK(started.error().message.find("packages.listen") != std::string::npos);
}
