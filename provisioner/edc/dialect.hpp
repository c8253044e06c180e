// What the provisioner says to devices in EDC over MQTT (edc §3, §4): topics, payloads, signatures.
#pragma once

#include <string>

#include "core/base/result.hpp"
#include "core/crypto/key.hpp"
#include "core/protocol/kura_payload.hpp"
#include "provisioner/provisioning/dialect.hpp"

namespace fleet::provisioner {

// Immutable, thread-safe. Every message carries `prov.nonce` if there is one, and a signature with `signing_key` (edc
// §4.3).
class EdcDialect final : public Dialect {
 public:
  // `account` of the provision broker, `provisioner_id` = requester.client.id; both have their form (edc §1).
  EdcDialect(std::string account, std::string provisioner_id, crypto::PrivateKey signing_key);

  // kInvalidArgument if a configuration cannot be written as XML.
  Result<Outgoing> step_message(const std::string& client_id, const Bytes& nonce, const std::string& rid,
                                const StepContent& content, WallTime now) const override;
  Result<Outgoing> answer_message(const std::string& client_id, const Bytes& nonce, const std::string& hello_id,
                                  const AnswerDetails& details, WallTime now) const override;

 private:
  Result<Outgoing> sign(const std::string& client_id, std::string topic, protocol::KuraPayload payload) const;

  std::string account_;
  std::string provisioner_id_;
  crypto::PrivateKey signing_key_;
};

}  // namespace fleet::provisioner
