// The typed messages of provisioning (edc §3, §4): what a payload's metrics mean, in both directions.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/secret.hpp"
#include "core/protocol/kura_payload.hpp"

namespace fleet::protocol {

inline constexpr std::size_t kMaxProvSize = 64 * 1024;  // edc §2
inline constexpr std::string_view kProvVersion = "PROV-V1";

// Response codes (edc §3, §4.1).
enum class ResponseCode : std::int32_t {
  kRecorded = 200,
  kAccepted = 202,
  kBadRequest = 400,
  kUnauthorized = 401,
  kForbidden = 403,
  kNotFound = 404,
  kAlreadyProvisioned = 409,
  kGone = 410,
  kTooMany = 429,
  kError = 500,
  kNotNow = 503,
};

// The device's hello (edc §4.1).
struct Prov {
  std::string username;
  Secret password;
  std::optional<Secret> activation_key;
  std::optional<std::string> request_id;  // present: the device wants an answer
  std::optional<Bytes> nonce;             // 16..32 bytes
  std::optional<Bytes> csr;               // PKCS#10, DER
  std::optional<std::string> reason;
  std::map<std::string, std::string> facts;  // the BIRTH metrics: every other STRING metric; see parse_prov
};

// Builds the payload of a PROV; `client_id` becomes requester.client.id if request_id is there.
KuraPayload to_payload(const Prov& prov, std::string_view client_id, std::int64_t timestamp_ms);

// Reads and checks a PROV by edc §4.1 against the client id that sent it. kMalformed says what is wrong; no secret is
// in the message. Does not check size: decode() was given kMaxProvSize. Facts beyond the first 64, and those whose name
// or value has more than 256 bytes, are left out.
Result<Prov> parse_prov(const KuraPayload& payload, std::string_view client_id);

// How a malformed PROV can still be answered, so that its device gets its 400 (edc §4.1): what of it is there and has
// its form.
struct ProvReturn {
  std::optional<std::string> request_id;
  std::optional<Bytes> nonce;
};
// Also of bytes that decode() refuses: a damaged or oversized payload, as far as it can be read, and Kura's JSON form
// (edc §2). Inflates no more than kMaxProvSize.
ProvReturn return_of_malformed(std::string_view bytes);

// A reply (edc §3): response code, message on errors, and the metrics and body beyond that.
struct Reply {
  std::int32_t code = 0;
  std::string error;                          // response.exception.message, empty if none
  std::optional<std::int32_t> retry_after_s;  // retry.after, PROV answers only
  std::optional<Bytes> body;
};

KuraPayload to_payload(const Reply& reply, std::int64_t timestamp_ms);
// kMalformed if response.code is missing or of another type.
Result<Reply> parse_reply(const KuraPayload& payload);

// What every request of the provisioner carries besides its own metrics and its signature.
struct RequestHead {
  std::string request_id;
  std::string requester_client_id;
  std::optional<Bytes> nonce;
};
void add_head(KuraPayload& payload, const RequestHead& head);
// kMalformed if request.id or requester.client.id is missing or ill-formed.
Result<RequestHead> parse_head(const KuraPayload& payload);

// CERT-V1 PUT certificates (edc §4.2).
struct SigningCertificates {
  std::string chain_pem;  // leaf first, without the root
};
KuraPayload to_payload(const SigningCertificates& message);
Result<SigningCertificates> parse_signing_certificates(const KuraPayload& payload);

inline constexpr std::string_view kKeystorePid = "org.eclipse.kura.core.keystore.SSLKeystore";
inline constexpr std::string_view kOwnerAlias = "ssl-owner";
// "ssl-owner-ca-1", … (1-based)
std::string owner_ca_alias(std::size_t number);

// KEYS-V1 POST keystores/entries/csr (edc §4.4): asks the device for a PKCS#10 request over its key.
struct SigningRequestWish {
  std::string keystore_pid, alias, signature_algorithm, attributes;
};
KuraPayload to_payload(const SigningRequestWish& message);
// The PEM text in the body of the reply: {"signingRequest":PEM}, or a bare JSON string as stock Kura sends it;
// otherwise kMalformed.
Result<std::string> parse_signing_request(const Bytes& body);

// KEYS-V2 POST keystores/entries/privatekey (edc §4.4).
struct DeviceCertificate {
  std::string keystore_pid, alias;
  std::vector<std::string> chain_pem;  // leaf first, one certificate each, no root
};
KuraPayload to_payload(const DeviceCertificate& message);
// kMalformed if the body does not have its form (pid and alias must be fit for a file name, as is_pid says), or brings
// a private key: that one never travels. Says nothing about the certificates; the same below.
Result<DeviceCertificate> parse_device_certificate(const KuraPayload& payload);

// KEYS-V1 POST keystores/entries/certificate (edc §4.4).
struct TrustedCertificate {
  std::string keystore_pid, alias, certificate_pem;
};
KuraPayload to_payload(const TrustedCertificate& message);
Result<TrustedCertificate> parse_trusted_certificate(const KuraPayload& payload);

}  // namespace fleet::protocol
