// What an attempt needs before anything of it is written, and what stands in its way. Internal to
// provisioner/provisioning.
#pragma once

#include <optional>
#include <string>

#include "core/crypto/certificate.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {

struct Executor::Opening {
  Profile profile;
  Account account;
  protocol::Configurations configurations;
  std::vector<Package> packages;
  std::optional<crypto::PublicKey> key;            // none: the device has not told it yet
  std::optional<IssuedCertificate> certificate{};  // for the key, once certify() has been called
  bool newly_issued = false;
  int attempt_number = 1;
  // edc §4 "Without": a device that logs in with a password gets a certificate only if its profile says so.
  bool needs_certificate() const {
    return account.credentials == OwnerCredentials::kX509 || profile.wants_certificate;
  }
};

// The platform cannot serve the device: for the operator.
RefuseHello not_now(const std::string& why);
// What the device said cannot be used.
RefuseHello bad_request(const std::string& why);

}  // namespace fleet::provisioner
