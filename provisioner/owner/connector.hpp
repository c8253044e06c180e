// Handing the credentials of one device over to the owner's broker, and taking them back, by whichever way its account
// names.
#pragma once

#include <atomic>
#include <string>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

struct OwnerLogin {
  std::string account;
  std::string client_id;
  std::string username;
  Secret password;
  bool strict = true;  // good for that client id only
};

// Returns when the owner's broker has the login, so that the device may be told it; blocks for as long as that takes, at
// most kConnectorLimit. Idempotent: what was handed over before is replaced. kUnavailable: try again later; other errors
// are likely to need somebody to look. `stopping` ends it early. Thread-safe.
inline constexpr Seconds kConnectorLimit{30};
Result<void> hand_over(const OwnerConnector& connector, const OwnerLogin& login, const std::atomic<bool>& stopping);

// The same for a login that shall be good no more; its password is not looked at. Ok also if the broker does not have it.
// A command that does not know of taking back sets a password that nobody knows.
Result<void> take_back(const OwnerConnector& connector, const OwnerLogin& login, const std::atomic<bool>& stopping);

}  // namespace fleet::provisioner
