// What a Client is made of. Internal to core/mqtt.
//
// Three files share it: client.cpp (the owner's calls, and telling the owner what happened), link.cpp (one connection:
// addresses, socket, timer) and session.cpp (libmosquitto's settings and callbacks).
#pragma once

#include <cerrno>
#include <deque>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <mosquitto.h>
#include <mqtt_protocol.h>

#include "core/base/fd.hpp"
#include "core/mqtt/client.hpp"
#include "core/mqtt/lookup.hpp"

namespace fleet::mqtt {

using boost::asio::posix::stream_descriptor;

struct Destroy {
  void operator()(mosquitto* handle) const { ::mosquitto_destroy(handle); }
};
using Handle = std::unique_ptr<mosquitto, Destroy>;

// What a call to libmosquitto came to.
struct Outcome {
  int code = MOSQ_ERR_SUCCESS;
  int error_number = 0;

  std::string text() const;
};
// Wrapped around the call itself: errno is only good right after it.
inline Outcome outcome(int code) {
  return {code, errno};
}

// One network connection. A second try, of another address or after another connect(), is another Link; a completion
// that finds its Link no longer the current one has nothing to say.
struct Link {
  enum class Stage {
    kTcp,        // waiting for the TCP connection
    kHandshake,  // TLS handshake, then CONNECT sent and CONNACK awaited
    kAccepted,
    kLeaving,  // DISCONNECT on its way out
  };

  explicit Link(boost::asio::io_context& io) : socket(io) {}

  // Closes it. Completions under way hold the Link, so it cannot wait for its destructor.
  void drop() {
    handle.reset();
    boost::system::error_code ignored;
    socket.close(ignored);
    resting.reset();
  }

  // While it rests, nothing that happens on the socket wakes the io_context.
  void rest() {
    if (!resting && socket.is_open()) resting = Fd(socket.release());
  }
  // An error if the io_context does not take it back.
  boost::system::error_code attend() {
    boost::system::error_code error;
    if (!resting) return error;
    socket.assign(resting.get(), error);
    if (!error) resting.release();
    return error;
  }
  int native_socket() { return resting ? resting.get() : socket.native_handle(); }

  stream_descriptor socket;  // a dup(): the library closes its own when it likes
  Fd resting;                // holds it while nothing is to wait for it
  Handle handle;             // goes first
  Stage stage = Stage::kTcp;
  bool reading = false;    // its input is waited for, or it rests until it is looked at again
  bool writing = false;    // room for its output is waited for
  bool just_read = false;  // and all there was; more may come together (ConnectOptions::read_every)
  bool flushing = false;   // what was published will be written in a moment (ConnectOptions::write_together)
  int connack = 0;
  std::string complaints;  // of the TLS layer
  std::unordered_set<int> unacknowledged;

  bool before_accepted() const { return stage == Stage::kTcp || stage == Stage::kHandshake; }
};

// State and transitions of one Client. What happened is noted as an event and told to the owner when no call of the
// library or of the owner is on the stack.
struct Client::Impl : std::enable_shared_from_this<Client::Impl> {
  using Stage = Link::Stage;
  using Clock = std::chrono::steady_clock;

  Impl(boost::asio::io_context& io_context, Handlers callbacks)
      : io(io_context), handlers(std::move(callbacks)), timer(io_context), reading_timer(io_context) {}

  // --- calls of the owner
  Result<void> connect(ConnectOptions wanted);
  Result<int> publish(std::string_view topic, std::string_view payload, int qos);
  Result<int> subscribe(std::string_view filter);
  void disconnect();
  void close();

  // --- connecting
  void try_next_address();
  Result<void> open(const std::string& address);
  Result<Handle> make_handle();
  void attempt_failed(std::string_view why);
  void attempt_over(Result<bool> result);

  // --- the socket
  void arm();
  void wait(stream_descriptor::wait_type direction, bool Link::*waiting);
  void wait_to_read();
  void look_again();
  void flush_soon();
  void wait_to_write();
  void on_ready(stream_descriptor::wait_type direction);
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
  static void on_puback(mosquitto*, void* self, int id, int reason, const mosquitto_property*) noexcept;
  static void on_suback(mosquitto*, void* self, int id, int count, const int* granted) noexcept;
  static void on_log(mosquitto*, void* self, int level, const char* line) noexcept;

  bool tls() const { return options.url.scheme == BrokerUrl::Scheme::kMqtts; }

  boost::asio::io_context& io;
  Handlers handlers;
  boost::asio::steady_timer timer;
  boost::asio::steady_timer reading_timer;  // until the socket may be read again (ConnectOptions::read_every)

  bool closed = false;      // the Client is gone
  bool connecting = false;  // on_connect is owed
  ConnectOptions options;
  Clock::time_point deadline;       // of the whole attempt, or of leaving
  Clock::time_point link_deadline;  // of this address
  std::unique_ptr<Lookup> lookup;
  std::deque<std::string> addresses;  // to be tried if this one cannot be reached
  std::shared_ptr<Link> link;

  std::deque<std::function<void()>> events;
  bool draining = false;
  bool drain_posted = false;
};

}  // namespace fleet::mqtt
