#include "provisioner/edc/inbound.hpp"

#include <utility>

#include <fmt/format.h>

#include "core/protocol/deploy.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::provisioner {

namespace {

std::optional<StepKind> kind_of_app(std::string_view app) {
  if (app == protocol::kAppCert) return StepKind::kSigningCertificates;
  if (app == protocol::kAppKeysV2) return StepKind::kDeviceCertificate;
  if (app == protocol::kAppKeysV1) return StepKind::kTrustedCertificate;
  if (app == protocol::kAppDeployV2) return StepKind::kPackage;
  if (app == protocol::kAppDeployV1) return StepKind::kInlinePackage;
  if (app == protocol::kAppConf) return StepKind::kConfiguration;
  return std::nullopt;
}

InboundMessage malformed_hello(std::string_view bytes, std::string why) {
  protocol::ProvReturn back = protocol::return_of_malformed(bytes);
  return MalformedHelloIn{std::move(back.request_id), std::move(back.nonce), std::move(why)};
}

InboundMessage read_hello(std::string_view client_id, std::string_view bytes) {
  const protocol::DecodeLimits limits{.max_size = protocol::kMaxProvSize, .max_inflated_size = protocol::kMaxProvSize};
  const auto payload = protocol::decode(bytes, limits);
  if (!payload) return malformed_hello(bytes, payload.error().message);
  auto prov = protocol::parse_prov(*payload, client_id);
  if (!prov) return malformed_hello(bytes, prov.error().message);
  Hello hello;
  hello.username = std::move(prov->username);
  hello.password = std::move(prov->password);
  hello.activation_key = std::move(prov->activation_key);
  hello.hello_id = std::move(prov->request_id);
  hello.nonce = std::move(prov->nonce);
  hello.csr_der = std::move(prov->csr);
  hello.reason = std::move(prov->reason).value_or("");
  hello.facts = std::move(prov->facts);
  return HelloIn{std::move(hello)};
}

InboundMessage read_reply(const protocol::ReplyTopic& topic, std::string_view bytes) {
  const std::optional<StepKind> kind = kind_of_app(topic.app);
  if (!kind) return Ignored{"a reply under an app id that no step has"};
  if (!protocol::is_request_id(topic.request_id)) return Ignored{"a reply to an ill-formed request id"};
  const auto payload = protocol::decode(bytes);
  if (!payload) return Ignored{fmt::format("a reply that cannot be read: {}", payload.error().message)};
  auto reply = protocol::parse_reply(*payload);
  if (!reply) return Ignored{fmt::format("a reply that cannot be read: {}", reply.error().message)};
  StepReply answer{topic.request_id, *kind, reply->code, std::move(reply->error)};
  if (topic.app == protocol::kAppKeysV1 && reply->body) {
    if (auto pem = protocol::parse_signing_request(*reply->body)) answer.signing_request_pem = std::move(*pem);
  }
  return StepReplyIn{std::move(answer)};
}

JobNotice::State state_of(protocol::DeployStatus status) {
  if (status == protocol::DeployStatus::kInProgress) return JobNotice::State::kRunning;
  return protocol::is_success(status) ? JobNotice::State::kDone : JobNotice::State::kFailed;
}

InboundMessage read_notice(const protocol::NotifyTopic& topic, std::string_view bytes) {
  if (topic.app != protocol::kAppDeployV2) return Ignored{"a notification under an app id that has none"};
  const auto stage = protocol::parse_deploy_stage(topic.resource);
  if (!stage) return Ignored{"a notification of no stage of a package"};
  const auto payload = protocol::decode(bytes);
  if (!payload) return Ignored{fmt::format("a notification that cannot be read: {}", payload.error().message)};
  auto read = protocol::parse_deploy_notification(*stage, *payload);
  if (!read) return Ignored{fmt::format("a notification that cannot be read: {}", read.error().message)};
  JobNotice notice;
  notice.job_id = read->job_id;
  notice.phase = *stage == protocol::DeployStage::kDownload ? JobNotice::Phase::kDownload : JobNotice::Phase::kInstall;
  notice.state = state_of(read->status);
  notice.progress = read->progress;
  notice.error = std::move(read->error);
  if (notice.error.empty() && read->status == protocol::DeployStatus::kCancelled) notice.error = "cancelled";
  return JobNoticeIn{std::move(notice)};
}

}  // namespace

InboundMessage read_inbound(std::string_view account, std::string_view provisioner_id, std::string_view client_id,
                            std::string_view topic, std::string_view payload) {
  const auto parsed = protocol::parse_topic(topic);
  if (!parsed) return Ignored{"a topic outside of the protocol"};
  if (const auto* lifecycle = std::get_if<protocol::LifecycleTopic>(&*parsed)) {
    if (lifecycle->account != account) return Ignored{"a topic of another account"};
    if (lifecycle->client_id != client_id) return Ignored{"a topic of another device"};
    if (lifecycle->event == "PROV") return read_hello(client_id, payload);
    if (lifecycle->event == "DC") return DeviceGoneIn{.said_goodbye = true};
    if (lifecycle->event == "LWT") return DeviceGoneIn{.said_goodbye = false};
    return Ignored{"a lifecycle message that means nothing here"};
  }
  if (const auto* reply = std::get_if<protocol::ReplyTopic>(&*parsed)) {
    if (reply->account != account) return Ignored{"a topic of another account"};
    if (reply->requester != provisioner_id) return Ignored{"a reply to somebody else"};
    return read_reply(*reply, payload);
  }
  if (const auto* notify = std::get_if<protocol::NotifyTopic>(&*parsed)) {
    if (notify->account != account) return Ignored{"a topic of another account"};
    if (notify->requester != provisioner_id) return Ignored{"a notification to somebody else"};
    if (notify->client_id != client_id) return Ignored{"a notification in the name of another device"};
    return read_notice(*notify, payload);
  }
  return Ignored{"neither a lifecycle message, a reply nor a notification"};
}

}  // namespace fleet::provisioner
