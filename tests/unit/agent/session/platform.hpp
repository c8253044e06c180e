// A platform in memory: its PKI, and a provisioner that speaks the protocol with one device.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/crypto/certificate.hpp"
#include "core/protocol/deploy.hpp"
#include "core/protocol/message.hpp"

namespace fleet::agent::test {

inline constexpr std::string_view kAccount = "provision";
inline constexpr std::string_view kClientId = "02FC00000001";
inline constexpr std::string_view kProvisioner = "provisioner";
inline const WallTime kToday = std::chrono::sys_days(std::chrono::year(2026) / 6 / 1);
inline const WallTime kLastYear = kToday - std::chrono::days(365);
inline const WallTime kNextYear = kToday + std::chrono::days(365);

struct Message {
  std::string topic;
  Bytes payload;
};

// A leaf with its key and the chain that goes with it (leaf first, no root).
struct Signer {
  crypto::PrivateKey key;
  std::vector<crypto::Certificate> chain;
};

struct Pki {
  crypto::Issuer root, platform_ca, device_ca;
  Signer signer;
  crypto::PrivateKey device_key;
  Bytes csr_der;

  Pki();
  Signer make_signer(const crypto::Issuer& ca,
                     crypto::CertificateProfile profile = crypto::CertificateProfile::kCommandSigning,
                     WallTime not_before = kLastYear, WallTime not_after = kNextYear) const;
  crypto::Certificate device_certificate(std::string_view cn, const crypto::PublicKey& key,
                                         WallTime not_after = kNextYear) const;
};
const Pki& pki();  // made once
crypto::Issuer make_root(std::string_view cn);
crypto::Issuer make_ca(std::string_view cn, crypto::CertificateProfile profile, const crypto::Issuer& issuer);

std::string owner_xml(bool with_password);

// One request as the provisioner means it, before head and signature.
struct Draft {
  std::string app, method, resource;
  protocol::KuraPayload payload;
};
Draft cert_draft(const Signer& signer);
Draft key_draft(const crypto::Certificate& certificate, std::string alias = std::string(protocol::kOwnerAlias));
Draft owner_ca_draft(const crypto::Certificate& certificate, std::string alias = protocol::owner_ca_alias(1));
Draft conf_draft(std::string xml);
Draft download_draft(const protocol::DownloadRequest& request);
Draft install_draft(const protocol::InstallRequest& request);
Draft inline_draft(std::string file_name, Bytes content);

// Signs `payload` for `topic`.
protocol::KuraPayload sign(protocol::KuraPayload payload, std::string_view topic, const crypto::PrivateKey& key);
// Draft + head + signature, as it goes over the wire.
Message request(Draft draft, const std::string& rid, const Bytes& nonce, const Signer& signer = pki().signer);
// An answer to PROV.
Message prov_answer(const protocol::Reply& reply, const std::string& request_id, const Bytes& nonce,
                    const Signer& signer = pki().signer);
std::string request_topic(const Draft& draft);

// The provisioner: pipelines all requests of its plan, repeats what is unanswered for a PROV with the same nonce, ends
// with the 200. Messages that it sends are collected in `outbox`.
class Platform {
 public:
  void receive(const Message& message);

  std::vector<Message> outbox;
  std::vector<Bytes> nonces;             // of the attempts, in order
  std::vector<protocol::Prov> provs;     // all of them
  std::map<std::string, Bytes> replies;  // the first reply by rid
  std::map<std::string, std::int32_t> codes;
  std::vector<protocol::DeployNotification> notifications;  // all of them
  std::vector<std::string> inconsistent_replies;  // rids answered in two ways
  int completions = 0;
  bool silent = false;           // hears everything, says nothing
  bool keeps_final_200 = false;  // never sends the last word
  std::vector<Draft> plan;       // empty: the default plan for the device's CSR

 private:
  struct Step {
    std::string rid;
    Message message;
  };
  void open_attempt(const protocol::Prov& prov);
  void answer(std::int32_t code);

  std::vector<Step> steps_;
  bool completed_ = false;
  bool failed_ = false;
  std::string request_id_;
  Bytes nonce_;
};

}  // namespace fleet::agent::test
