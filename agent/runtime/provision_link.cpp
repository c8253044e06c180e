#include "agent/runtime/provision_link.hpp"

#include "core/base/log.hpp"
#include "core/protocol/kura_payload.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::agent {
namespace {

Bytes bare_payload() {
  protocol::KuraPayload payload;
  payload.timestamp = to_unix_millis(wall_now());
  return protocol::encode(payload);
}

}  // namespace

ProvisionLink::ProvisionLink(boost::asio::io_context& io, std::vector<mqtt::BrokerUrl> urls,
                             std::function<void(Event)> feed, std::function<void()> on_idle)
    : turn_(std::move(urls)),
      feed_(std::move(feed)),
      on_idle_(std::move(on_idle)),
      client_(io, {.on_connect = [this](const Result<bool>& result) { on_connect(result); },
                   .on_disconnect = [this](const Result<void>& result) { on_disconnect(result); },
                   .on_message =
                       [this](mqtt::Message message) {
                         if (!leaving_) feed_(ProvisionMessage{std::move(message.topic), std::move(message.payload)});
                       },
                   .on_published = {},
                   .on_subscribed =
                       [this](int id, bool granted) {
                         if (!leaving_ && id == subscription_) on_subscribed(granted);
                       }}) {}

void ProvisionLink::connect(ProvisionUser user, const MakeTls& make_tls) {
  ++epoch_;
  leaving_ = false;
  untrusted_ = false;
  subscribed_ = false;
  turn_passed_ = false;
  subscription_ = -1;
  user_ = std::move(user);
  if (turn_.brokers().size() > 1) {
    log::info("agent", "trying a provision broker",
              {{"broker", turn_.url().str()}, {"number", turn_.index() + 1}, {"of", turn_.brokers().size()}});
  }
  const auto begun = begin(make_tls);
  open_ = begun.has_value();
  if (!begun) feed_(ProvisionUnreachable{turn_.failed(begun.error(), wall_now())});
}

Result<void> ProvisionLink::begin(const MakeTls& make_tls) {
  mqtt::ConnectOptions options;
  options.url = turn_.url();
  options.client_id = user_.client_id;
  options.username = user_.username;
  options.password = user_.password;
  TRY_ASSIGN(options.tls, make_tls(options.url));
  options.explain_tls_failure = [this] { return explain_tls_failure(); };
  options.will = mqtt::Will{protocol::LifecycleTopic{user_.account, user_.client_id, "LWT"}.str(), bare_payload()};
  return client_.connect(std::move(options));
}

void ProvisionLink::subscribe(const std::string& filter) {
  const auto id = client_.subscribe(filter);
  // If it was not sent, the connection is gone, and on_disconnect says so.
  if (id) subscription_ = *id;
}

void ProvisionLink::publish(const std::string& topic, std::string_view payload) {
  if (const auto published = client_.publish(topic, payload); !published) {
    log::debug("agent", published.error().message);
  }
}

void ProvisionLink::leave(bool goodbye) {
  ++epoch_;
  if (!in_use()) return;
  leaving_ = true;
  if (subscribed_) {
    turn_.pass();
  } else if (subscription_ >= 0 && !turn_passed_) {
    static_cast<void>(turn_.failed({ErrorCode::kTimedOut, "it did not acknowledge our SUBSCRIBE"}, wall_now()));
  }
  if (goodbye && client_.connected()) {
    const std::string topic = protocol::LifecycleTopic{user_.account, user_.client_id, "DC"}.str();
    if (const auto said = client_.publish(topic, bare_payload(), 0); !said) log::debug("agent", said.error().message);
  }
  client_.disconnect();
}

void ProvisionLink::on_connect(const Result<bool>& result) {
  if (leaving_) {
    // left while it was being connected: accepted after all means that on_disconnect will come
    if (result) return client_.disconnect();
    return closed();
  }
  if (result) return feed_(ProvisionConnected{});
  open_ = false;
  if (result.error().code == ErrorCode::kUnauthenticated) {
    turn_.refused(result.error(), wall_now());
    feed_(ProvisionRefused{result.error()});
  } else {
    const ErrorCode code = untrusted_ ? ErrorCode::kUnauthenticated : result.error().code;
    feed_(ProvisionUnreachable{turn_.failed({code, result.error().message}, wall_now())});
  }
}

std::string ProvisionLink::explain_tls_failure() {
  std::string why = crypto::take_openssl_errors();
  // Begins so if it was we who refused the broker's certificate.
  if (why.starts_with("certificate '")) untrusted_ = true;
  return why;
}

void ProvisionLink::on_disconnect(const Result<void>& result) {
  if (leaving_) return closed();
  open_ = false;
  Error error = result ? Error{ErrorCode::kUnavailable, "the connection was closed"} : result.error();
  // In the middle of an attempt the platform that knows it is looked for where it was.
  if (!subscribed_) error = turn_.failed(error, wall_now());
  feed_(ProvisionLost{std::move(error)});
}

void ProvisionLink::on_subscribed(bool granted) {
  subscribed_ = granted;
  if (granted) {
    turn_.works();
  } else {
    static_cast<void>(turn_.failed({ErrorCode::kPermissionDenied, "it does not let us read our own topics"}, wall_now()));
    turn_passed_ = true;
  }
  feed_(ProvisionSubscribed{granted});
}

void ProvisionLink::closed() {
  open_ = false;
  on_idle_();
}

}  // namespace fleet::agent
