#include "agent/runtime/owner_link.hpp"

#include "agent/runtime/facts.hpp"
#include "core/base/log.hpp"
#include "core/protocol/kura_payload.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::agent {
namespace {

// A broker that accepts us but does not acknowledge BIRTH for so long is not working.
constexpr Seconds kBirthLimit{30};

Bytes bare_payload() {
  protocol::KuraPayload payload;
  payload.timestamp = to_unix_millis(wall_now());
  return protocol::encode(payload);
}

}  // namespace

OwnerLink::OwnerLink(boost::asio::io_context& io, std::function<void(Event)> feed, std::function<void()> on_idle)
    : feed_(std::move(feed)),
      on_idle_(std::move(on_idle)),
      birth_timer_(io),
      client_(io, {.on_connect = [this](const Result<bool>& result) { on_connect(result); },
                   .on_disconnect = [this](const Result<void>& result) { on_disconnect(result); },
                   .on_message =
                       [](const mqtt::Message& message) {
                         // No application of ours answers on the owner's broker; application_ids says so.
                         log::debug("owner", "message", {{"topic", message.topic}});
                       },
                   .on_published =
                       [this](int id) {
                         if (!leaving_ && id == birth_) on_born();
                       },
                   .on_subscribed =
                       [this](int id, bool granted) {
                         if (!leaving_ && id == subscription_ && !granted) {
                           log::warn("owner", "the broker does not let us read our own topics", {{"broker", url_}});
                         }
                       },
                   .on_publish_refused =
                       [this](int id, const std::string& why) {
                         if (!leaving_ && id == birth_) on_birth_refused(why);
                       }}) {}

void OwnerLink::connect(const OwnerConnection& owner, const std::string& client_id, crypto::TlsContext tls,
                        const std::map<std::string, std::string>& facts, const std::string& interface) {
  ++epoch_;
  leaving_ = false;
  birth_ = subscription_ = -1;
  account_ = owner.account;
  client_id_ = client_id;
  url_ = owner.broker_url.str();
  facts_ = facts;
  interface_ = interface;
  mqtt::ConnectOptions options;
  options.url = owner.broker_url;
  options.client_id = client_id_;
  options.username = owner.username;
  options.password = owner.password;
  options.tls = std::move(tls);
  options.explain_tls_failure = crypto::take_openssl_errors;
  options.version = owner.version;
  options.clean_session = owner.clean_session;
  options.keep_alive = owner.keep_alive;
  options.connect_timeout = owner.timeout;
  if (const auto& will = owner.will) {
    options.will = mqtt::Will{fill_in(will->topic, account_, client_id_),
                              will->payload ? *will->payload : bare_payload(), will->qos, will->retain};
  }
  const auto begun = client_.connect(std::move(options));
  open_ = begun.has_value();
  if (!begun) feed_(OwnerFailed{begun.error()});
}

void OwnerLink::leave() {
  ++epoch_;
  birth_timer_.cancel();
  if (!open_ || leaving_) return;
  leaving_ = true;
  if (client_.connected()) {
    if (const auto said = client_.publish(lifecycle_topic("DC"), bare_payload(), 0); !said) {
      log::debug("owner", said.error().message);
    }
  }
  client_.disconnect();
}

void OwnerLink::on_connect(const Result<bool>& result) {
  if (leaving_) {
    if (result) return client_.disconnect();
    return closed();
  }
  if (!result) return failed(result.error());
  publish_birth();
  if (const auto id = client_.subscribe(protocol::device_filter(account_, client_id_))) subscription_ = *id;
}

void OwnerLink::publish_birth() {
  protocol::KuraPayload birth;
  birth.timestamp = to_unix_millis(wall_now());
  birth.add("uptime", uptime_millis());
  birth.add("connection_ip", interface_address(interface_));
  for (const auto& [name, value] : facts_) birth.add(name, value);
  // If it was not sent, the connection is gone, and on_disconnect says so.
  if (const auto id = client_.publish(lifecycle_topic("BIRTH"), protocol::encode(birth), 1)) birth_ = *id;
  wait_for_birth();
}

void OwnerLink::wait_for_birth() {
  birth_timer_.expires_after(kBirthLimit);
  birth_timer_.async_wait([this](boost::system::error_code error) {
    if (error || leaving_ || birth_ < 0) return;
    leave();
    feed_(OwnerFailed{Error{ErrorCode::kTimedOut, fmt::format("{}: BIRTH was not acknowledged within {}", url_,
                                                              format_duration(kBirthLimit))}});
  });
}

void OwnerLink::on_birth_refused(const std::string& why) {
  leave();
  feed_(OwnerFailed{Error{ErrorCode::kPermissionDenied, fmt::format("{}: BIRTH was refused: {}", url_, why)}});
}

void OwnerLink::on_born() {
  birth_ = -1;
  birth_timer_.cancel();
  feed_(OwnerBorn{});
}

void OwnerLink::on_disconnect(const Result<void>& result) {
  if (leaving_) return closed();
  failed(result ? Error{ErrorCode::kUnavailable, url_ + ": the connection was closed"} : result.error());
}

void OwnerLink::failed(Error error) {
  open_ = false;
  birth_ = -1;
  birth_timer_.cancel();
  feed_(OwnerFailed{std::move(error)});
}

void OwnerLink::closed() {
  open_ = false;
  on_idle_();
}

std::string OwnerLink::lifecycle_topic(std::string_view event) const {
  return protocol::LifecycleTopic{account_, client_id_, std::string(event)}.str();
}

}  // namespace fleet::agent
