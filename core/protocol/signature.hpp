// What a signature of the provisioner covers, and where it lies in the payload (edc §4.3). Pure: the signing itself is
// in core/crypto.
#pragma once

#include <string>
#include <string_view>

#include "core/protocol/kura_payload.hpp"

namespace fleet::protocol {

inline constexpr std::string_view kSignatureMetric = "signature";
inline constexpr std::string_view kAlgorithmMetric = "signature.algorithm";

// The bytes to sign for `payload` published on `topic` ("KURA-SIGNED-V1\0" …). Covers signature.algorithm, so add that
// first; ignores the metric `signature`.
Bytes signing_input(std::string_view topic, const KuraPayload& payload);

struct SignatureParts {
  std::string algorithm;  // ES256, ES384, EdDSA, RS256
  Bytes signature;
};
// kUnauthenticated if either metric is missing or has another type.
Result<SignatureParts> signature_of(const KuraPayload& payload);

}  // namespace fleet::protocol
