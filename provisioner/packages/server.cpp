#include "provisioner/packages/server.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "core/base/log.hpp"
#include "provisioner/packages/range.hpp"

namespace fleet::provisioner {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = asio::ip::tcp;
using BoostError = boost::system::error_code;

constexpr std::string_view kLog = "packages";
constexpr std::size_t kChunk = 64 * 1024;
constexpr std::uint32_t kMaxHeader = 8 * 1024;

// What all connections share; lives on the server's thread.
struct Shared {
  std::weak_ptr<asio::io_context> io;
  PackageServerSettings settings;
  PackageFolder folder;
  PackageLinks links;
  IsAlive is_alive;
  std::uint64_t refused = 0;  // so far
};

// One request: handshake, header, answer, closed. Kept alive by what it waits for.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Tcp::socket socket, asio::ssl::context& tls, Shared& shared, std::string address,
             std::function<void()> on_end)
      : answer_timer_(socket.get_executor()), stream_(std::move(socket), tls), shared_(shared), address_(std::move(address)), on_end_(std::move(on_end)) {
    parser_.header_limit(kMaxHeader);
    parser_.body_limit(0);
  }
  ~Connection() { on_end_(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void begin() {
    limit(shared_.settings.request_limit);
    stream_.async_handshake(asio::ssl::stream_base::server, [self = shared_from_this()](BoostError error) {
      if (!error) self->read();
    });
  }

  void close() {
    answer_timer_.cancel();
    beast::get_lowest_layer(stream_).close();
  }

 private:
  void limit(Seconds time) { beast::get_lowest_layer(stream_).expires_after(time); }

  void read() {
    limit(shared_.settings.request_limit);
    http::async_read_header(stream_, buffer_, parser_, [self = shared_from_this()](BoostError error, std::size_t) {
      if (!error) return self->handle();
      const bool dropped = error == http::error::end_of_stream || error == http::error::partial_message ||
                           error.category() != http::make_error_code(http::error::bad_method).category();
      if (!dropped) self->refuse(http::status::bad_request, "not a proper request: " + error.message());
    });
  }

  void handle() {
    const auto& request = parser_.get();
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      return refuse(http::status::method_not_allowed, "only GET and HEAD");
    }
    const auto link = shared_.links.read({request.target().data(), request.target().size()}, wall_now());
    if (!link) {
      const http::status status = link.error().code == ErrorCode::kNotFound  ? http::status::not_found
                                  : link.error().code == ErrorCode::kExpired ? http::status::gone
                                                                             : http::status::forbidden;
      return refuse(status, link.error().message);
    }
    ask(*link);
  }

  // The answer comes from another thread, perhaps when the server is gone; the timer keeps this connection meanwhile.
  void ask(const PackageLink& link) {
    answer_timer_.expires_after(shared_.settings.request_limit);
    answer_timer_.async_wait([self = shared_from_this()](BoostError cancelled) {
      if (!cancelled) self->refuse(http::status::service_unavailable, "nobody said whether the attempt goes on");
    });
    shared_.is_alive(link, [io = shared_.io, weak = weak_from_this(), link](bool alive) {
      const auto running = io.lock();
      if (!running) return;
      asio::post(*running, [weak, link, alive] {
        const auto self = weak.lock();
        if (!self || self->answer_timer_.cancel() == 0) return;
        if (!alive) return self->refuse(http::status::gone, "the attempt that this link belongs to has ended");
        self->give(link);
      });
    });
  }

  void give(const PackageLink& link) {
    auto file = shared_.folder.open(link.sha256);
    struct stat found {};
    if (!file || ::fstat(file->get(), &found) != 0) {
      return refuse(http::status::not_found, file ? "cannot be read" : file.error().message);
    }
    file_ = std::move(*file);
    const auto& request = parser_.get();
    const std::string tag = "\"" + link.sha256 + "\"";
    const auto condition = request[http::field::if_range];
    const auto wish = request[http::field::range];
    const bool wanted = condition.empty() || condition == tag;
    const auto range = choose_range(wanted ? std::string_view(wish.data(), wish.size()) : std::string_view(), found.st_size);
    header_.version(11);
    header_.keep_alive(false);
    header_.set(http::field::accept_ranges, "bytes");
    header_.set(http::field::etag, tag);
    header_.set(http::field::cache_control, "private, no-store");
    if (!range) {
      header_.set(http::field::content_range, fmt::format("bytes */{}", found.st_size));
      return refuse(http::status::range_not_satisfiable, "behind the end of the file");
    }
    header_.set(http::field::content_type, "application/octet-stream");
    header_.result(range->partial ? http::status::partial_content : http::status::ok);
    if (range->partial) {
      header_.set(http::field::content_range, fmt::format("bytes {}-{}/{}", range->first,
                                                          range->first + range->size - 1, found.st_size));
    }
    header_.content_length(static_cast<std::uint64_t>(range->size));
    at_ = range->first;
    left_ = request.method() == http::verb::head ? 0 : range->size;
    log::info(kLog, "giving out a package",
              {{"sha256", link.sha256}, {"request", link.request_id}, {"attempt", link.attempt_number},
               {"from", range->first}, {"bytes", left_}, {"to", address_}});
    send_header();
  }

  void refuse(http::status status, const std::string& why) {
    // Powers of two only: whoever tries by the thousand does not fill the log.
    if (std::has_single_bit(++shared_.refused)) {
      log::warn(kLog, "request refused", {{"status", static_cast<int>(status)}, {"why", why}, {"from", address_},
                                          {"so_far", shared_.refused}});
    }
    header_.version(11);
    header_.keep_alive(false);
    header_.result(status);
    if (status == http::status::method_not_allowed) header_.set(http::field::allow, "GET, HEAD");
    header_.content_length(std::uint64_t{0});
    left_ = 0;
    send_header();
  }

  void send_header() {
    serializer_.emplace(header_);
    limit(shared_.settings.chunk_limit);
    http::async_write_header(stream_, *serializer_, [self = shared_from_this()](BoostError error, std::size_t) {
      if (!error) self->send_chunk();
    });
  }

  void send_chunk() {
    if (left_ == 0) return finish();
    if (chunk_.empty()) chunk_.resize(kChunk);
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::int64_t>(left_, kChunk));
    const ssize_t got = ::pread(file_.get(), chunk_.data(), wanted, at_);
    if (got <= 0) {
      log::error(kLog, "a package's file cannot be read to its end", {{"why", got < 0 ? errno_error(errno, "read").message : "too short"}});
      return close();  // the reader sees that bytes are missing
    }
    at_ += got;
    left_ -= got;
    limit(shared_.settings.chunk_limit);
    asio::async_write(stream_, asio::buffer(chunk_.data(), static_cast<std::size_t>(got)),
                      [self = shared_from_this()](BoostError error, std::size_t) {
                        if (!error) self->send_chunk();
                      });
  }

  void finish() {
    limit(shared_.settings.request_limit);
    stream_.async_shutdown([self = shared_from_this()](BoostError) {});
  }

  asio::steady_timer answer_timer_;
  beast::ssl_stream<beast::tcp_stream> stream_;
  Shared& shared_;
  std::string address_;
  std::function<void()> on_end_;
  beast::flat_buffer buffer_{kMaxHeader};
  http::request_parser<http::empty_body> parser_;
  http::response<http::empty_body> header_;
  std::optional<http::response_serializer<http::empty_body>> serializer_;
  Fd file_;
  std::int64_t at_ = 0;
  std::int64_t left_ = 0;
  std::vector<char> chunk_;
};

}  // namespace

struct PackageServer::Impl : std::enable_shared_from_this<PackageServer::Impl> {
  Impl(PackageServerSettings settings, PackageFolder folder, PackageLinks links, IsAlive is_alive)
      : tls(crypto::share_native(settings.tls)),
        acceptor(*io),
        retry_timer(*io),
        shared{io, std::move(settings), std::move(folder), std::move(links), std::move(is_alive)} {}

  Result<void> listen() {
    const std::string where = fmt::format("{} port {}", shared.settings.address, shared.settings.port);
    BoostError error;
    const auto address = asio::ip::make_address(shared.settings.address, error);
    const Tcp::endpoint endpoint(address, static_cast<unsigned short>(shared.settings.port));
    if (!error) acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      BoostError ignored;
      acceptor.close(ignored);
      return fail(ErrorCode::kUnavailable,
                  "the package server cannot listen on {}: {}; name another packages.listen in the settings", where,
                  error.message());
    }
    bound_port = acceptor.local_endpoint().port();
    log::info(kLog, "packages are served", {{"address", shared.settings.address}, {"port", bound_port.load()}});
    return {};
  }

  void accept() {
    if (accepting || connections >= shared.settings.max_connections) return;
    accepting = true;
    acceptor.async_accept([self = shared_from_this()](BoostError error, Tcp::socket socket) {
      self->accepting = false;
      if (!self->acceptor.is_open()) return;
      if (error) return self->accept_later(error);
      self->serve(std::move(socket));
      self->accept();
    });
  }

  // Out of descriptors, most likely: others will be closed.
  void accept_later(BoostError error) {
    log::warn(kLog, "a device cannot be let in", {{"why", error.message()}});
    retry_timer.expires_after(Millis(200));
    retry_timer.async_wait([self = shared_from_this()](BoostError cancelled) {
      if (!cancelled) self->accept();
    });
  }

  void serve(Tcp::socket socket) {
    BoostError gone;
    const auto peer = socket.remote_endpoint(gone);
    if (gone) return;
    const std::string address = peer.address().to_string();
    if (per_address[address] >= shared.settings.max_per_address) return;  // closed as it goes
    ++per_address[address];
    ++connections;
    socket.set_option(Tcp::no_delay(true), gone);
    const auto on_end = [weak = weak_from_this(), address] {
      const auto self = weak.lock();
      if (!self) return;
      --self->connections;
      if (--self->per_address[address] == 0) self->per_address.erase(address);
      self->accept();
    };
    auto connection = std::make_shared<Connection>(std::move(socket), tls, shared, address, on_end);
    std::erase_if(live, [](const std::weak_ptr<Connection>& one) { return one.expired(); });
    live.push_back(connection);
    connection->begin();
  }

  void stop() {
    BoostError ignored;
    acceptor.close(ignored);
    retry_timer.cancel();
    for (const auto& weak : live) {
      if (const auto connection = weak.lock()) connection->close();
    }
    io->stop();
  }

  // First, so that it goes last: what still waits in it uses the rest.
  std::shared_ptr<asio::io_context> io = std::make_shared<asio::io_context>(1);
  asio::ssl::context tls;
  Tcp::acceptor acceptor;
  asio::steady_timer retry_timer;
  Shared shared;
  std::vector<std::weak_ptr<Connection>> live;
  std::map<std::string, std::size_t> per_address;
  std::size_t connections = 0;
  std::atomic<int> bound_port = 0;
  bool accepting = false;
  std::thread thread;
};

PackageServer::PackageServer(PackageServerSettings settings, PackageFolder folder, PackageLinks links, IsAlive is_alive)
    : impl_(std::make_shared<Impl>(std::move(settings), std::move(folder), std::move(links), std::move(is_alive))) {}

PackageServer::~PackageServer() {
  if (!impl_->thread.joinable()) return;
  asio::post(*impl_->io, [impl = impl_] { impl->stop(); });
  impl_->thread.join();
  // What was cancelled holds the server and its connections until it has been told so.
  impl_->io->restart();
  impl_->io->poll();
}

Result<void> PackageServer::start() {
  if (impl_->thread.joinable()) return {};
  TRY(impl_->listen());
  impl_->accept();
  impl_->thread = std::thread([impl = impl_.get()] { impl->io->run(); });
  return {};
}

int PackageServer::port() const {
  return impl_->bound_port;
}

}  // namespace fleet::provisioner
