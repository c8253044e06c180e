// How to reach the owner's broker: what the delivered configuration says about it (edc §4.6), checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/key.hpp"
#include "core/mqtt/options.hpp"
#include "core/protocol/esf_xml.hpp"

namespace fleet::agent {

// The will as it was delivered; the defaults are that of edc §5.
struct OwnerWill {
  std::string topic = "$EDC/#account-name/#client-id/MQTT/LWT";  // see fill_in()
  std::optional<Bytes> payload;  // nullopt: a KuraPayload with the time of the connection, and nothing else
  int qos = 0;
  bool retain = false;
};

// Either username and password are there, or chain and key.
struct OwnerConnection {
  std::uint64_t generation = 0;
  mqtt::BrokerUrl broker_url;
  std::string account;    // the owner account
  std::string client_id;  // empty: the device's own
  std::optional<std::string> username;
  std::optional<Secret> password;
  mqtt::Version version = mqtt::Version::k311;
  bool clean_session = true;
  Seconds keep_alive{30};
  Seconds timeout{20};                          // until a connection that does not come about is given up
  std::optional<OwnerWill> will = OwnerWill{};  // nullopt: none
  std::vector<crypto::Certificate> chain;       // leaf first
  std::optional<crypto::PrivateKey> key;
  std::vector<crypto::Certificate> roots;  // CAs of the owner's broker; empty: none were delivered
};

// Reads the component MqttDataTransport. A property that is missing or empty has its default, except that an empty
// lwt.topic means no will, as in Kura. kInvalidArgument names the property that is missing or wrong, and what it must be.
// Leaves chain, key and roots empty.
Result<OwnerConnection> parse_owner_connection(const protocol::Configurations& configurations);

// Puts the names in the place of `#account-name` and `#client-id`. As in Kura a placeholder ends at the next '/' or
// white space, and one with another name stays as it is.
std::string fill_in(std::string_view topic, std::string_view account, std::string_view client_id);

}  // namespace fleet::agent
