// The owner's side of a password account: a broker that knows verifiers only, and the documents that name it.
#pragma once

#include "tests/system/rig.hpp"

namespace fleet::test {

// On the rig's owner port, instead of Rig::start_owner(): our plugin and its password projection.
class PasswordBroker {
 public:
  // `credentials`: "strict" or "loose".
  PasswordBroker(const Rig& rig, const std::string& credentials);

  std::filesystem::path database() const { return folder_ / "passwords.db"; }
  // The exit code of a mosquitto_pub that connects so.
  int connect(const std::string& client_id, const std::string& username, const std::string& password) const;
  std::string log() const;

 private:
  std::filesystem::path folder_;
  int port_;
  std::optional<Process> process_;
};

// The rig's account and profile with `credentials` (lines of the account's spec) instead of certificates.
std::string password_account(const Rig& rig, const std::string& credentials, const std::string& profile_spec = {});

}  // namespace fleet::test
