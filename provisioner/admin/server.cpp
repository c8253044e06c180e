#include "provisioner/admin/server.hpp"

#include <array>
#include <optional>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <utility>

#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "core/base/log.hpp"
#include "provisioner/admin/api.hpp"
#include "provisioner/admin/wire.hpp"

namespace fleet::provisioner {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Socket = asio::local::stream_protocol;
using Stream = beast::basic_stream<Socket>;
using BoostError = boost::system::error_code;

constexpr std::string_view kLog = "admin";
constexpr std::size_t kMaxConnections = 64;
constexpr Seconds kIdleLimit{30};
// What a caller still sends behind an answer is read and dropped for so long, or it would lose the answer.
constexpr Seconds kLingerLimit{2};
constexpr std::size_t kUploadPiece = 256 * 1024;
// An empty buffer would be read into by 512 bytes a time.
constexpr std::size_t kReadSize = 16 * 1024;

// "uid 0 (root)"
std::string peer_of(int fd) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return "uid unknown";
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(credentials.uid, &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) return fmt::format("uid {}", credentials.uid);
  return fmt::format("uid {} ({})", credentials.uid, found->pw_name);
}

// One call: read, handled, answered, closed. Kept alive by what it waits for.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket::socket socket, std::shared_ptr<AdminApi> api, std::function<void()> on_end)
      : stream_(std::move(socket)),
        api_(std::move(api)),
        on_end_(std::move(on_end)),
        peer_(peer_of(stream_.socket().native_handle())) {
    buffer_.reserve(kReadSize);
    header_.body_limit(boost::none);  // judged by what the header asks for
    header_.header_limit(16 * 1024);
  }
  ~Connection() { on_end_(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void read() {
    stream_.expires_after(kIdleLimit);
    http::async_read_header(stream_, buffer_, header_, [self = shared_from_this()](BoostError error, std::size_t) {
      if (error) return self->on_broken(error);
      self->on_header();
    });
  }

  void close() { stream_.close(); }

 private:
  void on_broken(BoostError error) {
    if (error == http::error::body_limit) return refuse_size();
    if (error.category() == http::make_error_code(http::error::bad_method).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return answer(reply_with(Error{ErrorCode::kMalformed, "not a proper HTTP request: " + error.message()}));
    }
  }

  void refuse_size() {
    answer(reply_with(Error{ErrorCode::kLimitExceeded,
                            fmt::format("the body is larger than {} MiB", kMaxAdminBody / (1024 * 1024))}));
  }

  void on_header() {
    const auto& request = header_.get();
    constexpr std::string_view kUploads = "/v1/packages/";
    const std::string_view target(request.target().data(), request.target().size());
    const bool waits = beast::iequals(request[http::field::expect], "100-continue");
    if (request.method() == http::verb::put && target.starts_with(kUploads)) {
      auto upload = api_->begin_upload(std::string(target.substr(kUploads.size())));
      if (!upload) return answer(reply_with(upload.error()));
      upload_.emplace(std::move(*upload));
      file_parser_.emplace(std::move(header_));
      file_parser_->body_limit(boost::none);
    } else {
      if (header_.content_length().value_or(0) > kMaxAdminBody) return refuse_size();
      parser_.emplace(std::move(header_));
      parser_->body_limit(kMaxAdminBody);
    }
    if (waits) return tell_to_go_on();
    read_body();
  }

  void read_body() {
    if (upload_) return read_file();
    if (parser_->is_done()) return handle();
    stream_.expires_after(kIdleLimit);
    http::async_read_some(stream_, buffer_, *parser_, [self = shared_from_this()](BoostError error, std::size_t) {
      if (error) return self->on_broken(error);
      self->read_body();
    });
  }

  void read_file() {
    if (file_parser_->is_done()) return answer(api_->finish_upload(*std::exchange(upload_, std::nullopt), peer_));
    if (piece_.empty()) piece_.resize(kUploadPiece);
    stream_.expires_after(kIdleLimit);
    auto& body = file_parser_->get().body();
    body.data = piece_.data();
    body.size = piece_.size();
    http::async_read_some(stream_, buffer_, *file_parser_, [self = shared_from_this()](BoostError error, std::size_t) {
      if (error && error != http::error::need_buffer) return self->on_broken(error);
      const std::size_t got = self->piece_.size() - self->file_parser_->get().body().size;
      if (auto added = self->upload_->add({self->piece_.data(), got}); !added) {
        return self->answer(reply_with(added.error()));
      }
      self->read_file();
    });
  }

  // curl, for one, waits for this before it sends a large body.
  void tell_to_go_on() {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(stream_, asio::buffer(kContinue), [self = shared_from_this()](BoostError error, std::size_t) {
      if (!error) self->read_body();
    });
  }

  void handle() {
    stream_.expires_never();
    auto& request = parser_->get();
    AdminCall call{std::string(request.method_string()), std::string(request.target()), std::move(request.body()),
                   peer_};
    api_->handle(std::move(call), [self = shared_from_this()](AdminReply reply) { self->answer(std::move(reply)); });
  }

  void answer(AdminReply reply) {
    response_.result(static_cast<unsigned>(reply.status));
    response_.version(11);
    response_.set(http::field::content_type, "application/json");
    response_.set(http::field::cache_control, "no-store");
    response_.keep_alive(false);
    response_.body() = std::move(reply.body);
    response_.prepare_payload();
    serializer_.emplace(response_);
    write();
  }

  void write() {
    stream_.expires_after(kIdleLimit);
    http::async_write_some(stream_, *serializer_, [self = shared_from_this()](BoostError error, std::size_t) {
      if (error && error != http::error::end_of_stream) return;
      if (!self->serializer_->is_done()) return self->write();
      self->stream_.socket().shutdown(Socket::socket::shutdown_send, error);
      self->stream_.expires_after(kLingerLimit);
      self->buffer_.clear();
      self->linger();
    });
  }

  void linger() {
    stream_.async_read_some(asio::buffer(rest_), [self = shared_from_this()](BoostError error, std::size_t) {
      if (!error) self->linger();
    });
  }

  Stream stream_;
  std::shared_ptr<AdminApi> api_;
  std::function<void()> on_end_;
  std::string peer_;
  beast::flat_buffer buffer_{kMaxAdminBody};
  http::request_parser<http::empty_body> header_;
  std::optional<http::request_parser<http::string_body>> parser_;
  // Of an upload instead; its file goes with this connection unless it is finished.
  std::optional<http::request_parser<http::buffer_body>> file_parser_;
  std::optional<PackageUpload> upload_;
  std::vector<char> piece_;
  http::response<http::string_body> response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
  std::array<char, 16 * 1024> rest_{};
};

}  // namespace

struct AdminServer::Impl : std::enable_shared_from_this<AdminServer::Impl> {
  Impl(asio::io_context& io, AdminSettings settings, Store& store, const Executor& executor)
      : socket_path(settings.socket),
        acceptor(io),
        retry_timer(io),
        api(std::make_shared<AdminApi>(std::move(settings), store, executor)) {}

  Result<void> listen() {
    const std::string path = socket_path.string();
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
      return fail(ErrorCode::kInvalidArgument, "{}: longer than the {} characters that a socket's path may have", path,
                  sizeof(sockaddr_un::sun_path) - 1);
    }
    struct stat found {};
    if (::lstat(path.c_str(), &found) == 0) {
      // left by a service that was killed: the lock on the data folder says that none is running
      if (!S_ISSOCK(found.st_mode)) return fail(ErrorCode::kAlreadyExists, "{}: is there and is no socket", path);
      if (::unlink(path.c_str()) != 0) return fail(errno_error(errno, path));
    }
    BoostError error;
    acceptor.open(Socket(), error);
    // the mode that the socket's file is born with, whatever the umask
    if (!error && ::fchmod(acceptor.native_handle(), S_IRUSR | S_IWUSR) != 0) return fail(errno_error(errno, path));
    if (!error) acceptor.bind(Socket::endpoint(path), error);
    if (!error && ::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) return fail(errno_error(errno, path));
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return fail(errno_error(error.value(), path));
    accept();
    return {};
  }

  void accept() {
    if (accepting || stopped || connections >= kMaxConnections) return;
    accepting = true;
    acceptor.async_accept([self = shared_from_this()](BoostError error, Socket::socket socket) {
      self->accepting = false;
      if (self->stopped) return;
      if (error) return self->accept_later(error);
      self->serve(std::move(socket));
      self->accept();
    });
  }

  // Out of descriptors, most likely: others will be closed.
  void accept_later(BoostError error) {
    log::warn(kLog, "a caller cannot be let in", {{"why", error.message()}});
    retry_timer.expires_after(Millis(200));
    retry_timer.async_wait([self = shared_from_this()](BoostError cancelled) {
      if (!cancelled) self->accept();
    });
  }

  void serve(Socket::socket socket) {
    ++connections;
    const auto on_end = [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      --self->connections;
      self->accept();
    };
    auto connection = std::make_shared<Connection>(std::move(socket), api, on_end);
    std::erase_if(live, [](const std::weak_ptr<Connection>& gone) { return gone.expired(); });
    live.push_back(connection);
    connection->read();
  }

  void stop() {
    if (std::exchange(stopped, true)) return;
    api->stop();
    BoostError ignored;
    acceptor.close(ignored);
    retry_timer.cancel();
    for (const auto& weak : live) {
      if (const auto connection = weak.lock()) connection->close();
    }
    live.clear();
    if (listening) ::unlink(socket_path.c_str());
  }

  std::filesystem::path socket_path;
  Socket::acceptor acceptor;
  asio::steady_timer retry_timer;
  std::shared_ptr<AdminApi> api;
  std::vector<std::weak_ptr<Connection>> live;
  std::size_t connections = 0;
  bool listening = false;
  bool accepting = false;
  bool stopped = false;
};

AdminServer::AdminServer(asio::io_context& io, AdminSettings settings, Store& store, const Executor& executor)
    : impl_(std::make_shared<Impl>(io, std::move(settings), store, executor)) {}

AdminServer::~AdminServer() {
  stop();
}

Result<void> AdminServer::start() {
  TRY(impl_->listen());
  impl_->listening = true;
  return {};
}

void AdminServer::stop() {
  impl_->stop();
}

}  // namespace fleet::provisioner
