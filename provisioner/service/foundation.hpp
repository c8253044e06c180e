// What serve() and check() both read before anything runs: settings, PKI, verifier key.
#pragma once

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "provisioner/broker/managed_broker_files.hpp"
#include "provisioner/ca/pki.hpp"
#include "provisioner/service/settings.hpp"

namespace fleet::provisioner {

struct Foundation {
  Settings settings;
  Pki pki;
  Bytes verifier_key;  // 32 bytes
  ManagedBrokerSettings broker;
  std::string packages_url;  // without a slash at its end; empty: nobody has said where devices could get packages
};

// "https://host:port"; an IPv6 address without brackets gets them.
std::string packages_url_of(const std::string& host, int port);

// Every error names the file and says what to do.
Result<Foundation> load_foundation(const DataLayout& layout);

}  // namespace fleet::provisioner
