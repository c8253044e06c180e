// The provisioner as a service: what `provisioner init` and `provisioner serve` do.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "provisioner/service/settings.hpp"

namespace fleet::provisioner {

struct InitOptions {
  DataLayout layout;
  std::vector<std::string> hosts;  // names and addresses of the provision broker, for its certificate
  ListenAddress listen{"0.0.0.0", 8883};
  std::string account = "provision";
};

// Makes a data folder: settings, PKI, verifier key. All or nothing; kAlreadyExists if one is there.
Result<void> init(const InitOptions& options);

// Reads settings, PKI and plugin as serve() would, and says everything that would stop it.
Result<void> check(const DataLayout& layout);

// What a Mosquitto under another supervisor needs in its configuration.
struct BrokerConfiguration {
  std::string text;
  bool managed = false;  // the settings say that the provisioner runs a Mosquitto itself, so this would be a second one
};
// Errors of check().
Result<BrokerConfiguration> broker_configuration(const DataLayout& layout);

// New leaf certificates and keys from the PKI's own CAs, in force with the next start of the service. Errors of
// renew_signing_certificate and renew_broker_certificate (provisioner/ca/pki.hpp).
Result<void> renew_signing(const DataLayout& layout);
Result<void> renew_broker(const DataLayout& layout, const std::vector<std::string>& hosts);

// Runs until SIGTERM or SIGINT: lock, store, admin socket, broker, provisioning. Returns when all is stopped in
// order; an error if it could not start or had to give up.
Result<void> serve(const DataLayout& layout);

}  // namespace fleet::provisioner
