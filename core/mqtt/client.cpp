#include "core/mqtt/client.hpp"

#include <fcntl.h>
#include <mosquitto.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <unordered_set>
#include <utility>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/base/fd.hpp"
#include "core/mqtt/lookup.hpp"

namespace fleet::mqtt {
namespace {

using boost::asio::posix::stream_descriptor;

// Packet ids have 16 bits and libmosquitto does not look whether one is still in use.
constexpr std::size_t kMostUnacknowledged = 60'000;
constexpr std::size_t kLargestPacket = 268'435'455;  // MQTT 3.1.1 §2.2.3
// Reads in a row before other sockets get their turn.
constexpr int kReadBurst = 64;
constexpr Seconds kLeaveLimit{5};
// A handshake that has to wait for room in the socket's buffer is looked at this often (see wants_write).
constexpr Seconds kHandshakeTick{1};

struct Destroy {
  void operator()(mosquitto* handle) const { ::mosquitto_destroy(handle); }
};
using Handle = std::unique_ptr<mosquitto, Destroy>;

void init_library() {
  // mosquitto_new() also sets SIGPIPE to SIG_IGN, which keeps a broken connection from killing the process
  static const bool done = ::mosquitto_lib_init() == MOSQ_ERR_SUCCESS;
  static_cast<void>(done);
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

// "OpenSSL Error[0]: error:0A000086:SSL routines::certificate verify failed" → "certificate verify failed".
std::string_view reason_of(std::string_view line) {
  const std::size_t colon = line.rfind(':');
  if (colon == std::string_view::npos) return line;
  line.remove_prefix(colon + 1);
  while (line.starts_with(' ')) line.remove_prefix(1);
  return line;
}

std::string_view refusal_of(int connack) {
  switch (connack) {
    case 1: return "it does not speak MQTT 3.1.1";
    case 2: return "it does not accept this client id";
    case 3: return "it is not available";
    case 4: return "wrong user name or password";
    case 5: return "not authorised";
    default: return "unknown reason";
  }
}

// What a call to libmosquitto came to; errno is only good right after it.
struct Outcome {
  int code = MOSQ_ERR_SUCCESS;
  int error_number = 0;

  std::string_view text() const {
    return code == MOSQ_ERR_ERRNO && error_number != EPROTO ? std::strerror(error_number) : ::mosquitto_strerror(code);
  }
};
Outcome outcome(int code) { return {code, errno}; }

}  // namespace

// One network connection. A second try, of another address or after another connect(), is another Link; a completion
// that finds its Link no longer the current one has nothing to say.
struct Link {
  enum class Stage {
    kTcp,        // waiting for the TCP connection
    kHandshake,  // TLS handshake, then CONNECT sent and CONNACK awaited
    kAccepted,
    kLeaving,    // DISCONNECT on its way out
  };

  explicit Link(boost::asio::io_context& io) : socket(io) {}

  // Closes it. Completions under way hold the Link, so it cannot wait for its destructor.
  void drop() {
    handle.reset();
    boost::system::error_code ignored;
    socket.close(ignored);
  }

  stream_descriptor socket;  // a dup(): the library closes its own when it likes
  Handle handle;             // goes first
  Stage stage = Stage::kTcp;
  bool reading = false;
  bool writing = false;
  int connack = 0;
  std::string complaints;  // of the TLS layer
  std::unordered_set<int> unacknowledged;

  bool before_accepted() const { return stage == Stage::kTcp || stage == Stage::kHandshake; }
};

struct Client::Impl : std::enable_shared_from_this<Client::Impl> {
  using Stage = Link::Stage;
  using Clock = std::chrono::steady_clock;

  Impl(boost::asio::io_context& io_context, Handlers callbacks)
      : io(io_context), handlers(std::move(callbacks)), timer(io_context) {}

  // --- calls of the owner
  Result<void> connect(ConnectOptions wanted);
  Result<int> publish(std::string_view topic, std::string_view payload, int qos);
  Result<int> subscribe(std::string_view filter);
  void disconnect();
  void close();

  // --- connecting
  void try_next_address();
  Result<void> open(const std::string& address);
  Result<void> configure(mosquitto* handle);
  void attempt_failed(std::string_view why);
  void attempt_over(Result<bool> result);

  // --- the socket
  void arm();
  void wait(stream_descriptor::wait_type direction, bool Link::*waiting);
  bool wants_write() const;
  void on_readable();
  void on_writable();
  void on_tcp_settled();
  bool handle_handshake();
  bool survived(Outcome result);
  void lost(Outcome result);
  void drop_link();
  bool peer_closed() const;

  // --- time
  void start_timer(Clock::duration pause);
  void on_timer();
  Clock::duration tick() const;

  // --- events: noted where they happen, told to the owner from here
  void tell(std::function<void()> event);
  void tell_later();
  void drain();

  static void on_connack(mosquitto*, void* self, int code, int flags) noexcept;
  static void on_message(mosquitto*, void* self, const mosquitto_message* message) noexcept;
  static void on_puback(mosquitto*, void* self, int id) noexcept;
  static void on_suback(mosquitto*, void* self, int id, int count, const int* granted) noexcept;
  static void on_log(mosquitto*, void* self, int level, const char* line) noexcept;

  bool tls() const { return options.url.scheme == BrokerUrl::Scheme::kMqtts; }

  boost::asio::io_context& io;
  Handlers handlers;
  boost::asio::steady_timer timer;

  bool closed = false;      // the Client is gone
  bool connecting = false;  // on_connect is owed
  ConnectOptions options;
  Clock::time_point deadline;       // of the whole attempt, or of leaving
  Clock::time_point link_deadline;  // of this address
  std::unique_ptr<Lookup> lookup;
  std::deque<std::string> addresses;  // still to be tried
  std::shared_ptr<Link> link;

  std::deque<std::function<void()>> events;
  bool draining = false;
  bool drain_posted = false;
};

// ---------------------------------------------------------------------------------------------- calls of the owner

namespace {

Result<void> check(const ConnectOptions& options) {
  const auto bad = [](std::string_view why) { return fail(ErrorCode::kInvalidArgument, "MQTT connect: {}", why); };
  if (options.url.host.empty()) return bad("no broker given");
  if (options.url.scheme == BrokerUrl::Scheme::kMqtts && !options.tls) return bad("mqtts:// needs a TLS context");
  if (options.client_id.empty()) return bad("the client id is empty");
  if (options.client_id.size() > 65535 || !is_utf8(options.client_id) || has_nul(options.client_id)) {
    return bad("the client id is not a text of at most 65535 bytes");
  }
  if (options.username && (has_nul(*options.username) || !is_utf8(*options.username))) {
    return bad("the user name is not a text");
  }
  if (options.password && !options.username) return bad("a password needs a user name");
  if (options.password && has_nul(options.password->reveal())) return bad("the password holds a NUL");
  if (options.keep_alive.count() != 0 && (options.keep_alive < Seconds(5) || options.keep_alive > Seconds(65535))) {
    return bad("keep-alive is 0 or from 5 s to 65535 s");
  }
  if (options.connect_timeout <= Seconds(0)) return bad("the connect timeout must be positive");
  return {};
}

}  // namespace

Result<void> Client::Impl::connect(ConnectOptions wanted) {
  TRY(check(wanted));
  close();
  options = std::move(wanted);
  connecting = true;
  deadline = Clock::now() + options.connect_timeout;
  if (options.url.scheme == BrokerUrl::Scheme::kUnix || is_address(options.url.host)) {
    addresses.push_back(options.url.host);
    try_next_address();
    tell_later();
    return {};
  }
  link_deadline = deadline;
  start_timer(options.connect_timeout);
  lookup = std::make_unique<Lookup>(io, options.url.host, [this](Result<std::vector<std::string>> found) {
    lookup.reset();
    if (found) {
      addresses.assign(found->begin(), found->end());
      try_next_address();
    } else {
      attempt_failed(found.error().message);
    }
    drain();
  });
  return {};
}

Result<int> Client::Impl::publish(std::string_view topic, std::string_view payload, int qos) {
  if (!link || link->stage != Stage::kAccepted) return fail(ErrorCode::kUnavailable, "MQTT publish: not connected");
  if (qos != 0 && qos != 1) return fail(ErrorCode::kInvalidArgument, "MQTT publish: QoS {} is not used here", qos);
  if (has_nul(topic)) return fail(ErrorCode::kInvalidArgument, "MQTT publish: the topic holds a NUL");
  if (payload.size() > kLargestPacket) {
    return fail(ErrorCode::kInvalidArgument, "MQTT publish: {} bytes are more than a packet can hold", payload.size());
  }
  if (link->unacknowledged.size() >= kMostUnacknowledged) {
    return fail(ErrorCode::kLimitExceeded, "MQTT publish: {} messages are waiting for the broker", kMostUnacknowledged);
  }
  int id = 0;
  const std::string name(topic);
  const Outcome result = outcome(::mosquitto_publish(link->handle.get(), &id, name.c_str(),
                                                     static_cast<int>(payload.size()), payload.data(), qos, false));
  switch (result.code) {
    case MOSQ_ERR_SUCCESS: break;
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
    case MOSQ_ERR_PAYLOAD_SIZE:
    case MOSQ_ERR_OVERSIZE_PACKET:
      return fail(ErrorCode::kInvalidArgument, "MQTT publish to '{}': {}", topic, result.text());
    default:
      lost(result);
      tell_later();
      return fail(ErrorCode::kUnavailable, "MQTT publish to '{}': {}", topic, result.text());
  }
  if (qos == 1) link->unacknowledged.insert(id);
  arm();
  return id;
}

Result<int> Client::Impl::subscribe(std::string_view filter) {
  if (!link || link->stage != Stage::kAccepted) return fail(ErrorCode::kUnavailable, "MQTT subscribe: not connected");
  if (has_nul(filter)) return fail(ErrorCode::kInvalidArgument, "MQTT subscribe: the filter holds a NUL");
  int id = 0;
  const std::string pattern(filter);
  const Outcome result = outcome(::mosquitto_subscribe(link->handle.get(), &id, pattern.c_str(), 1));
  switch (result.code) {
    case MOSQ_ERR_SUCCESS: break;
    case MOSQ_ERR_INVAL:
    case MOSQ_ERR_MALFORMED_UTF8:
    case MOSQ_ERR_OVERSIZE_PACKET:
      return fail(ErrorCode::kInvalidArgument, "MQTT subscribe to '{}': {}", filter, result.text());
    default:
      lost(result);
      tell_later();
      return fail(ErrorCode::kUnavailable, "MQTT subscribe to '{}': {}", filter, result.text());
  }
  arm();
  return id;
}

void Client::Impl::disconnect() {
  if (connecting) {
    attempt_failed("given up before the broker answered");
  } else if (link && link->stage == Stage::kAccepted) {
    link->stage = Stage::kLeaving;
    deadline = Clock::now() + kLeaveLimit;
    start_timer(kLeaveLimit);
    if (survived(outcome(::mosquitto_disconnect(link->handle.get())))) arm();
  }
  tell_later();
}

// Ends whatever is going on without a word.
void Client::Impl::close() {
  timer.cancel();
  lookup.reset();
  addresses.clear();
  drop_link();
  events.clear();
  connecting = false;
  options.password.reset();
}

// ------------------------------------------------------------------------------------------------------ connecting

// Shares the time that is left between the addresses that are left, so that a dead first one does not use it all up.
void Client::Impl::try_next_address() {
  std::string why;
  while (!addresses.empty()) {
    const auto left = deadline - Clock::now();
    link_deadline = Clock::now() + left / static_cast<int>(addresses.size());
    const std::string address = std::move(addresses.front());
    addresses.pop_front();
    if (const auto opened = open(address)) {
      start_timer(std::min<Clock::duration>(kHandshakeTick, link_deadline - Clock::now()));
      return arm();
    } else {
      why = opened.error().message;
    }
  }
  attempt_failed(why);
}

Result<void> Client::Impl::open(const std::string& address) {
  init_library();
  drop_link();
  link = std::make_shared<Link>(io);
  link->handle.reset(::mosquitto_new(options.client_id.c_str(), options.clean_session, this));
  if (!link->handle) return fail(ErrorCode::kUnavailable, "{}", std::strerror(errno));
  mosquitto* const handle = link->handle.get();
  TRY(configure(handle));

  const int keep_alive = static_cast<int>(options.keep_alive.count());
  const Outcome result =
      outcome(::mosquitto_connect_async(handle, address.c_str(), options.url.port, keep_alive));
  if (result.code != MOSQ_ERR_SUCCESS) return fail(ErrorCode::kUnavailable, "{}", result.text());
  Fd copy(::fcntl(::mosquitto_socket(handle), F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail(ErrorCode::kUnavailable, "{}", std::strerror(errno));
  boost::system::error_code error;
  link->socket.assign(copy.get(), error);
  if (error) return fail(ErrorCode::kUnavailable, "{}", error.message());
  copy.release();
  return {};
}

Result<void> Client::Impl::configure(mosquitto* handle) {
  ::mosquitto_connect_with_flags_callback_set(handle, &Impl::on_connack);
  ::mosquitto_message_callback_set(handle, &Impl::on_message);
  ::mosquitto_publish_callback_set(handle, &Impl::on_puback);
  ::mosquitto_subscribe_callback_set(handle, &Impl::on_suback);
  ::mosquitto_log_callback_set(handle, &Impl::on_log);

  int code = ::mosquitto_int_option(handle, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V311);
  const auto then = [&code](int next) {
    if (code == MOSQ_ERR_SUCCESS) code = next;
  };
  then(::mosquitto_int_option(handle, MOSQ_OPT_SEND_MAXIMUM, 65535));
  if (options.url.scheme != BrokerUrl::Scheme::kUnix) then(::mosquitto_int_option(handle, MOSQ_OPT_TCP_NODELAY, 1));
  if (options.username) {
    // a Secret is a whole std::string, so its bytes end with a NUL
    then(::mosquitto_username_pw_set(handle, options.username->c_str(),
                                     options.password ? options.password->reveal().data() : nullptr));
  }
  if (options.will) {
    then(::mosquitto_will_set(handle, options.will->topic.c_str(), static_cast<int>(options.will->payload.size()),
                              options.will->payload.data(), 0, false));
  }
  if (tls()) {
    // With a context of ours the library sets up nothing of its own: trust, versions and the host name check are all in it.
    then(::mosquitto_int_option(handle, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0));
    then(::mosquitto_void_option(handle, MOSQ_OPT_SSL_CTX, options.tls.get()));
  }
  if (code != MOSQ_ERR_SUCCESS) return fail(ErrorCode::kUnavailable, "{}", ::mosquitto_strerror(code));
  return {};
}

void Client::Impl::attempt_failed(std::string_view why) {
  attempt_over(fail(ErrorCode::kUnavailable, "{}: {}", options.url.str(), why));
}

void Client::Impl::attempt_over(Result<bool> result) {
  connecting = false;
  options.password.reset();
  addresses.clear();
  if (!result) {
    lookup.reset();
    drop_link();
    timer.cancel();
  }
  tell([this, result = std::move(result)] {
    if (handlers.on_connect) handlers.on_connect(result);
  });
}

// ------------------------------------------------------------------------------------------------------ the socket

void Client::Impl::arm() {
  if (!link) return;
  if (link->stage != Stage::kTcp) wait(stream_descriptor::wait_read, &Link::reading);
  if (wants_write()) wait(stream_descriptor::wait_write, &Link::writing);
}

void Client::Impl::wait(stream_descriptor::wait_type direction, bool Link::*waiting) {
  if (link.get()->*waiting) return;
  link.get()->*waiting = true;
  link->socket.async_wait(direction, [self = shared_from_this(), mine = link, direction,
                                      waiting](boost::system::error_code error) {
    mine.get()->*waiting = false;
    if (self->link != mine || error) return;
    if (direction == stream_descriptor::wait_read) {
      self->on_readable();
    } else {
      self->on_writable();
    }
    self->arm();
    self->drain();
  });
}

// libmosquitto keeps its want_write set from the first byte of a TLS handshake to the end of it; believing it would be a
// busy loop. The handshake's few packets fit into the buffer of a new socket; should they not, the timer looks after them.
bool Client::Impl::wants_write() const {
  if (link->stage == Stage::kTcp) return true;
  if (link->stage == Stage::kHandshake && tls()) return false;
  return ::mosquitto_want_write(link->handle.get());
}

void Client::Impl::on_readable() {
  if (link->stage == Stage::kHandshake) {
    handle_handshake();
    return;
  }
  for (int i = 0; i < kReadBurst; ++i) {
    if (!survived(outcome(::mosquitto_loop_read(link->handle.get(), 1)))) return;
    boost::system::error_code error;
    boost::asio::posix::stream_descriptor::bytes_readable more(true);
    link->socket.io_control(more, error);
    if (error || more.get() == 0) return;
  }
}

void Client::Impl::on_writable() {
  if (link->stage == Stage::kTcp) {
    on_tcp_settled();
  } else {
    survived(outcome(::mosquitto_loop_write(link->handle.get(), 1)));
  }
}

void Client::Impl::on_tcp_settled() {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(link->socket.native_handle(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    // The library may have taken the error when it tried to write; then only the missing peer tells.
    if (::getpeername(link->socket.native_handle(), reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
      error = ECONNREFUSED;
    }
  }
  if (error != 0) return lost({MOSQ_ERR_ERRNO, error});
  link->stage = Stage::kHandshake;
  handle_handshake();
}

// Until CONNACK: read and write as far as it goes. False if the link is gone.
bool Client::Impl::handle_handshake() {
  if (!survived(outcome(::mosquitto_loop_read(link->handle.get(), 1)))) return false;
  if (::mosquitto_want_write(link->handle.get()) &&
      !survived(outcome(::mosquitto_loop_write(link->handle.get(), 1)))) {
    return false;
  }
  // libmosquitto takes the end of the stream inside a TLS handshake for "try again", for ever
  if (link->before_accepted() && peer_closed()) {
    lost({MOSQ_ERR_CONN_LOST, 0});
    return false;
  }
  return true;
}

bool Client::Impl::peer_closed() const {
  char byte = 0;
  const ssize_t count = ::recv(link->socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR);
}

// True if the link is still there after a call to the library.
bool Client::Impl::survived(Outcome result) {
  if (result.code == MOSQ_ERR_SUCCESS && ::mosquitto_socket(link->handle.get()) >= 0) return true;
  lost(result);
  return false;
}

void Client::Impl::lost(Outcome result) {
  const std::shared_ptr<Link> gone = std::exchange(link, nullptr);
  std::string why(result.text());
  if (!gone->complaints.empty()) {
    why = "TLS: " + gone->complaints;
  } else if (result.code == MOSQ_ERR_SUCCESS || result.code == MOSQ_ERR_CONN_LOST) {
    why = gone->stage == Stage::kHandshake ? "the broker closed the connection before it answered"
                                           : "the broker closed the connection";
  }
  gone->drop();

  if (gone->before_accepted()) {
    if (gone->stage == Stage::kTcp && !addresses.empty()) return try_next_address();
    if (gone->connack == 0) return attempt_failed(why);
    const bool credentials = gone->connack == 4 || gone->connack == 5;
    return attempt_over(fail(credentials ? ErrorCode::kUnauthenticated : ErrorCode::kUnavailable,
                             "{}: the broker refused the connection: {}", options.url.str(),
                             refusal_of(gone->connack)));
  }
  timer.cancel();
  Result<void> how;
  if (gone->stage != Stage::kLeaving) how = fail(ErrorCode::kUnavailable, "{}: {}", options.url.str(), why);
  tell([this, how = std::move(how)] {
    if (handlers.on_disconnect) handlers.on_disconnect(how);
  });
}

void Client::Impl::drop_link() {
  if (const auto gone = std::exchange(link, nullptr)) gone->drop();
}

// ------------------------------------------------------------------------------------------------------------ time

// Often enough for the keep-alive, which libmosquitto counts in whole seconds, and seldom enough for thousands of clients.
Client::Impl::Clock::duration Client::Impl::tick() const {
  return std::clamp(options.keep_alive / 10, Seconds(1), Seconds(5));
}

void Client::Impl::start_timer(Clock::duration pause) {
  timer.expires_after(pause);
  timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error || self->closed) return;
    self->on_timer();
    self->arm();
    self->drain();
  });
}

void Client::Impl::on_timer() {
  const auto now = Clock::now();
  if (connecting) {
    if (now >= link_deadline) {
      if (link && link->stage == Stage::kTcp && !addresses.empty()) return try_next_address();
      const std::string_view what = lookup                              ? "DNS: no answer"
                                    : link && link->stage == Stage::kTcp ? "cannot be reached"
                                                                         : "the broker did not answer";
      return attempt_failed(fmt::format("{} within {} s", what, options.connect_timeout.count()));
    }
    if (link && link->stage == Stage::kHandshake && !handle_handshake()) return;
    if (connecting) return start_timer(std::min<Clock::duration>(kHandshakeTick, link_deadline - now));
    return;
  }
  if (!link) return;
  if (link->stage == Stage::kLeaving) {
    if (now >= deadline) lost({});
    return;
  }
  if (survived(outcome(::mosquitto_loop_misc(link->handle.get())))) start_timer(tick());
}

// ---------------------------------------------------------------------------------------------------------- events

void Client::Impl::tell(std::function<void()> event) { events.push_back(std::move(event)); }

// For calls of the owner: what they caused is told when they have returned.
void Client::Impl::tell_later() {
  if (events.empty() || draining || drain_posted) return;
  drain_posted = true;
  boost::asio::post(io, [self = shared_from_this()] {
    self->drain_posted = false;
    self->drain();
  });
}

// The owner may do anything inside a handler: publish, connect anew, destroy the Client. The first two only add to the
// events or clear them; the last clears them for good.
void Client::Impl::drain() {
  if (draining) return;
  const auto self = shared_from_this();
  draining = true;
  while (!events.empty()) {
    const std::function<void()> event = std::move(events.front());
    events.pop_front();
    event();
  }
  draining = false;
}

void Client::Impl::on_connack(mosquitto*, void* self, int code, int flags) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  impl.link->connack = code;
  if (code != 0) return;  // the library closes the connection
  impl.link->stage = Stage::kAccepted;
  impl.attempt_over((flags & 1) != 0);
  impl.start_timer(impl.tick());
}

void Client::Impl::on_message(mosquitto*, void* self, const mosquitto_message* message) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  Message copy;
  copy.topic = message->topic;
  if (message->payloadlen > 0) {
    copy.payload.assign(static_cast<const char*>(message->payload), static_cast<std::size_t>(message->payloadlen));
  }
  copy.qos = message->qos;
  copy.retained = message->retain;
  impl.tell([&impl, copy = std::move(copy)]() mutable {
    if (impl.handlers.on_message) impl.handlers.on_message(std::move(copy));
  });
}

void Client::Impl::on_puback(mosquitto*, void* self, int id) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  if (impl.link->unacknowledged.erase(id) == 0) return;  // QoS 0: was only written
  impl.tell([&impl, id] {
    if (impl.handlers.on_published) impl.handlers.on_published(id);
  });
}

void Client::Impl::on_suback(mosquitto*, void* self, int id, int count, const int* granted) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  const bool accepted = count == 1 && granted[0] < 0x80;
  impl.tell([&impl, id, accepted] {
    if (impl.handlers.on_subscribed) impl.handlers.on_subscribed(id, accepted);
  });
}

void Client::Impl::on_log(mosquitto*, void* self, int level, const char* line) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  if (level != MOSQ_LOG_ERR || !impl.link || !std::string_view(line).starts_with("OpenSSL")) return;
  std::string& complaints = impl.link->complaints;
  const std::string_view reason = reason_of(line);
  if (complaints.find(reason) != std::string::npos) return;
  if (!complaints.empty()) complaints += ", ";
  complaints += reason;
}

// ---------------------------------------------------------------------------------------------------------- Client

Client::Client(boost::asio::io_context& io, Handlers handlers)
    : impl_(std::make_shared<Impl>(io, std::move(handlers))) {}

Client::~Client() {
  impl_->closed = true;
  impl_->close();
}

Result<void> Client::connect(ConnectOptions options) { return impl_->connect(std::move(options)); }
Result<int> Client::publish(std::string_view topic, std::string_view payload, int qos) {
  return impl_->publish(topic, payload, qos);
}
Result<int> Client::subscribe(std::string_view filter) { return impl_->subscribe(filter); }
void Client::disconnect() { impl_->disconnect(); }
bool Client::connected() const { return impl_->link && impl_->link->stage == Link::Stage::kAccepted; }

}  // namespace fleet::mqtt
