#include "core/protocol/message.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <boost/json.hpp>

#include "core/protocol/esf_xml.hpp"
#include "core/protocol/gzip.hpp"
#include "core/protocol/signature.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::protocol {
namespace {

namespace json = boost::json;

constexpr std::string_view kUsername = "username";
constexpr std::string_view kPassword = "password";
constexpr std::string_view kActivationKey = "activationKey";
constexpr std::string_view kVersion = "provisioningCertificateVersion";
constexpr std::string_view kRequestId = "request.id";
constexpr std::string_view kRequester = "requester.client.id";
constexpr std::string_view kNonce = "prov.nonce";
constexpr std::string_view kCsr = "prov.csr";
constexpr std::string_view kReason = "prov.reason";
constexpr std::string_view kResponseCode = "response.code";
constexpr std::string_view kResponseMessage = "response.exception.message";
constexpr std::string_view kRetryAfter = "retry.after";
constexpr std::string_view kCertificateUsage = "certificate.usage";
constexpr std::string_view kCommandSigning = "COMMAND_SIGNING";

constexpr std::array<std::string_view, 11> kNotFacts{kUsername,  kPassword,        kActivationKey,  kVersion,
                                                     kRequestId, kRequester,       kNonce,          kCsr,
                                                     kReason,    kSignatureMetric, kAlgorithmMetric};
constexpr std::array<std::string_view, 4> kReasons{"first-boot", "retry", "owner-unreachable", "reprovision"};

constexpr std::size_t kMinNonce = 16;
constexpr std::size_t kMaxNonce = 32;
constexpr std::size_t kMaxCsr = 8 * 1024;
constexpr std::size_t kMaxFacts = 64;
constexpr std::size_t kMaxFactSize = 256;  // of the name and of the value

template <std::size_t n>
bool contains(const std::array<std::string_view, n>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// --- metrics

// nullptr if the metric is missing; kMalformed if it is there with another type.
Result<const std::string*> optional_string(const KuraPayload& payload, std::string_view name) {
  const std::string* value = payload.string(name);
  if (value == nullptr && payload.find(name) != nullptr) {
    return fail(ErrorCode::kMalformed, "{} is not of type STRING", name);
  }
  return value;
}

Result<const std::string*> required_string(const KuraPayload& payload, std::string_view name) {
  TRY_ASSIGN(const std::string* value, optional_string(payload, name));
  if (value == nullptr) return fail(ErrorCode::kMalformed, "{} is missing", name);
  return value;
}

Result<const Bytes*> optional_bytes(const KuraPayload& payload, std::string_view name, std::size_t min,
                                    std::size_t max) {
  const Bytes* value = payload.blob(name);
  if (value == nullptr && payload.find(name) != nullptr) {
    return fail(ErrorCode::kMalformed, "{} is not of type BYTES", name);
  }
  if (value != nullptr && (value->size() < min || value->size() > max)) {
    return fail(ErrorCode::kMalformed, "{} has {} bytes, not {} to {}", name, value->size(), min, max);
  }
  return value;
}

template <typename T>
std::optional<T> copy_of(const T* value) {
  return value == nullptr ? std::nullopt : std::optional<T>(*value);
}

std::map<std::string, std::string> facts_of(const KuraPayload& payload) {
  std::map<std::string, std::string> facts;
  for (const Metric& metric : payload.metrics) {
    if (facts.size() == kMaxFacts) break;
    const auto* value = std::get_if<std::string>(&metric.value);
    if (value == nullptr || value->size() > kMaxFactSize || metric.name.size() > kMaxFactSize) continue;
    if (!contains(kNotFacts, metric.name)) facts.emplace(metric.name, *value);
  }
  return facts;
}

// --- JSON bodies

Result<json::value> parse_json(std::string_view body) try {
  boost::system::error_code error;
  json::value value = json::parse(json::string_view(body.data(), body.size()), error);
  if (error) return fail(ErrorCode::kMalformed, "body is not JSON: {}", error.message());
  return value;
} catch (const std::exception& error) {
  return fail(ErrorCode::kMalformed, "body is not JSON: {}", error.what());
}

Result<json::object> parse_object(const KuraPayload& payload) {
  if (!payload.body) return fail(ErrorCode::kMalformed, "body is missing");
  TRY_ASSIGN(json::value value, parse_json(*payload.body));
  if (!value.is_object()) return fail(ErrorCode::kMalformed, "body is not a JSON object");
  return std::move(value.get_object());
}

Result<std::string> text_member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  if (text == nullptr || text->empty()) return fail(ErrorCode::kMalformed, "body: {} is not a text", key);
  return std::string(text->data(), text->size());
}

// Of a PROV in Kura's JSON form: {"metrics":{"request.id":"…"}}.
std::optional<std::string> request_id_of_json(std::string_view bytes) {
  if (bytes.size() > kMaxProvSize) return std::nullopt;
  const auto value = parse_json(bytes);
  const json::value* metrics = value && value->is_object() ? value->get_object().if_contains("metrics") : nullptr;
  const json::value* id =
      metrics != nullptr && metrics->is_object() ? metrics->get_object().if_contains(kRequestId) : nullptr;
  if (id == nullptr || !id->is_string()) return std::nullopt;
  return std::string(id->get_string());
}

// A member that becomes part of a file name on the device.
Result<std::string> name_member(const json::object& object, std::string_view key) {
  TRY_ASSIGN(std::string name, text_member(object, key));
  if (!is_pid(name)) return fail(ErrorCode::kMalformed, "body: {} is not a name", key);
  return name;
}

KuraPayload with_json_body(const json::object& object) {
  KuraPayload payload;
  payload.body = json::serialize(object);
  return payload;
}

constexpr std::string_view kPidKey = "keystoreServicePid";
constexpr std::string_view kAliasKey = "alias";
constexpr std::string_view kChainKey = "certificateChain";
constexpr std::string_view kCertificateKey = "certificate";
constexpr std::string_view kPrivateKeyKey = "privateKey";
constexpr std::string_view kSignatureAlgorithmKey = "signatureAlgorithm";
constexpr std::string_view kAttributesKey = "attributes";
constexpr std::string_view kSigningRequestKey = "signingRequest";

}  // namespace

// --- PROV

KuraPayload to_payload(const Prov& prov, std::string_view client_id, std::int64_t timestamp_ms) {
  KuraPayload payload;
  payload.timestamp = timestamp_ms;
  payload.add(std::string(kUsername), prov.username);
  payload.add(std::string(kPassword), std::string(prov.password.reveal()));
  if (prov.activation_key) payload.add(std::string(kActivationKey), std::string(prov.activation_key->reveal()));
  payload.add(std::string(kVersion), std::string(kProvVersion));
  if (prov.request_id) {
    payload.add(std::string(kRequestId), *prov.request_id);
    payload.add(std::string(kRequester), std::string(client_id));
  }
  if (prov.nonce) payload.add(std::string(kNonce), Blob{*prov.nonce});
  if (prov.csr) payload.add(std::string(kCsr), Blob{*prov.csr});
  if (prov.reason) payload.add(std::string(kReason), *prov.reason);
  for (const auto& [name, value] : prov.facts) {
    if (!contains(kNotFacts, name)) payload.add(name, value);
  }
  return payload;
}

Result<Prov> parse_prov(const KuraPayload& payload, std::string_view client_id) {
  TRY_ASSIGN(const std::string* username, required_string(payload, kUsername));
  TRY_ASSIGN(const std::string* password, required_string(payload, kPassword));
  TRY_ASSIGN(const std::string* activation_key, optional_string(payload, kActivationKey));
  TRY_ASSIGN(const std::string* version, optional_string(payload, kVersion));
  TRY_ASSIGN(const std::string* request_id, optional_string(payload, kRequestId));
  TRY_ASSIGN(const std::string* requester, optional_string(payload, kRequester));
  TRY_ASSIGN(const Bytes* nonce, optional_bytes(payload, kNonce, kMinNonce, kMaxNonce));
  TRY_ASSIGN(const Bytes* csr, optional_bytes(payload, kCsr, 1, kMaxCsr));
  TRY_ASSIGN(const std::string* reason, optional_string(payload, kReason));
  if (version != nullptr && *version != kProvVersion) {
    return fail(ErrorCode::kMalformed, "{} is not {}", kVersion, kProvVersion);
  }
  if (request_id != nullptr) {
    if (!is_request_id(*request_id)) return fail(ErrorCode::kMalformed, "{} does not have its form", kRequestId);
    if (requester == nullptr || *requester != client_id) {
      return fail(ErrorCode::kMalformed, "{} is not the device's own client id", kRequester);
    }
  }
  if (reason != nullptr && !contains(kReasons, *reason)) {
    return fail(ErrorCode::kMalformed, "{} is none of {}", kReason, fmt::join(kReasons, ", "));
  }
  Prov prov;
  prov.username = *username;
  prov.password = Secret(*password);
  if (activation_key != nullptr) prov.activation_key.emplace(*activation_key);
  prov.request_id = copy_of(request_id);
  prov.nonce = copy_of(nonce);
  prov.csr = copy_of(csr);
  prov.reason = copy_of(reason);
  prov.facts = facts_of(payload);
  return prov;
}

ProvReturn return_of_malformed(std::string_view bytes) {
  if (is_gzip(bytes)) {
    const auto inflated = gunzip(bytes, kMaxProvSize);
    return inflated && !is_gzip(*inflated) ? return_of_malformed(*inflated) : ProvReturn{};
  }
  ProvReturn back;
  if (bytes.starts_with('{')) {
    back.request_id = request_id_of_json(bytes);
  } else if (const auto id = salvage_metric(bytes, kRequestId); id && std::holds_alternative<std::string>(*id)) {
    back.request_id = std::get<std::string>(*id);
  }
  if (back.request_id && !is_request_id(*back.request_id)) back.request_id.reset();
  const auto nonce = salvage_metric(bytes, kNonce);
  if (const Blob* blob = nonce ? std::get_if<Blob>(&*nonce) : nullptr;
      blob != nullptr && blob->bytes.size() >= kMinNonce && blob->bytes.size() <= kMaxNonce) {
    back.nonce = blob->bytes;
  }
  return back;
}

// --- replies and the head of requests

KuraPayload to_payload(const Reply& reply, std::int64_t timestamp_ms) {
  KuraPayload payload;
  payload.timestamp = timestamp_ms;
  payload.add(std::string(kResponseCode), reply.code);
  if (!reply.error.empty()) payload.add(std::string(kResponseMessage), reply.error);
  if (reply.retry_after_s) payload.add(std::string(kRetryAfter), *reply.retry_after_s);
  payload.body = reply.body;
  return payload;
}

Result<Reply> parse_reply(const KuraPayload& payload) {
  const auto code = payload.int32(kResponseCode);
  if (!code) return fail(ErrorCode::kMalformed, "{} is missing or not of type INT32", kResponseCode);
  Reply reply;
  reply.code = *code;
  if (const std::string* error = payload.string(kResponseMessage)) reply.error = *error;
  reply.retry_after_s = payload.int32(kRetryAfter);
  reply.body = payload.body;
  return reply;
}

void add_head(KuraPayload& payload, const RequestHead& head) {
  payload.add(std::string(kRequestId), head.request_id);
  payload.add(std::string(kRequester), head.requester_client_id);
  if (head.nonce) payload.add(std::string(kNonce), Blob{*head.nonce});
}

Result<RequestHead> parse_head(const KuraPayload& payload) {
  TRY_ASSIGN(const std::string* request_id, required_string(payload, kRequestId));
  TRY_ASSIGN(const std::string* requester, required_string(payload, kRequester));
  TRY_ASSIGN(const Bytes* nonce, optional_bytes(payload, kNonce, kMinNonce, kMaxNonce));
  if (!is_request_id(*request_id)) return fail(ErrorCode::kMalformed, "{} does not have its form", kRequestId);
  if (!is_client_id(*requester)) return fail(ErrorCode::kMalformed, "{} does not have its form", kRequester);
  return RequestHead{*request_id, *requester, copy_of(nonce)};
}

// --- CERT and KEYS

KuraPayload to_payload(const SigningCertificates& message) {
  KuraPayload payload;
  payload.add(std::string(kCertificateUsage), std::string(kCommandSigning));
  payload.body = message.chain_pem;
  return payload;
}

Result<SigningCertificates> parse_signing_certificates(const KuraPayload& payload) {
  TRY_ASSIGN(const std::string* usage, required_string(payload, kCertificateUsage));
  if (*usage != kCommandSigning) return fail(ErrorCode::kMalformed, "{} is not {}", kCertificateUsage, kCommandSigning);
  if (!payload.body || payload.body->empty()) return fail(ErrorCode::kMalformed, "body is missing");
  return SigningCertificates{*payload.body};
}

std::string owner_ca_alias(std::size_t number) {
  return fmt::format("{}-ca-{}", kOwnerAlias, number);
}

KuraPayload to_payload(const SigningRequestWish& message) {
  return with_json_body({{kPidKey, message.keystore_pid},
                         {kAliasKey, message.alias},
                         {kSignatureAlgorithmKey, message.signature_algorithm},
                         {kAttributesKey, message.attributes}});
}

Result<std::string> parse_signing_request(const Bytes& body) {
  TRY_ASSIGN(const json::value value, parse_json(body));
  if (const json::string* bare = value.if_string()) return std::string(bare->data(), bare->size());
  if (!value.is_object()) return fail(ErrorCode::kMalformed, "body is neither a JSON object nor a text");
  return text_member(value.get_object(), kSigningRequestKey);
}

KuraPayload to_payload(const DeviceCertificate& message) {
  json::array chain;
  for (const std::string& pem : message.chain_pem) chain.emplace_back(pem);
  return with_json_body({{kPidKey, message.keystore_pid}, {kAliasKey, message.alias}, {kChainKey, std::move(chain)}});
}

Result<DeviceCertificate> parse_device_certificate(const KuraPayload& payload) {
  TRY_ASSIGN(const json::object body, parse_object(payload));
  // The private key never leaves the device, so it never comes to it either.
  if (const json::value* key = body.if_contains(kPrivateKeyKey); key != nullptr && !key->is_null()) {
    return fail(ErrorCode::kMalformed, "body: {} is not taken from outside", kPrivateKeyKey);
  }
  DeviceCertificate message;
  TRY_ASSIGN(message.keystore_pid, name_member(body, kPidKey));
  TRY_ASSIGN(message.alias, name_member(body, kAliasKey));
  const json::value* member = body.if_contains(kChainKey);
  const json::array* chain = member == nullptr ? nullptr : member->if_array();
  if (chain == nullptr || chain->empty()) return fail(ErrorCode::kMalformed, "body: {} is not a list", kChainKey);
  for (const json::value& entry : *chain) {
    const json::string* pem = entry.if_string();
    if (pem == nullptr || pem->empty())
      return fail(ErrorCode::kMalformed, "body: {} is not a list of texts", kChainKey);
    message.chain_pem.emplace_back(pem->data(), pem->size());
  }
  return message;
}

KuraPayload to_payload(const TrustedCertificate& message) {
  return with_json_body(
      {{kPidKey, message.keystore_pid}, {kAliasKey, message.alias}, {kCertificateKey, message.certificate_pem}});
}

Result<TrustedCertificate> parse_trusted_certificate(const KuraPayload& payload) {
  TRY_ASSIGN(const json::object body, parse_object(payload));
  TrustedCertificate message;
  TRY_ASSIGN(message.keystore_pid, name_member(body, kPidKey));
  TRY_ASSIGN(message.alias, name_member(body, kAliasKey));
  TRY_ASSIGN(message.certificate_pem, text_member(body, kCertificateKey));
  return message;
}

}  // namespace fleet::protocol
