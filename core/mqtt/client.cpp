#include "core/mqtt/client.hpp"

#include <utility>

#include <boost/asio/post.hpp>

#include "core/mqtt/client_impl.hpp"

namespace fleet::mqtt {
namespace {

// Packet ids have 16 bits and libmosquitto does not look whether one is still in use.
constexpr std::size_t kMostUnacknowledged = 60'000;
constexpr std::size_t kLargestPacket = 268'435'455;  // MQTT 3.1.1 §2.2.3
constexpr std::size_t kLongestField = 65535;         // of CONNECT, §1.5.3
constexpr Seconds kLeaveLimit{5};

bool has_nul(std::string_view text) {
  return text.find('\0') != std::string_view::npos;
}

Result<void> check(const ConnectOptions& options) {
  const auto bad = [](std::string_view why) { return fail(ErrorCode::kInvalidArgument, "MQTT connect: {}", why); };
  if (options.url.host.empty()) return bad("no broker given");
  if (options.url.scheme == BrokerUrl::Scheme::kMqtts && !options.tls) return bad("mqtts:// needs a TLS context");
  if (options.client_id.empty()) return bad("the client id is empty");
  if (options.client_id.size() > kLongestField || !is_utf8(options.client_id) || has_nul(options.client_id)) {
    return bad("the client id is not a text of at most 65535 bytes");
  }
  if (options.username && (has_nul(*options.username) || !is_utf8(*options.username))) {
    return bad("the user name is not a text");
  }
  if (options.password && !options.username) return bad("a password needs a user name");
  if (options.password && (has_nul(options.password->reveal()) || options.password->reveal().size() > kLongestField)) {
    return bad("the password is too long or holds a NUL");
  }
  if (options.will) {
    if (!is_topic(options.will->topic)) return bad("the will's topic is not one to publish to");
    if (options.will->payload.size() > kLongestField) return bad("the will is larger than 65535 bytes");
    if (options.will->qos < 0 || options.will->qos > 2) return bad("the will's QoS is 0, 1 or 2");
  }
  if (options.keep_alive.count() != 0 && (options.keep_alive < Seconds(5) || options.keep_alive > Seconds(65535))) {
    return bad("keep-alive is 0 or from 5 s to 65535 s");
  }
  if (options.connect_timeout <= Seconds(0)) return bad("the connect timeout must be positive");
  return {};
}

}  // namespace

bool is_topic(std::string_view text) {
  return !text.empty() && ::mosquitto_pub_topic_check2(text.data(), text.size()) == MOSQ_ERR_SUCCESS &&
         ::mosquitto_validate_utf8(text.data(), static_cast<int>(text.size())) == MOSQ_ERR_SUCCESS;
}

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
    case MOSQ_ERR_SUCCESS:
      break;
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
    case MOSQ_ERR_SUCCESS:
      break;
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
  reading_timer.cancel();
  lookup.reset();
  addresses.clear();
  drop_link();
  events.clear();
  connecting = false;
  options.password.reset();
}

// ---------------------------------------------------------------------------------------------------------- events

void Client::Impl::tell(std::function<void()> event) {
  events.push_back(std::move(event));
}

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

// ---------------------------------------------------------------------------------------------------------- Client

Client::Client(boost::asio::io_context& io, Handlers handlers)
    : impl_(std::make_shared<Impl>(io, std::move(handlers))) {}

Client::~Client() {
  impl_->closed = true;
  impl_->close();
}

Result<void> Client::connect(ConnectOptions options) {
  return impl_->connect(std::move(options));
}
Result<int> Client::publish(std::string_view topic, std::string_view payload, int qos) {
  return impl_->publish(topic, payload, qos);
}
Result<int> Client::subscribe(std::string_view filter) {
  return impl_->subscribe(filter);
}
void Client::disconnect() {
  impl_->disconnect();
}
bool Client::connected() const {
  return impl_->link && impl_->link->stage == Link::Stage::kAccepted;
}

}  // namespace fleet::mqtt
