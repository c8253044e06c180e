// A small PKI and the contents of generations for the tests of agent/apply.
#pragma once

#include <doctest/doctest.h>

#include "agent/apply/generation.hpp"
#include "agent/apply/state_folder.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::agent {

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

inline protocol::Configurations owner_configuration(std::string broker_url = "mqtts://owner.example.com:8883") {
  const auto text = [](std::string name, std::string value) {
    return protocol::Property{std::move(name), protocol::PropertyType::kString, false, false, {std::move(value)}};
  };
  protocol::ComponentConfiguration transport{std::string(protocol::kMqttTransportPid),
                                             {text("broker-url", std::move(broker_url)),
                                              text("topic.context.account-name", "acme"), text("client-id", "gw-1")}};
  transport.properties.push_back({"keep-alive", protocol::PropertyType::kInteger, false, false, {"45"}});
  return {transport, {"com.example.App", {text("interval", "5")}}};
}

// Certificates for a device key, as KEYS-V2 would bring them.
struct Pki {
  crypto::PrivateKey ca_key = *crypto::PrivateKey::generate();
  crypto::Certificate ca = *crypto::issue_root(
      {crypto::CertificateProfile::kRootCa, "Test root", {}, wall_now() - Seconds(60), wall_now() + Seconds(3600)},
      ca_key);

  Staged staged(const crypto::PrivateKey& device_key, std::string broker_url = "mqtts://owner.example.com:8883") const {
    const auto leaf = crypto::issue(
        {crypto::CertificateProfile::kDevice, "gw-1", {}, wall_now() - Seconds(60), wall_now() + Seconds(3600)},
        device_key.public_key(), {ca, ca_key});
    REQUIRE(leaf);
    Staged staged;
    staged.device_chain_pem = {leaf->to_pem()};
    staged.trusted_pem = {{"ssl-owner-ca-1", ca.to_pem()}};
    staged.configurations = owner_configuration(std::move(broker_url));
    return staged;
  }
};

}  // namespace fleet::agent
