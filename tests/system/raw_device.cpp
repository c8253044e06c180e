#include "tests/system/raw_device.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/base/file.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/tls.hpp"

namespace fleet::test {

// --- the client

RawClient::RawClient(int port, std::filesystem::path ca, std::string client_id, std::string username,
                     std::string password)
    : port_(port),
      ca_(std::move(ca)),
      client_id_(std::move(client_id)),
      username_(std::move(username)),
      password_(std::move(password)) {}

Result<void> RawClient::connect() {
  crypto::TlsClientSettings tls;
  tls.roots = must(crypto::Certificate::chain_from_pem(must(read_file(ca_))));
  tls.host = "localhost";
  mqtt::ConnectOptions options;
  options.url = must(mqtt::BrokerUrl::parse("mqtts://localhost:" + std::to_string(port_)));
  options.client_id = client_id_;
  if (!username_.empty()) {
    options.username = username_;
    options.password = password_;
  }
  options.tls = must(crypto::make_client_context(tls));
  options.explain_tls_failure = crypto::take_openssl_errors;

  mqtt::Handlers handlers;
  handlers.on_connect = [this](Result<bool> result) { connect_result_ = std::move(result); };
  handlers.on_disconnect = [](const Result<void>&) {};
  handlers.on_message = [this](mqtt::Message message) { received_.push_back(std::move(message)); };
  handlers.on_published = [this](int id) { published_.insert(id); };
  handlers.on_subscribed = [this](int id, bool granted) { subscribed_.emplace_back(id, granted); };
  connect_result_.reset();
  client_ = std::make_unique<mqtt::Client>(io_, std::move(handlers));
  TRY(client_->connect(std::move(options)));
  if (!until([this] { return connect_result_.has_value(); }, Millis(25'000))) {
    return fail(ErrorCode::kTimedOut, "connect: nothing happened");
  }
  TRY(*connect_result_);
  return {};
}

bool RawClient::subscribe(const std::string& filter) {
  subscribed_.clear();
  const auto id = client_->subscribe(filter);
  if (!id) return false;
  if (!until([&] { return !subscribed_.empty() || !connected(); })) return false;
  return !subscribed_.empty() && subscribed_.front() == std::pair(*id, true);
}

bool RawClient::publish(const std::string& topic, std::string_view payload) {
  published_.clear();
  const auto id = client_->publish(topic, payload);
  if (!id) return false;
  until([&] { return published_.contains(*id) || !connected(); });
  return published_.contains(*id);
}

void RawClient::disconnect() {
  client_->disconnect();
  until([this] { return !connected(); }, Millis(1000));
}

bool RawClient::until(const std::function<bool()>& condition, Millis limit) {
  const SteadyTime end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    io_.restart();
    io_.run_for(Millis(10));
  }
  return true;
}

// --- the device

RawDevice::RawDevice(const Rig& rig, const Credentials& credentials)
    : credentials_(credentials),
      key_(must(crypto::PrivateKey::generate())),
      nonce_(random_bytes(16)),
      client_(rig.provision_port(), rig.root_certificate(), credentials.client_id, credentials.username,
              credentials.password) {}

void RawDevice::join() {
  // a provisioner that has just started answers its operator a moment before its broker listens
  Result<void> connected;
  eventually([&] {
    connected = client_.connect();
    return connected || !connected.error().message.ends_with("Connection refused");
  });
  if (!connected) throw std::runtime_error(connected.error().message);
  if (!client_.subscribe(protocol::device_filter(kAccount, credentials_.client_id))) {
    throw std::runtime_error("the broker does not grant a device its own topics");
  }
}

void RawDevice::new_nonce() {
  nonce_ = random_bytes(16);
}

protocol::Prov RawDevice::hello() {
  protocol::Prov prov;
  prov.username = credentials_.username;
  prov.password = Secret(credentials_.password);
  if (!credentials_.activation_key.empty()) prov.activation_key = Secret(credentials_.activation_key);
  prov.request_id = random_id();
  prov.nonce = nonce_;
  prov.csr = must(crypto::Csr::create(key_, credentials_.client_id));
  prov.reason = "first-boot";
  return prov;
}

std::string RawDevice::lifecycle_topic(const std::string& event) const {
  return protocol::LifecycleTopic{std::string(kAccount), credentials_.client_id, event}.str();
}

std::string RawDevice::say(const protocol::Prov& hello) {
  say_bytes(protocol::encode(protocol::to_payload(hello, credentials_.client_id, to_unix_millis(wall_now()))));
  return hello.request_id.value_or("");
}

bool RawDevice::say_bytes(std::string_view payload) {
  return client_.publish(lifecycle_topic(), payload);
}

std::optional<protocol::Reply> RawDevice::answer(const std::string& request_id, Millis limit) {
  const std::string topic =
      protocol::ReplyTopic{std::string(kAccount), credentials_.client_id, std::string(protocol::kAppProv), request_id}
          .str();
  const auto is_answer = [&](const mqtt::Message& message) { return message.topic == topic; };
  const auto& received = client_.received();
  if (!client_.until([&] { return std::any_of(received.begin(), received.end(), is_answer); }, limit))
    return std::nullopt;
  const auto found = std::find_if(received.begin(), received.end(), is_answer);
  return must(protocol::parse_reply(must(protocol::decode(found->payload))));
}

std::int32_t RawDevice::say_and_hear(const protocol::Prov& hello) {
  const auto reply = answer(say(hello));
  return reply ? reply->code : 0;
}

std::vector<Asked> RawDevice::asked() const {
  std::vector<Asked> all;
  for (const mqtt::Message& message : client_.received()) {
    const auto topic = must(protocol::parse_topic(message.topic));
    const auto* request = std::get_if<protocol::RequestTopic>(&topic);
    if (request == nullptr) continue;
    const auto head = must(protocol::parse_head(must(protocol::decode(message.payload))));
    all.push_back({message.topic, message.payload, request->app, head.request_id});
  }
  return all;
}

Asked RawDevice::await(std::string_view app) {
  std::optional<Asked> found;
  const auto look = [&] {
    for (Asked& one : asked()) {
      if (!found && one.app == app) found = std::move(one);
    }
    return found.has_value();
  };
  if (!client_.until(look)) throw std::runtime_error("the platform did not ask for " + std::string(app));
  return *found;
}

void RawDevice::reply(const Asked& asked, std::int32_t code, std::string_view app) {
  const std::string name = app.empty() ? asked.app : std::string(app);
  const protocol::ReplyTopic topic{std::string(kAccount), std::string(kProvisioner), name, asked.rid};
  const protocol::Reply reply{
      .code = code, .error = code == 200 ? "" : "the test says no", .retry_after_s = {}, .body = {}};
  client_.publish(topic.str(), protocol::encode(protocol::to_payload(reply, to_unix_millis(wall_now()))));
}

bool RawDevice::obey() {
  client_.forget();  // what an earlier attempt has asked
  const std::string request_id = say(hello());
  for (const std::string_view app :
       {protocol::kAppCert, protocol::kAppKeysV2, protocol::kAppKeysV1, protocol::kAppConf}) {
    reply(await(app));
  }
  return recorded(request_id);
}

bool RawDevice::recorded(const std::string& request_id) {
  const auto has_come = [&] {
    for (const mqtt::Message& message : client_.received()) {
      const auto topic = must(protocol::parse_topic(message.topic));
      const auto* answer = std::get_if<protocol::ReplyTopic>(&topic);
      if (answer == nullptr || answer->request_id != request_id) continue;
      if (must(protocol::parse_reply(must(protocol::decode(message.payload)))).code == 200) return true;
    }
    return false;
  };
  return client_.until(has_come);
}

void RawDevice::notify(const Asked& download, protocol::DeployStage stage, protocol::DeployStatus status, int progress,
                       const std::string& error) {
  protocol::DeployNotification notification;
  notification.stage = stage;
  notification.job_id = must(protocol::parse_download_request(must(protocol::decode(download.payload)))).job_id;
  notification.status = status;
  notification.progress = progress;
  notification.error = error;
  const protocol::NotifyTopic topic{std::string(kAccount), std::string(kProvisioner),
                                    std::string(protocol::kAppDeployV2), credentials_.client_id,
                                    std::string(to_string(stage))};
  client_.publish(topic.str(), protocol::encode(to_payload(notification, to_unix_millis(wall_now()))));
}

}  // namespace fleet::test
