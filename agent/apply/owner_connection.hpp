// How to reach the owner's broker: what the delivered configuration says about it (edc §4.6), checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/key.hpp"
#include "core/mqtt/client.hpp"
#include "core/protocol/esf_xml.hpp"

namespace fleet::agent {

// Either username and password are there, or chain and key.
struct OwnerConnection {
  std::uint64_t generation = 0;
  mqtt::BrokerUrl broker_url;
  std::string account;    // the owner account
  std::string client_id;  // empty: the device's own
  std::optional<std::string> username;
  std::optional<Secret> password;
  Seconds keep_alive{30};
  std::vector<crypto::Certificate> chain;  // leaf first
  std::optional<crypto::PrivateKey> key;
  std::vector<crypto::Certificate> roots;  // CAs of the owner's broker; empty: none were delivered
};

// Reads the component MqttDataTransport. kInvalidArgument names the property that is missing or wrong. Leaves chain,
// key and roots empty.
Result<OwnerConnection> parse_owner_connection(const protocol::Configurations& configurations);

}  // namespace fleet::agent
