// A platform played by the test itself, honest or not: a Mosquitto without any plugin, over TLS, with a PKI of its own.
// Real agents connect to it; the test sees what they send and says what it likes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/crypto/certificate.hpp"
#include "core/protocol/deploy.hpp"
#include "tests/system/raw_device.hpp"
#include "tests/system/rig.hpp"

namespace fleet::test {

// A leaf with its key and the chain that goes with it (leaf first, no root).
struct Signer {
  crypto::PrivateKey key;
  std::vector<crypto::Certificate> chain;
};

// One message of the platform before it is signed.
struct Draft {
  std::string topic;
  protocol::KuraPayload payload;
};

class FakePlatform {
 public:
  FakePlatform();

  // An agent that trusts this platform, not started. It pauses 1 s between attempts and gives each one `timeout`.
  std::unique_ptr<AgentRig> agent(const std::string& client_id, const std::string& timeout = "3s");

  // --- the PKI: a root that the agents trust, and one that they do not
  const Signer& signer() const { return *signer_; }
  Signer another_signer() const;  // as good as the first
  Signer stranger() const;  // a complete chain under another root
  // The certificate of an ordinary device under the same root, held by somebody who wants to sign commands with it.
  Signer device_as_signer() const;

  // A certificate for localhost that the agents trust, and its key (PEM files).
  std::filesystem::path server_chain() const { return folder_ / "server.crt"; }
  std::filesystem::path server_key() const { return folder_ / "server.key"; }

  // --- what the agent says
  // The PROV of an attempt other than the last one that was returned; the test ends if none comes.
  protocol::Prov await_hello(const std::string& client_id);
  // The code that the device replied to `rid`; 0 if it has not within `limit`.
  std::int32_t reply_to(const std::string& rid, Millis limit = Millis(5000));
  // The metrics of that reply, none if it has not come.
  protocol::KuraPayload reply_payload(const std::string& rid) const;
  // What devices have told about their packages since the last hello.
  std::vector<protocol::DeployNotification> notifications() const;
  // How often the broker took a connection of that device.
  int connects(const std::string& client_id) const;

  // --- what the platform says, as drafts; each request has a fresh rid in its head, added here
  Draft certificates(const std::string& client_id, const protocol::Prov& hello, const Signer& signer) const;
  Draft device_certificate(const std::string& client_id, const protocol::Prov& hello) const;
  Draft configuration(const std::string& client_id, const protocol::Prov& hello) const;
  Draft download(const std::string& client_id, const protocol::Prov& hello,
                 const protocol::DownloadRequest& package) const;
  Draft inline_package(const std::string& client_id, const protocol::Prov& hello, const std::string& file_name,
                       const Bytes& content) const;
  Draft answer(const std::string& client_id, const protocol::Prov& hello, const protocol::Reply& reply) const;

  // Signs and sends; returns the rid.
  std::string send(Draft draft, const Signer& signer);
  // Sends those bytes.
  void send_bytes(const std::string& topic, std::string_view payload);
  void listen(Millis time) { client_->listen(time); }
  // What devices have sent since the last hello.
  const std::vector<mqtt::Message>& heard() const { return client_->received(); }

  // Its folder, with root.crt, and the certificate of localhost in server.crt and server.key.
  const TempFolder& folder() const { return folder_; }
  int port() const { return port_; }

  // Provisions the device as an honest platform does; false if it did not install the configuration.
  bool provision(const std::string& client_id);

 private:
  crypto::Issuer ca(std::string_view name, crypto::CertificateProfile profile, const crypto::Issuer& issuer) const;
  Draft request(const std::string& client_id, const protocol::Prov& hello, std::string_view app,
                std::string_view method, std::string_view resource, protocol::KuraPayload payload) const;

  TempFolder folder_;
  int port_ = free_port();
  std::optional<crypto::Issuer> root_, platform_ca_, device_ca_;
  std::optional<Signer> signer_;
  std::optional<Process> broker_;
  std::unique_ptr<RawClient> client_;
  Bytes last_nonce_;
};

// The draft as it goes over the wire.
Bytes signed_payload(const Draft& draft, const Signer& signer);
std::string rid_of(const Draft& draft);

}  // namespace fleet::test
