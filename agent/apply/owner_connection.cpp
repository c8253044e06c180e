#include "agent/apply/owner_connection.hpp"

#include <charconv>

#include "core/protocol/topic.hpp"

namespace fleet::agent {
namespace {

// What core/mqtt takes: 0 switches it off, below 5 s is noise.
constexpr int kShortestKeepAlive = 5;
constexpr int kLongestKeepAlive = 65535;

Result<Seconds> parse_keep_alive(std::string_view text) {
  int seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size() || seconds < kShortestKeepAlive ||
      seconds > kLongestKeepAlive) {
    return fail(ErrorCode::kInvalidArgument, "keep-alive '{}': must be {} to {} seconds", text, kShortestKeepAlive,
                kLongestKeepAlive);
  }
  return Seconds(seconds);
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
  const auto property = [&](std::string_view name) { return std::string(transport->value(name)); };

  OwnerConnection connection;
  auto url = mqtt::BrokerUrl::parse(property("broker-url"));
  if (!url) return fail(with_context(url.error(), "configuration: broker-url"));
  connection.broker_url = std::move(*url);
  connection.account = property("topic.context.account-name");
  if (!protocol::is_account(connection.account)) {
    return fail(ErrorCode::kInvalidArgument, "configuration: topic.context.account-name '{}' is not an account name",
                connection.account);
  }
  connection.client_id = property("client-id");
  if (!connection.client_id.empty() && !protocol::is_client_id(connection.client_id)) {
    return fail(ErrorCode::kInvalidArgument, "configuration: client-id '{}' is not a client id", connection.client_id);
  }
  if (const std::string keep_alive = property("keep-alive"); !keep_alive.empty()) {
    auto seconds = parse_keep_alive(keep_alive);
    if (!seconds) return fail(with_context(seconds.error(), "configuration"));
    connection.keep_alive = *seconds;
  }
  const std::string username = property("username");
  const std::string_view password = transport->value("password");
  if (username.empty() != password.empty()) {
    return fail(ErrorCode::kInvalidArgument, "configuration: username and password go together");
  }
  if (!username.empty()) {
    connection.username = username;
    connection.password = Secret(std::string(password));
  }
  return connection;
}

}  // namespace fleet::agent
