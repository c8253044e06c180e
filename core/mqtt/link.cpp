#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <utility>

#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>

#include "core/mqtt/client_impl.hpp"

namespace fleet::mqtt {
namespace {

// Reads in a row before other sockets get their turn.
constexpr int kReadBurst = 64;
// A handshake that has to wait for room in the socket's buffer is looked at this often (see wants_write).
constexpr Seconds kHandshakeTick{1};

std::string_view refusal_of(int connack) {
  switch (connack) {
    case 1:
      return "it does not speak this version of MQTT";
    case 2:
      return "it does not accept this client id";
    case 3:
      return "it is not available";
    case 4:
      return "wrong user name or password";
    case 5:
      return "not authorised";
    default:
      // MQTT 5 has codes of its own
      return connack >= 0x80 ? ::mosquitto_reason_string(connack) : "unknown reason";
  }
}

bool is_about_credentials(int connack) {
  return connack == 4 || connack == 5 || connack == MQTT_RC_BAD_USERNAME_OR_PASSWORD ||
         connack == MQTT_RC_NOT_AUTHORIZED;
}

std::string why_lost(const Link& link, const Outcome& result) {
  if (!link.complaints.empty()) return "TLS: " + link.complaints;
  if (link.before_accepted() && result.code == MOSQ_ERR_ERRNO && result.error_number == EPROTO) {
    // the broker hung up while CONNECT was written; its alert, which would tell more, is lost with the connection
    return "TLS: broken off by the broker, which may want a client certificate, or another one";
  }
  if (result.code != MOSQ_ERR_SUCCESS && result.code != MOSQ_ERR_CONN_LOST) return result.text();
  return link.stage == Link::Stage::kHandshake ? "the broker closed the connection before it answered"
                                               : "the broker closed the connection";
}

// As much room for what goes out as the kernel gives (net.core.wmem_max twice); what it does not give is waited for. Not for
// TCP, whose room grows by itself as long as nobody sets it.
void widen(int socket) {
  constexpr int kWanted = 4 * 1024 * 1024;
  static_cast<void>(::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &kWanted, sizeof kWanted));
}

bool has_input(Link& link) {
  int count = 0;
  return ::ioctl(link.native_socket(), FIONREAD, &count) == 0 && count != 0;
}

}  // namespace

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
  drop_link();
  link = std::make_shared<Link>(io);
  TRY_ASSIGN(link->handle, make_handle());
  mosquitto* const handle = link->handle.get();
  const int keep_alive = static_cast<int>(options.keep_alive.count());
  const Outcome result = outcome(::mosquitto_connect_async(handle, address.c_str(), options.url.port, keep_alive));
  if (result.code != MOSQ_ERR_SUCCESS) return fail(ErrorCode::kUnavailable, "{}", why_lost(*link, result));
  if (options.write_together && options.url.scheme == BrokerUrl::Scheme::kUnix) widen(::mosquitto_socket(handle));
  Fd copy(::fcntl(::mosquitto_socket(handle), F_DUPFD_CLOEXEC, 0));
  if (!copy) return fail(errno_error(errno, "socket"));
  boost::system::error_code error;
  link->socket.assign(copy.get(), error);
  if (error) return fail(ErrorCode::kUnavailable, "socket: {}", error.message());
  copy.release();
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
  if (link->stage != Stage::kTcp) wait_to_read();
  if (!link || !wants_write()) return;
  if (!options.write_together || link->before_accepted()) return wait_to_write();
  if (!link->flushing && !link->writing) flush_soon();
}

// A socket that rests is looked at soon anyway.
void Client::Impl::wait_to_write() {
  if (!link->resting) wait(stream_descriptor::wait_write, &Link::writing);
}

void Client::Impl::wait(stream_descriptor::wait_type direction, bool Link::*waiting) {
  if (link.get()->*waiting) return;
  link.get()->*waiting = true;
  link->socket.async_wait(
      direction, [self = shared_from_this(), mine = link, direction, waiting](boost::system::error_code error) {
        mine.get()->*waiting = false;
        if (self->link != mine) return;
        if (!error) return self->on_ready(direction);
        if (error == boost::asio::error::operation_aborted) {  // the socket was put to rest meanwhile
          self->arm();
        } else {
          self->lost({MOSQ_ERR_ERRNO, error.value()});
        }
        self->drain();
      });
}

void Client::Impl::on_ready(stream_descriptor::wait_type direction) {
  if (direction == stream_descriptor::wait_read) {
    on_readable();
  } else {
    on_writable();
  }
  arm();
  drain();
}

// A socket that has just been read rests, and is looked at again when its time has come; only if there is nothing by then
// is it waited for.
void Client::Impl::wait_to_read() {
  if (link->reading) return;
  if (!std::exchange(link->just_read, false)) {
    if (const auto error = link->attend()) {
      lost({MOSQ_ERR_ERRNO, error.value()});
      return tell_later();
    }
    return wait(stream_descriptor::wait_read, &Link::reading);
  }
  link->reading = true;
  link->rest();
  reading_timer.expires_after(options.read_every);
  reading_timer.async_wait([self = shared_from_this(), mine = link](boost::system::error_code) {
    mine->reading = false;
    if (self->link == mine) self->look_again();
  });
}

void Client::Impl::look_again() {
  if (wants_write()) on_writable();
  if (link && has_input(*link)) on_readable();
  arm();
  drain();
}

// Once for all that is published until then.
void Client::Impl::flush_soon() {
  link->flushing = true;
  boost::asio::post(io, [self = shared_from_this(), mine = link] {
    if (self->link != mine) return;
    mine->flushing = false;
    if (self->wants_write()) self->on_writable();
    if (self->link) self->wait_to_read();
    if (self->link && self->wants_write()) self->wait_to_write();  // what the socket had no room for
    self->drain();
  });
}

// libmosquitto keeps its want_write set from the first byte of a TLS handshake to the end of it; believing it would be
// a busy loop. The handshake's few packets fit into the buffer of a new socket; should they not, the timer looks after
// them.
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
    if (has_input(*link)) continue;
    link->just_read = options.read_every > Millis(0);
    return;
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
  ::getsockopt(link->native_socket(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    // The library may have taken the error when it tried to write; then only the missing peer tells.
    if (::getpeername(link->native_socket(), reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
      error = ECONNREFUSED;
    }
  }
  if (error != 0) return lost({MOSQ_ERR_ERRNO, error});
  link->stage = Stage::kHandshake;
  link_deadline = deadline;
  addresses.clear();
  handle_handshake();
}

// Until CONNACK: read and write as far as it goes. False if the link is gone.
bool Client::Impl::handle_handshake() {
  if (!survived(outcome(::mosquitto_loop_read(link->handle.get(), 1)))) return false;
  if (::mosquitto_want_write(link->handle.get()) && !survived(outcome(::mosquitto_loop_write(link->handle.get(), 1)))) {
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
  const ssize_t count = ::recv(link->native_socket(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
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
  const std::string why = why_lost(*gone, result);
  gone->drop();

  if (gone->before_accepted()) {
    if (!addresses.empty()) return try_next_address();
    if (gone->connack == 0) return attempt_failed(why);
    const ErrorCode code = is_about_credentials(gone->connack) ? ErrorCode::kUnauthenticated : ErrorCode::kUnavailable;
    return attempt_over(fail(code, "{}: the broker refused the connection: {}", options.url.str(),
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

// Often enough for the keep-alive, which libmosquitto counts in whole seconds, and seldom enough for thousands of
// clients.
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
      if (!addresses.empty()) return try_next_address();
      const std::string_view what = lookup                               ? "DNS: no answer"
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

}  // namespace fleet::mqtt
