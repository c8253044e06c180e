#include "provisioner/broker/session.hpp"

#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/base/backoff.hpp"
#include "core/base/log.hpp"
#include "core/base/secret.hpp"
#include "core/mqtt/client.hpp"
#include "provisioner/admission/outbound.hpp"
#include "provisioner/broker/kicks.hpp"

namespace fleet::provisioner {
namespace {

// In a rush each reading then brings what several devices said; alone, a device's hello is read at once.
constexpr Millis kReadEvery{8};
constexpr std::string_view kLog = "broker-session";
constexpr Seconds kSayAgain{60};

std::uint64_t random_number() {
  const Bytes bytes = random_bytes(8);
  std::uint64_t number = 0;
  for (const char c : bytes) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

}  // namespace

struct BrokerSession::Impl {
  Impl(boost::asio::io_context& io, std::filesystem::path socket, std::string provisioner_id,
       BrokerSessionHandlers handlers)
      : io_(io),
        socket_(std::move(socket)),
        provisioner_id_(std::move(provisioner_id)),
        handlers_(std::move(handlers)),
        retry_(io) {}

  void connect() {
    if (stopped_) return;
    mqtt::Handlers handlers;
    handlers.on_connect = [this](Result<bool> connected) {
      if (!connected) return lost(connected.error());
      knows_parcels_ = false;
      subscribe(kParcelsTaken);
    };
    handlers.on_subscribed = [this](int, bool granted) {
      if (!std::exchange(knows_parcels_, true)) {
        if (granted) return subscribe(kEverything);
        return lost(Error{ErrorCode::kUnsupported, "the broker's plugin is of another version: restart the broker with the one that "
                                                   "came with this provisioner"});
      }
      if (!granted) {
        lost(Error{ErrorCode::kPermissionDenied, "the broker refused the subscription: is its plugin loaded?"});
        return;
      }
      backoff_.reset();
      last_reason_.clear();
      ready_ = true;
      send_kicks();
      handlers_.on_ready(true);
    };
    handlers.on_disconnect = [this](Result<void> reason) {
      if (!reason) lost(reason.error());
    };
    handlers.on_published = [this](int id) {
      kicks_.acknowledged(id);
      send_kicks();
    };
    handlers.on_message = [this](mqtt::Message message) { received(std::move(message)); };
    client_ = std::make_unique<mqtt::Client>(io_, std::move(handlers));

    mqtt::ConnectOptions options;
    options.url.scheme = mqtt::BrokerUrl::Scheme::kUnix;
    options.url.host = socket_.string();
    options.client_id = provisioner_id_;
    options.clean_session = false;  // replies sent while it is away wait for it (edc §1)
    options.read_every = kReadEvery;
    options.write_together = true;
    if (auto begun = client_->connect(std::move(options)); !begun) lost(begun.error());
  }

  void subscribe(std::string_view filter) {
    if (const auto asked = client_->subscribe(filter); !asked) lost(asked.error());
  }

  void lost(const Error& error) {
    if (stopped_) return;
    kicks_.lost();
    if (!parcel_.empty()) log::debug(kLog, "messages for devices dropped; they are repeated later", {{"bytes", parcel_.size()}});
    parcel_.clear();
    if (std::exchange(ready_, false)) handlers_.on_ready(false);
    const Millis pause = backoff_.next(random_number());
    // it may take days: said once, and again now and then
    const SteadyTime now = std::chrono::steady_clock::now();
    if (error.message != last_reason_ || now - last_said_ >= kSayAgain) {
      log::warn(kLog, "no connection to the provision broker; it is tried again and again",
                {{"socket", socket_.string()}, {"why", error.message}});
      last_reason_ = error.message;
      last_said_ = now;
    }
    retry_.expires_after(pause);
    retry_.async_wait([this, self = std::weak_ptr<int>(alive_)](boost::system::error_code cancelled) {
      if (!cancelled && !self.expired()) connect();
    });
  }

  void publish(std::string_view topic, std::string_view payload) {
    if (!parcel_.empty() && parcel_.size() + topic.size() + payload.size() > kFullParcel) send_parcel();
    if (parcel_.empty()) {
      boost::asio::post(io_, [this, self = std::weak_ptr<int>(alive_)] {
        if (!self.expired()) send_parcel();
      });
    }
    append_outbound(parcel_, topic, payload);
  }

  void send_parcel() {
    const Bytes parcel = std::exchange(parcel_, {});
    if (parcel.empty() || !ready_) return;
    if (const auto sent = client_->publish(kSendTopic, parcel); !sent) {
      log::warn(kLog, "messages for devices not sent; they are repeated later", {{"bytes", parcel.size()}, {"why", sent.error().message}});
    }
  }

  void kick(std::string_view client_id) {
    send_parcel();  // the device is told why first
    if (!kicks_.want(std::string(client_id))) {
      log::error(kLog, "a connection is not ended: too many wait for that", {{"client", std::string(client_id)}});
    }
    send_kicks();
  }

  void send_kicks() {
    while (ready_) {
      const auto client_id = kicks_.next();
      if (!client_id) return;
      const auto sent = client_->publish(kKickTopic, *client_id);
      if (!sent) {  // too many unacknowledged: the next acknowledgement brings us here again
        log::warn(kLog, "kick not sent yet", {{"client", *client_id}, {"why", sent.error().message}});
        return;
      }
      kicks_.sent(*client_id, *sent);
    }
  }

  void received(mqtt::Message message) {
    if (message.topic.starts_with(kInboundPrefix)) {
      if (auto inbound = parse_inbound(message.topic)) {
        handlers_.on_message(std::move(*inbound), std::move(message.payload));
      } else {
        log::warn(kLog, "message dropped", {{"why", inbound.error().message}});
      }
      return;
    }
    const auto kind = parse_event_topic(message.topic);
    auto events = kind ? parse_events(message.payload) : Result<std::vector<BrokerEvent>>(fail(kind.error()));
    if (!events) {
      log::warn(kLog, "event of the broker dropped", {{"why", events.error().message}});
      return;
    }
    handlers_.on_events(*kind, std::move(*events));
  }

  boost::asio::io_context& io_;
  std::filesystem::path socket_;
  std::string provisioner_id_;
  BrokerSessionHandlers handlers_;
  boost::asio::steady_timer retry_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
  Backoff backoff_{Millis(50), Millis(2000)};
  std::string last_reason_;  // why there is no connection, as told last
  SteadyTime last_said_{};
  std::unique_ptr<mqtt::Client> client_;
  Kicks kicks_;
  Bytes parcel_;  // for devices, to be sent when all that is to be said now has been said
  bool knows_parcels_ = false;  // whether the plugin takes them has been answered
  bool ready_ = false;
  bool stopped_ = true;
};

BrokerSession::BrokerSession(boost::asio::io_context& io, std::filesystem::path socket, std::string provisioner_id,
                             BrokerSessionHandlers handlers)
    : impl_(std::make_shared<Impl>(io, std::move(socket), std::move(provisioner_id), std::move(handlers))) {}

BrokerSession::~BrokerSession() { stop(); }

void BrokerSession::start() {
  impl_->stopped_ = false;
  impl_->connect();
}

void BrokerSession::stop() {
  impl_->send_parcel();
  impl_->stopped_ = true;
  impl_->ready_ = false;
  impl_->retry_.cancel();
  if (impl_->client_) impl_->client_->disconnect();
}

bool BrokerSession::ready() const { return impl_->ready_; }

bool BrokerSession::publish(std::string_view topic, std::string_view payload) {
  if (!impl_->ready_) return false;
  impl_->publish(topic, payload);
  return true;
}

void BrokerSession::kick(std::string_view client_id) {
  impl_->kick(client_id);
}

}  // namespace fleet::provisioner
