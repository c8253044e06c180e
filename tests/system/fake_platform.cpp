#include "tests/system/fake_platform.hpp"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "core/base/file.hpp"
#include "core/protocol/esf_xml.hpp"
#include "core/protocol/signature.hpp"

namespace fleet::test {

using crypto::CertificateProfile;

namespace {

constexpr std::chrono::hours kYear{24 * 365};

crypto::CertificateRequest wish(CertificateProfile profile, std::string_view name) {
  crypto::CertificateRequest request{
      profile, std::string(name), {}, wall_now() - std::chrono::hours(1), wall_now() + kYear};
  if (profile == CertificateProfile::kServer) request.san_names = {"localhost"};
  return request;
}

crypto::Issuer root(std::string_view name) {
  auto key = must(crypto::PrivateKey::generate());
  return {must(crypto::issue_root(wish(CertificateProfile::kRootCa, name), key)), key};
}

Signer leaf(CertificateProfile profile, std::string_view name, const crypto::Issuer& issuer) {
  auto key = must(crypto::PrivateKey::generate());
  return {key, {must(crypto::issue(wish(profile, name), key.public_key(), issuer)), issuer.certificate}};
}

void write(const std::filesystem::path& path, std::string_view text) {
  if (auto written = write_file(path, text); !written) throw std::runtime_error(written.error().message);
}

}  // namespace

crypto::Issuer FakePlatform::ca(std::string_view name, CertificateProfile profile, const crypto::Issuer& issuer) const {
  auto key = must(crypto::PrivateKey::generate());
  return {must(crypto::issue(wish(profile, name), key.public_key(), issuer)), key};
}

FakePlatform::FakePlatform() {
  root_ = root("Fleet Root");
  platform_ca_ = ca("Platform CA", CertificateProfile::kPlatformCa, *root_);
  device_ca_ = ca("Device CA", CertificateProfile::kDeviceCa, *root_);
  signer_ = leaf(CertificateProfile::kCommandSigning, "Command Signer", *platform_ca_);
  const Signer server =
      leaf(CertificateProfile::kServer, "localhost", ca("Broker CA", CertificateProfile::kBrokerCa, *root_));

  write(folder_ / "root.crt", root_->certificate.to_pem());
  write(folder_ / "server.crt", crypto::to_pem(server.chain));
  write(folder_ / "server.key", server.key.to_pem().reveal());
  write(folder_ / "password", "it-does-not-matter-here\n");
  write(folder_ / "mosquitto.conf",
        "user root\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\nlog_type notice\n"
        "log_type error\nlistener " +
            std::to_string(port_) + " 127.0.0.1\ncertfile " + (folder_ / "server.crt").string() + "\nkeyfile " +
            (folder_ / "server.key").string() + "\n");
  broker_.emplace(
      Command{{"/usr/sbin/mosquitto", "-c", (folder_ / "mosquitto.conf").string()}, {}, folder_ / "broker.log"});
  client_ = std::make_unique<RawClient>(port_, folder_ / "root.crt", "platform", "", "");
  if (!eventually([&] { return client_->connect().has_value(); }))
    throw std::runtime_error("no broker: " + broker_->output());
  // not the devices' own trees: what the platform itself says there is no news to it
  if (!client_->subscribe("$EDC/provision/+/MQTT/#") || !client_->subscribe("$EDC/provision/provisioner/#")) {
    throw std::runtime_error("the broker does not let the platform listen");
  }
}

std::unique_ptr<AgentRig> FakePlatform::agent(const std::string& client_id, const std::string& timeout) {
  const auto folder = folder_ / client_id;
  return std::make_unique<AgentRig>(
      folder, "broker-url: mqtts://localhost:" + std::to_string(port_) + "\nclient-id: \"" + client_id +
                  "\"\nusername: \"" + client_id + "\"\npassword-file: " + (folder_ / "password").string() +
                  "\nbroker-ca-file: " + (folder_ / "root.crt").string() +
                  "\nplatform-root-file: " + (folder_ / "root.crt").string() +
                  "\nstate-dir: " + (folder / "state").string() + "\nretry-interval: 1s\ntimeout: " + timeout);
}

Signer FakePlatform::another_signer() const {
  return leaf(CertificateProfile::kCommandSigning, "Command Signer", *platform_ca_);
}

Signer FakePlatform::stranger() const {
  const crypto::Issuer other = root("Fleet Root");  // the name is easily had
  return leaf(CertificateProfile::kCommandSigning, "Command Signer",
              ca("Platform CA", CertificateProfile::kPlatformCa, other));
}

Signer FakePlatform::device_as_signer() const {
  return leaf(CertificateProfile::kDevice, "02FC49999999", *device_ca_);
}

protocol::Prov FakePlatform::await_hello(const std::string& client_id) {
  const std::string topic = protocol::LifecycleTopic{std::string(kAccount), client_id, "PROV"}.str();
  std::optional<protocol::Prov> hello;
  const auto look = [&] {
    for (const mqtt::Message& message : client_->received()) {
      if (message.topic != topic) continue;
      auto prov = must(protocol::parse_prov(must(protocol::decode(message.payload)), client_id));
      if (prov.nonce != last_nonce_) hello = std::move(prov);
    }
    return hello.has_value();
  };
  if (!client_->until(look, Millis(15'000))) throw std::runtime_error("no hello of " + client_id);
  client_->forget();
  last_nonce_ = hello->nonce.value();
  return std::move(*hello);
}

std::int32_t FakePlatform::reply_to(const std::string& rid, Millis limit) {
  std::int32_t code = 0;
  const auto look = [&] {
    for (const mqtt::Message& message : client_->received()) {
      const auto topic = must(protocol::parse_topic(message.topic));
      const auto* reply = std::get_if<protocol::ReplyTopic>(&topic);
      if (reply == nullptr || reply->request_id != rid) continue;
      code = must(protocol::parse_reply(must(protocol::decode(message.payload)))).code;
    }
    return code != 0;
  };
  client_->until(look, limit);
  return code;
}

protocol::KuraPayload FakePlatform::reply_payload(const std::string& rid) const {
  for (const mqtt::Message& message : client_->received()) {
    const auto topic = must(protocol::parse_topic(message.topic));
    const auto* reply = std::get_if<protocol::ReplyTopic>(&topic);
    if (reply != nullptr && reply->request_id == rid) return must(protocol::decode(message.payload));
  }
  return {};
}

std::vector<protocol::DeployNotification> FakePlatform::notifications() const {
  std::vector<protocol::DeployNotification> all;
  for (const mqtt::Message& message : client_->received()) {
    const auto topic = must(protocol::parse_topic(message.topic));
    const auto* notify = std::get_if<protocol::NotifyTopic>(&topic);
    if (notify == nullptr) continue;
    const auto stage = must(protocol::parse_deploy_stage(notify->resource));
    all.push_back(must(protocol::parse_deploy_notification(stage, must(protocol::decode(message.payload)))));
  }
  return all;
}

int FakePlatform::connects(const std::string& client_id) const {
  std::istringstream lines(broker_->output());
  int count = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool connected = line.find("New client connected from") != std::string::npos;
    if (connected && line.find(" as " + client_id + " ") != std::string::npos) ++count;
  }
  return count;
}

Draft FakePlatform::request(const std::string& client_id, const protocol::Prov& hello, std::string_view app,
                            std::string_view method, std::string_view resource, protocol::KuraPayload payload) const {
  payload.timestamp = to_unix_millis(wall_now());
  protocol::add_head(payload, {random_id(), std::string(kProvisioner), hello.nonce});
  const protocol::RequestTopic topic{std::string(kAccount), client_id, std::string(app), std::string(method),
                                     std::string(resource)};
  return {topic.str(), std::move(payload)};
}

Draft FakePlatform::certificates(const std::string& client_id, const protocol::Prov& hello,
                                 const Signer& signer) const {
  return request(client_id, hello, protocol::kAppCert, "PUT", "certificates",
                 protocol::to_payload(protocol::SigningCertificates{crypto::to_pem(signer.chain)}));
}

Draft FakePlatform::device_certificate(const std::string& client_id, const protocol::Prov& hello) const {
  const auto csr = must(crypto::Csr::from_der(hello.csr.value()));
  const auto certificate =
      must(crypto::issue(wish(CertificateProfile::kDevice, client_id), csr.public_key(), *device_ca_));
  return request(
      client_id, hello, protocol::kAppKeysV2, "POST", "keystores/entries/privatekey",
      protocol::to_payload(protocol::DeviceCertificate{std::string(protocol::kKeystorePid),
                                                       std::string(protocol::kOwnerAlias),
                                                       {certificate.to_pem(), device_ca_->certificate.to_pem()}}));
}

Draft FakePlatform::configuration(const std::string& client_id, const protocol::Prov& hello) const {
  protocol::ComponentConfiguration owner{std::string(protocol::kMqttTransportPid), {}};
  owner.properties.push_back({"broker-url", protocol::PropertyType::kString, false, false, {"mqtts://localhost:1"}});
  owner.properties.push_back({"topic.context.account-name", protocol::PropertyType::kString, false, false, {"acme"}});
  protocol::KuraPayload payload;
  payload.body = must(protocol::to_xml({owner}));
  return request(client_id, hello, protocol::kAppConf, "PUT", "configurations", std::move(payload));
}

Draft FakePlatform::download(const std::string& client_id, const protocol::Prov& hello,
                             const protocol::DownloadRequest& package) const {
  return request(client_id, hello, protocol::kAppDeployV2, protocol::kDeployMethod, protocol::kDownloadResource,
                 protocol::to_payload(package));
}

Draft FakePlatform::inline_package(const std::string& client_id, const protocol::Prov& hello,
                                   const std::string& file_name, const Bytes& content) const {
  return request(client_id, hello, protocol::kAppDeployV1, protocol::kDeployMethod, protocol::kInstallResource,
                 protocol::to_payload(protocol::InlinePackage{file_name, content}));
}

Draft FakePlatform::answer(const std::string& client_id, const protocol::Prov& hello,
                           const protocol::Reply& reply) const {
  protocol::KuraPayload payload = protocol::to_payload(reply, to_unix_millis(wall_now()));
  payload.add("prov.nonce", protocol::Blob{hello.nonce.value()});
  const protocol::ReplyTopic topic{std::string(kAccount), client_id, std::string(protocol::kAppProv),
                                   hello.request_id.value()};
  return {topic.str(), std::move(payload)};
}

Bytes signed_payload(const Draft& draft, const Signer& signer) {
  protocol::KuraPayload payload = draft.payload;
  payload.add(std::string(protocol::kAlgorithmMetric), std::string(signer.key.algorithm()));
  payload.add(std::string(protocol::kSignatureMetric),
              protocol::Blob{must(signer.key.sign(protocol::signing_input(draft.topic, payload)))});
  return protocol::encode(payload);
}

std::string rid_of(const Draft& draft) {
  return must(protocol::parse_head(draft.payload)).request_id;
}

std::string FakePlatform::send(Draft draft, const Signer& signer) {
  send_bytes(draft.topic, signed_payload(draft, signer));
  const std::string* rid = draft.payload.string("request.id");
  return rid != nullptr ? *rid : "";
}

void FakePlatform::send_bytes(const std::string& topic, std::string_view payload) {
  if (!client_->publish(topic, payload)) throw std::runtime_error("the platform cannot send to " + topic);
}

bool FakePlatform::provision(const std::string& client_id) {
  const protocol::Prov hello = await_hello(client_id);
  if (reply_to(send(certificates(client_id, hello, signer()), signer())) != 200) return false;
  if (reply_to(send(device_certificate(client_id, hello), signer())) != 200) return false;
  if (reply_to(send(configuration(client_id, hello), signer())) != 200) return false;
  send(answer(client_id, hello, {.code = 200, .error = {}, .retry_after_s = {}, .body = {}}), signer());
  return true;
}

}  // namespace fleet::test
