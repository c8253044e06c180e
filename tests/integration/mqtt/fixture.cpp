#include "tests/integration/mqtt/fixture.hpp"

#include <arpa/inet.h>
#include <cstring>
#include <fstream>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace fleet::test {
namespace {

bool can_connect(const sockaddr* address, socklen_t size) {
  const int fd = ::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool connected = ::connect(fd, address, size) == 0;
  ::close(fd);
  return connected;
}

bool answers(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return can_connect(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

bool answers(const std::filesystem::path& socket) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket.c_str(), sizeof address.sun_path - 1);
  return can_connect(reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace

Broker::Broker(const TempFolder& folder, std::string listener_options) : port_(free_port()) {
  start(folder, fmt::format("listener {} 127.0.0.1\n{}", port_, listener_options));
  if (!eventually([this] { return answers(port_); })) throw std::runtime_error("no broker: " + process_->output());
}

Broker Broker::on_socket(const TempFolder& folder, const std::filesystem::path& socket) {
  Broker broker;
  broker.start(folder, fmt::format("listener 0 {}\nallow_anonymous true\n", socket.string()));
  if (!eventually([&] { return answers(socket); })) throw std::runtime_error("no broker: " + broker.process_->output());
  return broker;
}

void Broker::start(const TempFolder& folder, const std::string& listener) {
  const auto file = folder / "mosquitto.conf";
  std::ofstream(file) << "per_listener_settings false\npersistence false\nmax_queued_messages 0\n"
                         "max_inflight_messages 0\nset_tcp_nodelay true\n"
                      << (::geteuid() == 0 ? "user root\n" : "") << listener;
  process_ = std::make_unique<Process>(Command{{"/usr/sbin/mosquitto", "-c", file.string()}});
}

mqtt::Handlers recording(Record& record) {
  mqtt::Handlers handlers;
  handlers.on_connect = [&record](Result<bool> result) { record.connected.push_back(std::move(result)); };
  handlers.on_disconnect = [&record](Result<void> result) { record.disconnected.push_back(std::move(result)); };
  handlers.on_message = [&record](mqtt::Message message) { record.messages.push_back(std::move(message)); };
  handlers.on_published = [&record](int id) { record.published.push_back(id); };
  handlers.on_subscribed = [&record](int id, bool accepted) { record.subscribed.emplace_back(id, accepted); };
  return handlers;
}

mqtt::ConnectOptions options_for(const mqtt::BrokerUrl& url, std::string client_id) {
  mqtt::ConnectOptions options;
  options.url = url;
  options.client_id = std::move(client_id);
  return options;
}

bool run_until(boost::asio::io_context& io, const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(20));
  }
  return true;
}

Result<bool> Party::connect(mqtt::ConnectOptions options) {
  const std::size_t before = record.connected.size();
  TRY(client->connect(std::move(options)));
  if (!until([&] { return record.connected.size() > before; }, 30s)) return fail(ErrorCode::kTimedOut, "no on_connect");
  return record.connected.back();
}

bool Party::subscribe(std::string_view filter) {
  const auto id = client->subscribe(filter);
  if (!id) return false;
  return until([&] { return !record.subscribed.empty() && record.subscribed.back().first == *id; }) &&
         record.subscribed.back().second;
}

SilentServer::SilentServer() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd_, 8) != 0 ||
      ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("cannot listen");
  }
  port_ = ntohs(address.sin_port);
}

SilentServer::~SilentServer() {
  ::shutdown(fd_, SHUT_RDWR);
  ::shutdown(peer_, SHUT_RDWR);
  if (player_.joinable()) player_.join();
  ::close(fd_);
}

void SilentServer::play(std::vector<Bytes> replies) {
  player_ = std::thread([this, replies = std::move(replies)] {
    const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    peer_ = peer;
    Bytes buffer(65536, '\0');
    for (const Bytes& reply : replies) {
      if (::recv(peer, buffer.data(), buffer.size(), 0) <= 0) break;
      if (::send(peer, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
    }
    while (::recv(peer, buffer.data(), buffer.size(), 0) > 0) {
    }
    peer_ = -1;
    ::close(peer);
  });
}

Bytes SilentServer::first_bytes(std::size_t size, std::chrono::milliseconds limit) {
  const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  Bytes bytes(size, '\0');
  pollfd ready{peer, POLLIN, 0};
  const bool any = ::poll(&ready, 1, static_cast<int>(limit.count())) == 1;
  const ssize_t count = any ? ::recv(peer, bytes.data(), bytes.size(), 0) : 0;
  ::close(peer);
  bytes.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return bytes;
}

void SilentServer::accept_and_close() {
  ::close(::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
}

}  // namespace fleet::test
