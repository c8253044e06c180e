// Whom the agent trusts, and at what time.
#pragma once

#include <string>
#include <vector>

#include "agent/session/owner_connection.hpp"
#include "agent/settings/settings.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/tls.hpp"

namespace fleet::agent {

// When this program was built (SOURCE_DATE_EPOCH if that was set): the floor of the verification time.
WallTime build_time();

// The anchors that settings name. An empty list of broker roots means the system's store.
struct Trust {
  std::vector<crypto::Certificate> broker_roots;    // broker-ca-file, else platform-root-file
  std::vector<crypto::Certificate> platform_roots;  // platform-root-file, else broker-ca-file
};

// kInvalidArgument names the setting whose file holds no certificates.
Result<Trust> load_trust(const Settings& settings);

// A context for the URL of a broker; an empty one if it is not TLS. `when`: the true time or an earlier one, since a
// device may have no clock; certificates of the time after it are accepted, expired ones are not.
Result<crypto::TlsContext> provision_tls(const mqtt::BrokerUrl& url, const Trust& trust, WallTime when);
// With the client certificate of the generation. Its CAs are those that were delivered, else those of the provision
// broker.
Result<crypto::TlsContext> owner_tls(const OwnerConnection& owner, const Trust& trust, WallTime when);

}  // namespace fleet::agent
