#include "agent/session/owner_connection.hpp"

#include <charconv>

#include "core/protocol/topic.hpp"

namespace fleet::agent {
namespace {

// What core/mqtt takes: 0 switches it off, below 5 s is noise.
constexpr int kShortestKeepAlive = 5;
constexpr int kLongestKeepAlive = 65535;
// A connection that has not come about in ten minutes will not; Kura's 0, for ever, would keep it from being tried anew.
constexpr int kShortestTimeout = 1;
constexpr int kLongestTimeout = 600;
constexpr std::size_t kLongestWill = 65535;  // MQTT 3.1.1 §1.5.3
constexpr std::size_t kLongestClientId = 64;

Failure wrong(std::string_view name, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument, "configuration: {}: {}", name, why);
}

// The properties of one component. A value counts, whatever type it is declared to be of.
class Properties {
 public:
  explicit Properties(const protocol::ComponentConfiguration& component) : component_(component) {}

  bool has(std::string_view name) const { return component_.find(name) != nullptr; }

  // "" if it is not there.
  Result<std::string> text(std::string_view name) const {
    const protocol::Property* property = component_.find(name);
    if (property == nullptr) return std::string();
    if (property->array || property->values.size() != 1) return wrong(name, "must be one value, not an array");
    return property->values.front();
  }

  Result<int> number(std::string_view name, int least, int most, int otherwise) const {
    TRY_ASSIGN(const std::string value, text(name));
    if (value.empty()) return otherwise;
    int number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < least || number > most) {
      return wrong(name, fmt::format("'{}' must be a number from {} to {}", value, least, most));
    }
    return number;
  }

  Result<bool> flag(std::string_view name, bool otherwise) const {
    TRY_ASSIGN(const std::string value, text(name));
    if (value.empty()) return otherwise;
    if (value != "true" && value != "false") return wrong(name, fmt::format("'{}' must be true or false", value));
    return value == "true";
  }

 private:
  const protocol::ComponentConfiguration& component_;
};

Result<void> check_will_topic(std::string_view topic, const std::string& account) {
  // any client id does: none has a character that a topic must not have
  if (mqtt::is_topic(fill_in(topic, account, std::string(kLongestClientId, 'x')))) return {};
  return wrong("lwt.topic", fmt::format("'{}' must be a topic to publish to: no '+', no '#' but in #account-name and "
                                        "#client-id, which end at '/', no control characters, at most 65535 bytes",
                                        topic));
}

Result<std::optional<OwnerWill>> parse_will(const Properties& properties, const std::string& account) {
  OwnerWill will;
  TRY_ASSIGN(std::string topic, properties.text("lwt.topic"));
  TRY_ASSIGN(std::string payload, properties.text("lwt.payload"));
  TRY_ASSIGN(will.qos, properties.number("lwt.qos", 0, 2, will.qos));
  TRY_ASSIGN(will.retain, properties.flag("lwt.retain", will.retain));
  if (payload.size() > kLongestWill) return wrong("lwt.payload", "must have at most 65535 bytes");
  if (properties.has("lwt.payload")) will.payload = std::move(payload);
  if (properties.has("lwt.topic")) {
    if (topic.empty()) return std::optional<OwnerWill>();
    TRY(check_will_topic(topic, account));
    will.topic = std::move(topic);
  }
  return will;
}

}  // namespace

Result<OwnerConnection> parse_owner_connection(const protocol::Configurations& configurations) {
  const protocol::ComponentConfiguration* transport = nullptr;
  for (const auto& component : configurations) {
    if (component.pid == protocol::kMqttTransportPid) transport = &component;
  }
  if (transport == nullptr) {
    return fail(ErrorCode::kInvalidArgument, "configuration: no component {}, so no owner's broker",
                protocol::kMqttTransportPid);
  }
  const Properties properties(*transport);

  OwnerConnection connection;
  TRY_ASSIGN(const std::string url_text, properties.text("broker-url"));
  auto url = mqtt::BrokerUrl::parse(url_text);
  if (!url) return fail(with_context(url.error(), "configuration: broker-url"));
  connection.broker_url = std::move(*url);
  TRY_ASSIGN(connection.account, properties.text("topic.context.account-name"));
  if (!protocol::is_account(connection.account)) {
    return wrong("topic.context.account-name", fmt::format("'{}' is not an account name", connection.account));
  }
  TRY_ASSIGN(connection.client_id, properties.text("client-id"));
  if (!connection.client_id.empty() && !protocol::is_client_id(connection.client_id)) {
    return wrong("client-id", fmt::format("'{}' is not a client id", connection.client_id));
  }
  TRY_ASSIGN(const int keep_alive, properties.number("keep-alive", kShortestKeepAlive, kLongestKeepAlive,
                                                     static_cast<int>(connection.keep_alive.count())));
  connection.keep_alive = Seconds(keep_alive);
  TRY_ASSIGN(const int timeout, properties.number("timeout", kShortestTimeout, kLongestTimeout,
                                                  static_cast<int>(connection.timeout.count())));
  connection.timeout = Seconds(timeout);
  TRY_ASSIGN(connection.clean_session, properties.flag("clean-session", connection.clean_session));
  // 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.
  TRY_ASSIGN(const int version, properties.number("protocol-version", 3, 5, static_cast<int>(connection.version)));
  connection.version = static_cast<mqtt::Version>(version);
  TRY_ASSIGN(connection.will, parse_will(properties, connection.account));

  TRY_ASSIGN(const std::string username, properties.text("username"));
  TRY_ASSIGN(std::string password, properties.text("password"));
  if (username.empty() != password.empty()) {
    wipe(password);
    return fail(ErrorCode::kInvalidArgument, "configuration: username and password go together");
  }
  if (!username.empty()) {
    connection.username = username;
    connection.password = Secret(password);
    wipe(password);
  }
  return connection;
}

std::string fill_in(std::string_view topic, std::string_view account, std::string_view client_id) {
  constexpr std::string_view kEnds = "/ \t\n\v\f\r";
  std::string filled;
  while (!topic.empty()) {
    const std::size_t begin = std::min(topic.find('#'), topic.size());
    filled += topic.substr(0, begin);
    topic.remove_prefix(begin);
    const std::string_view placeholder = topic.substr(0, topic.find_first_of(kEnds));
    topic.remove_prefix(placeholder.size());
    if (placeholder == "#account-name") {
      filled += account;
    } else if (placeholder == "#client-id") {
      filled += client_id;
    } else {
      filled += placeholder;
    }
  }
  return filled;
}

}  // namespace fleet::agent
