#include "tests/unit/agent/session/platform.hpp"

#include <doctest/doctest.h>

#include "core/protocol/esf_xml.hpp"
#include "core/protocol/signature.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::agent::test {
namespace {

template <typename T>
T must(Result<T> result) {
  REQUIRE_MESSAGE(result.has_value(), (result ? "" : result.error().message));
  return *std::move(result);
}

crypto::PrivateKey make_key() {
  return must(crypto::PrivateKey::generate());
}

crypto::CertificateRequest wish(crypto::CertificateProfile profile, std::string_view cn,
                                WallTime not_before = kLastYear, WallTime not_after = kNextYear) {
  return {profile, std::string(cn), {}, not_before, not_after};
}

}  // namespace

crypto::Issuer make_root(std::string_view cn) {
  auto key = make_key();
  auto certificate =
      must(crypto::issue_root(wish(crypto::CertificateProfile::kRootCa, cn, kLastYear - std::chrono::days(3650),
                                   kNextYear + std::chrono::days(3650)),
                              key));
  return {std::move(certificate), std::move(key)};
}

crypto::Issuer make_ca(std::string_view cn, crypto::CertificateProfile profile, const crypto::Issuer& issuer) {
  auto key = make_key();
  auto certificate =
      must(crypto::issue(wish(profile, cn, kLastYear - std::chrono::days(3650), kNextYear + std::chrono::days(3650)),
                         key.public_key(), issuer));
  return {std::move(certificate), std::move(key)};
}

Pki::Pki()
    : root(make_root("Fleet Root")),
      platform_ca(make_ca("Platform CA", crypto::CertificateProfile::kPlatformCa, root)),
      device_ca(make_ca("Device CA", crypto::CertificateProfile::kDeviceCa, root)),
      signer(make_signer(platform_ca)),
      device_key(make_key()),
      csr_der(must(crypto::Csr::create(device_key, kClientId))) {}

Signer Pki::make_signer(const crypto::Issuer& ca, crypto::CertificateProfile profile, WallTime not_before,
                        WallTime not_after) const {
  auto key = make_key();
  auto leaf = must(crypto::issue(wish(profile, "Command Signer", not_before, not_after), key.public_key(), ca));
  return {std::move(key), {std::move(leaf), ca.certificate}};
}

crypto::Certificate Pki::device_certificate(std::string_view cn, const crypto::PublicKey& key,
                                            WallTime not_after) const {
  return must(crypto::issue(wish(crypto::CertificateProfile::kDevice, cn, kLastYear, not_after), key, device_ca));
}

const Pki& pki() {
  static const Pki instance;
  return instance;
}

std::string owner_xml(bool with_password) {
  protocol::ComponentConfiguration component{std::string(protocol::kMqttTransportPid), {}};
  const auto add = [&](std::string name, std::string value,
                       protocol::PropertyType type = protocol::PropertyType::kString) {
    component.properties.push_back({std::move(name), type, false, false, {std::move(value)}});
  };
  add("broker-url", "mqtts://owner.example:8883");
  add("topic.context.account-name", "acme");
  if (with_password) {
    add("username", "device-1");
    add("password", "owner-secret", protocol::PropertyType::kPassword);
  }
  return must(protocol::to_xml({component}));
}

Draft cert_draft(const Signer& signer) {
  return {"CERT-V1", "PUT", "certificates", protocol::to_payload(protocol::SigningCertificates{to_pem(signer.chain)})};
}

Draft key_draft(const crypto::Certificate& certificate, std::string alias) {
  return {
      "KEYS-V2", "POST", "keystores/entries/privatekey",
      protocol::to_payload(protocol::DeviceCertificate{std::string(protocol::kKeystorePid),
                                                       std::move(alias),
                                                       {certificate.to_pem(), pki().device_ca.certificate.to_pem()}})};
}

Draft owner_ca_draft(const crypto::Certificate& certificate, std::string alias) {
  return {"KEYS-V1", "POST", "keystores/entries/certificate",
          protocol::to_payload(protocol::TrustedCertificate{std::string(protocol::kKeystorePid), std::move(alias),
                                                            certificate.to_pem()})};
}

Draft conf_draft(std::string xml) {
  protocol::KuraPayload payload;
  payload.body = std::move(xml);
  return {"CONF-V1", "PUT", "configurations", std::move(payload)};
}

Draft download_draft(const protocol::DownloadRequest& request) {
  return {"DEPLOY-V2", "EXEC", "download", protocol::to_payload(request)};
}

Draft install_draft(const protocol::InstallRequest& request) {
  return {"DEPLOY-V2", "EXEC", "install", protocol::to_payload(request)};
}

Draft inline_draft(std::string file_name, Bytes content) {
  return {"DEPLOY-V1", "EXEC", "install",
          protocol::to_payload(protocol::InlinePackage{std::move(file_name), std::move(content)})};
}

protocol::KuraPayload sign(protocol::KuraPayload payload, std::string_view topic, const crypto::PrivateKey& key) {
  payload.add(std::string(protocol::kAlgorithmMetric), std::string(key.algorithm()));
  Bytes signature = must(key.sign(protocol::signing_input(topic, payload)));
  payload.add(std::string(protocol::kSignatureMetric), protocol::Blob{std::move(signature)});
  return payload;
}

std::string request_topic(const Draft& draft) {
  return protocol::RequestTopic{std::string(kAccount), std::string(kClientId), draft.app, draft.method, draft.resource}
      .str();
}

Message request(Draft draft, const std::string& rid, const Bytes& nonce, const Signer& signer) {
  const std::string topic = request_topic(draft);
  draft.payload.timestamp = 1'790'000'000'000;
  protocol::add_head(draft.payload, {rid, std::string(kProvisioner), nonce});
  return {topic, protocol::encode(sign(std::move(draft.payload), topic, signer.key))};
}

Message prov_answer(const protocol::Reply& reply, const std::string& request_id, const Bytes& nonce,
                    const Signer& signer) {
  const std::string topic =
      protocol::ReplyTopic{std::string(kAccount), std::string(kClientId), "PROV-V1", request_id}.str();
  protocol::KuraPayload payload = protocol::to_payload(reply, 1'790'000'000'000);
  payload.add("prov.nonce", protocol::Blob{nonce});
  return {topic, protocol::encode(sign(std::move(payload), topic, signer.key))};
}

// --- the provisioner

void Platform::open_attempt(const protocol::Prov& prov) {
  nonces.push_back(*prov.nonce);
  nonce_ = *prov.nonce;
  completed_ = failed_ = false;
  std::vector<Draft> drafts = plan;
  if (drafts.empty()) {
    const auto csr = must(crypto::Csr::from_der(*prov.csr));
    drafts = {cert_draft(pki().signer), key_draft(pki().device_certificate(kClientId, csr.public_key())),
              owner_ca_draft(pki().root.certificate), conf_draft(owner_xml(false))};
  }
  steps_.clear();
  for (Draft& draft : drafts) {
    const std::string rid = random_id();
    steps_.push_back({rid, request(std::move(draft), rid, nonce_)});
  }
}

void Platform::answer(std::int32_t code) {
  if (!silent)
    outbox.push_back(prov_answer({.code = code, .error = {}, .retry_after_s = {}, .body = {}}, request_id_, nonce_));
}

void Platform::receive(const Message& message) {
  const auto topic = must(protocol::parse_topic(message.topic));
  const auto payload = must(protocol::decode(message.payload));
  if (const auto* hello = std::get_if<protocol::LifecycleTopic>(&topic)) {
    REQUIRE(hello->event == "PROV");
    provs.push_back(must(protocol::parse_prov(payload, kClientId)));
    const protocol::Prov& prov = provs.back();
    if (silent) return;
    request_id_ = *prov.request_id;
    if (nonces.empty() || *prov.nonce != nonce_) {
      if (completed_) return answer(409);
      open_attempt(prov);
    }
    if (completed_) return keeps_final_200 ? void() : answer(200);
    answer(202);
    for (const Step& step : steps_) {
      if (!codes.contains(step.rid)) outbox.push_back(step.message);
    }
    return;
  }
  if (const auto* notify = std::get_if<protocol::NotifyTopic>(&topic)) {
    REQUIRE(notify->requester == kProvisioner);
    REQUIRE(notify->client_id == kClientId);
    const auto stage = must(protocol::parse_deploy_stage(notify->resource));
    notifications.push_back(must(protocol::parse_deploy_notification(stage, payload)));
    return;
  }
  const auto& reply_topic = std::get<protocol::ReplyTopic>(topic);
  const std::string& rid = reply_topic.request_id;
  if (const auto first = replies.find(rid); first != replies.end()) {
    if (first->second != message.payload) inconsistent_replies.push_back(rid);
    return;
  }
  replies[rid] = message.payload;
  codes[rid] = must(protocol::parse_reply(payload)).code;
  if (codes[rid] != 200) failed_ = true;
  if (failed_ || steps_.empty() || rid != steps_.back().rid) return;
  completed_ = true;
  ++completions;
  if (!keeps_final_200) answer(200);
}

}  // namespace fleet::agent::test
