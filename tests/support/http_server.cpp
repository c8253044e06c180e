#include "tests/support/http_server.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <sstream>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>

namespace fleet::test {

namespace asio = boost::asio;
using asio::ip::tcp;
using namespace std::chrono_literals;

struct HttpServer::State {
  Handler handler;
  asio::io_context io;
  tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
  std::optional<asio::ssl::context> tls;
  std::atomic<bool> stopping{false};
  mutable std::mutex mutex;
  std::vector<HttpRequest> requests;             // guarded by mutex
  std::vector<std::weak_ptr<tcp::socket>> open;  // guarded by mutex
  std::vector<std::thread> connections;          // of the accepting thread
  std::thread accepting;

  void accept();
  void serve(const std::shared_ptr<tcp::socket>& socket);
  template <typename Stream>
  void converse(Stream& stream);
  template <typename Stream>
  void send(Stream& stream, const HttpReply& reply) const;
};

namespace {

HttpRequest read_request(std::istream& lines) {
  HttpRequest request;
  lines >> request.method >> request.target;
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line) && line != "\r") {
    const auto colon = line.find(": ");
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] = line.substr(colon + 2, line.size() - colon - 3);
  }
  return request;
}

}  // namespace

std::string HttpRequest::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::size_t HttpRequest::range_start() const {
  const std::string range = header("range");
  return range.starts_with("bytes=") ? std::stoul(range.substr(6)) : 0;
}

HttpReply file_reply(const HttpRequest& request, const std::string& content) {
  HttpReply reply;
  const std::size_t start = request.range_start();
  if (start == 0) {
    reply.body = content;
  } else if (start >= content.size()) {
    reply.status = 416;
  } else {
    reply.status = 206;
    reply.body = content.substr(start);
    reply.headers["Content-Range"] = "bytes " + std::to_string(start) + "-" + std::to_string(content.size() - 1) + "/" +
                                     std::to_string(content.size());
  }
  return reply;
}

HttpServer::HttpServer(Handler handler, const std::filesystem::path& chain, const std::filesystem::path& key)
    : state_(std::make_shared<State>()) {
  state_->handler = std::move(handler);
  if (!chain.empty()) {
    state_->tls.emplace(asio::ssl::context::tls_server);
    state_->tls->use_certificate_chain_file(chain.string());
    state_->tls->use_private_key_file(key.string(), asio::ssl::context::pem);
  }
  state_->accepting = std::thread([state = state_.get()] { state->accept(); });
}

HttpServer::~HttpServer() {
  state_->stopping = true;
  boost::system::error_code ignored;
  // wakes the accepting thread; closing alone would not
  tcp::socket waker(state_->io);
  waker.connect(state_->acceptor.local_endpoint(), ignored);
  state_->accepting.join();
  {
    const std::lock_guard lock(state_->mutex);
    for (const auto& weak : state_->open) {
      if (const auto socket = weak.lock()) socket->shutdown(tcp::socket::shutdown_both, ignored);
    }
  }
  for (std::thread& connection : state_->connections) connection.join();
}

int HttpServer::port() const {
  return state_->acceptor.local_endpoint().port();
}

std::string HttpServer::url(const std::string& target) const {
  return (state_->tls ? "https://localhost:" : "http://localhost:") + std::to_string(port()) + target;
}

std::vector<HttpRequest> HttpServer::requests() const {
  const std::lock_guard lock(state_->mutex);
  return state_->requests;
}

void HttpServer::State::accept() {
  while (!stopping) {
    auto socket = std::make_shared<tcp::socket>(io);
    boost::system::error_code error;
    acceptor.accept(*socket, error);
    if (error || stopping) continue;
    {
      const std::lock_guard lock(mutex);
      open.push_back(socket);
    }
    connections.emplace_back([this, socket] { serve(socket); });
  }
}

void HttpServer::State::serve(const std::shared_ptr<tcp::socket>& socket) {
  try {
    if (!tls) return converse(*socket);
    asio::ssl::stream<tcp::socket&> stream(*socket, *tls);
    stream.handshake(asio::ssl::stream_base::server);
    converse(stream);
  } catch (const std::exception&) {
    // the client has gone, or does not trust us
  }
  boost::system::error_code ignored;
  socket->shutdown(tcp::socket::shutdown_both, ignored);
}

template <typename Stream>
void HttpServer::State::converse(Stream& stream) {
  asio::streambuf buffer;
  asio::read_until(stream, buffer, "\r\n\r\n");
  std::istream lines(&buffer);
  const HttpRequest request = read_request(lines);
  HttpReply reply;
  {
    const std::lock_guard lock(mutex);
    requests.push_back(request);
    reply = handler(request);
  }
  send(stream, reply);
}

template <typename Stream>
void HttpServer::State::send(Stream& stream, const HttpReply& reply) const {
  std::ostringstream head;
  head << "HTTP/1.1 " << reply.status << " Status\r\nConnection: close\r\n";
  if (reply.tells_length) head << "Content-Length: " << reply.body.size() << "\r\n";
  for (const auto& [name, value] : reply.headers) head << name << ": " << value << "\r\n";
  head << "\r\n";
  asio::write(stream, asio::buffer(head.str()));
  const std::size_t end = std::min(
      {reply.body.size(), reply.cut_after.value_or(reply.body.size()), reply.stall_after.value_or(reply.body.size())});
  if (reply.bytes_a_second == 0) {
    asio::write(stream, asio::buffer(reply.body.data(), end));
  } else {
    const std::size_t piece = std::max<std::size_t>(reply.bytes_a_second / 10, 1);
    for (std::size_t at = 0; at < end && !stopping; at += piece) {
      asio::write(stream, asio::buffer(reply.body.data() + at, std::min(piece, end - at)));
      std::this_thread::sleep_for(100ms);
    }
  }
  if (!reply.stall_after) return;
  // until the client or the test has enough of it
  while (!stopping) {
    std::this_thread::sleep_for(20ms);
  }
}

}  // namespace fleet::test
