#include "provisioner/edc/dialect.hpp"

#include <cctype>
#include <utility>

#include "core/protocol/deploy.hpp"
#include "core/protocol/esf_xml.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/signature.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::provisioner {

using protocol::KuraPayload;
using protocol::ResponseCode;

namespace {

// Where a step goes below the device's tree, and what it holds.
struct Draft {
  std::string_view app, method, resource;
  KuraPayload payload;
};

Result<Draft> draft(const SigningCertificatesContent& content) {
  return Draft{protocol::kAppCert, "PUT", "certificates", to_payload(protocol::SigningCertificates{content.chain_pem})};
}

// The algorithm is a wish: what counts is the key that the device has. So are the attributes: edc §4.4 ignores them.
Result<Draft> draft(const SigningRequestContent& content) {
  return Draft{
      protocol::kAppKeysV1, "POST", "keystores/entries/csr",
      to_payload(protocol::SigningRequestWish{std::string(protocol::kKeystorePid), std::string(protocol::kOwnerAlias),
                                              "SHA256withECDSA", "CN=" + content.client_id})};
}

Result<Draft> draft(const DeviceCertificateContent& content) {
  return Draft{protocol::kAppKeysV2, "POST", "keystores/entries/privatekey",
               to_payload(protocol::DeviceCertificate{std::string(protocol::kKeystorePid),
                                                      std::string(protocol::kOwnerAlias), content.chain_pem})};
}

Result<Draft> draft(const TrustedCertificateContent& content) {
  return Draft{
      protocol::kAppKeysV1, "POST", "keystores/entries/certificate",
      to_payload(protocol::TrustedCertificate{std::string(protocol::kKeystorePid),
                                              protocol::owner_ca_alias(content.number), content.certificate_pem})};
}

Result<Draft> draft(const PackageContent& content) {
  protocol::DownloadRequest request;
  request.job_id = content.job_id;
  request.package = {content.name, content.version};
  request.uri = content.url;
  request.sha256 = content.sha256;
  return Draft{protocol::kAppDeployV2, protocol::kDeployMethod, protocol::kDownloadResource, to_payload(request)};
}

// What a device makes of the package depends on its extension (edc §4.5); name and version are the operator's.
std::string extension_of(std::string_view file_name) {
  for (const std::string_view known : {".tar.gz", ".tgz"}) {
    if (file_name.ends_with(known)) return std::string(known);
  }
  const std::size_t dot = file_name.rfind('.');
  const bool letter = dot != std::string_view::npos && dot + 1 < file_name.size() &&
                      std::isalpha(static_cast<unsigned char>(file_name[dot + 1])) != 0;
  return letter ? std::string(file_name.substr(dot)) : ".bin";
}

Result<Draft> draft(const InlinePackageContent& content) {
  if (content.content.size() > protocol::kMaxInlinePackage) {
    return fail(ErrorCode::kLimitExceeded, "package {}: {} bytes, more than the {} that travel within a message",
                content.name, content.content.size(), protocol::kMaxInlinePackage);
  }
  const protocol::PackageId id{content.name, content.version};
  return Draft{
      protocol::kAppDeployV1, protocol::kDeployMethod, protocol::kInstallResource,
      to_payload(protocol::InlinePackage{package_file_name(id, extension_of(content.file_name)), content.content})};
}

Result<Draft> draft(const ConfigurationContent& content) {
  Draft draft{protocol::kAppConf, "PUT", "configurations", {}};
  TRY_ASSIGN(draft.payload.body, protocol::to_xml(content.configurations));
  return draft;
}

// edc §4.1
ResponseCode code_of(Answer answer) {
  switch (answer) {
    case Answer::kRecorded:
      return ResponseCode::kRecorded;
    case Answer::kAccepted:
      return ResponseCode::kAccepted;
    case Answer::kMalformed:
      return ResponseCode::kBadRequest;
    case Answer::kWrongCredentials:
      return ResponseCode::kUnauthorized;
    case Answer::kForbidden:
      return ResponseCode::kForbidden;
    case Answer::kAlreadyProvisioned:
      return ResponseCode::kAlreadyProvisioned;
    case Answer::kGone:
      return ResponseCode::kGone;
    case Answer::kTooMany:
      return ResponseCode::kTooMany;
    case Answer::kNotNow:
      return ResponseCode::kNotNow;
  }
  return ResponseCode::kError;
}

}  // namespace

EdcDialect::EdcDialect(std::string account, std::string provisioner_id, crypto::PrivateKey signing_key)
    : account_(std::move(account)), provisioner_id_(std::move(provisioner_id)), signing_key_(std::move(signing_key)) {}

Result<Outgoing> EdcDialect::step_message(const std::string& client_id, const Bytes& nonce, const std::string& rid,
                                          const StepContent& content, WallTime now) const {
  TRY_ASSIGN(Draft draft, std::visit([](const auto& step) { return provisioner::draft(step); }, content));
  draft.payload.timestamp = to_unix_millis(now);
  add_head(draft.payload, {rid, provisioner_id_, nonce.empty() ? std::nullopt : std::optional(nonce)});
  const protocol::RequestTopic topic{account_, client_id, std::string(draft.app), std::string(draft.method),
                                     std::string(draft.resource)};
  return sign(client_id, topic.str(), std::move(draft.payload));
}

Result<Outgoing> EdcDialect::answer_message(const std::string& client_id, const Bytes& nonce,
                                            const std::string& hello_id, const AnswerDetails& details,
                                            WallTime now) const {
  protocol::Reply reply;
  reply.code = static_cast<std::int32_t>(code_of(details.answer));
  reply.error = details.message;
  if (details.retry_after) reply.retry_after_s = static_cast<std::int32_t>(details.retry_after->count());
  KuraPayload payload = to_payload(reply, to_unix_millis(now));
  if (!nonce.empty()) payload.add("prov.nonce", protocol::Blob{nonce});
  // The device asked, so the reply lies in its own tree: it is the requester.
  const protocol::ReplyTopic topic{account_, client_id, std::string(protocol::kAppProv), hello_id};
  return sign(client_id, topic.str(), std::move(payload));
}

Result<Outgoing> EdcDialect::sign(const std::string& client_id, std::string topic, KuraPayload payload) const {
  payload.add(std::string(protocol::kAlgorithmMetric), std::string(signing_key_.algorithm()));
  TRY_ASSIGN(Bytes signature, signing_key_.sign(protocol::signing_input(topic, payload)));
  payload.add(std::string(protocol::kSignatureMetric), protocol::Blob{std::move(signature)});
  return Outgoing{client_id, std::move(topic), protocol::encode(payload)};
}

}  // namespace fleet::provisioner
