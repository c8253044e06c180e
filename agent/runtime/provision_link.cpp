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

ProvisionLink::ProvisionLink(boost::asio::io_context& io, ProvisionTarget target, std::function<void(Event)> feed,
                             std::function<void()> on_idle)
    : target_(std::move(target)),
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
                         if (!leaving_ && id == subscription_) feed_(ProvisionSubscribed{granted});
                       }}) {}

void ProvisionLink::connect(crypto::TlsContext tls) {
  ++epoch_;
  leaving_ = false;
  untrusted_ = false;
  subscription_ = -1;
  mqtt::ConnectOptions options;
  options.url = target_.url;
  options.client_id = target_.client_id;
  options.username = target_.username;
  options.password = target_.password;
  options.tls = std::move(tls);
  options.explain_tls_failure = [this] { return explain_tls_failure(); };
  options.will = mqtt::Will{protocol::LifecycleTopic{target_.account, target_.client_id, "LWT"}.str(), bare_payload()};
  const auto begun = client_.connect(std::move(options));
  open_ = begun.has_value();
  if (!begun) feed_(ProvisionUnreachable{begun.error()});
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
  if (!open_ || leaving_) return;
  leaving_ = true;
  if (goodbye && client_.connected()) {
    const std::string topic = protocol::LifecycleTopic{target_.account, target_.client_id, "DC"}.str();
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
    feed_(ProvisionRefused{result.error()});
  } else {
    const ErrorCode code = untrusted_ ? ErrorCode::kUnauthenticated : result.error().code;
    feed_(ProvisionUnreachable{{code, result.error().message}});
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
  feed_(ProvisionLost{result ? Error{ErrorCode::kUnavailable, "the connection was closed"} : result.error()});
}

void ProvisionLink::closed() {
  open_ = false;
  on_idle_();
}

}  // namespace fleet::agent
