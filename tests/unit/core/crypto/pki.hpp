// A small PKI for tests, made anew by each program, and the `openssl` command as the other party.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/crypto/certificate.hpp"
#include "core/crypto/key.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

namespace fleet::test {

using crypto::Certificate;
using crypto::CertificateProfile;
using crypto::CertificateRequest;
using crypto::Issuer;
using crypto::PrivateKey;

inline constexpr Millis kHour = std::chrono::hours(1);
inline constexpr Millis kDay = 24 * kHour;

// The value, or an exception that fails the test with the error's text.
template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

// A root for `days` from `now` - 1 h.
Issuer make_root(std::string_view name, WallTime now, int days = 3650);

// A certificate below `issuer` for a new P-256 key, from `now` - 1 h for `days`; servers are "localhost" and 127.0.0.1.
Issuer make_below(const Issuer& issuer, CertificateProfile profile, std::string_view name, WallTime now,
                  int days = 365);

// root → platform CA → signing leaf; root → device CA → device; root → broker CA → server.
struct Pki {
  WallTime now = wall_now();
  Issuer root = make_root("Test Root CA", now);
  Issuer platform_ca = make_below(root, CertificateProfile::kPlatformCa, "Test Platform CA", now);
  Issuer signing = make_below(platform_ca, CertificateProfile::kCommandSigning, "Test Signing", now);
  Issuer device_ca = make_below(root, CertificateProfile::kDeviceCa, "Test Device CA", now);
  Issuer device = make_below(device_ca, CertificateProfile::kDevice, "02FC00000001", now);
  Issuer broker_ca = make_below(root, CertificateProfile::kBrokerCa, "Test Broker CA", now);
  Issuer server = make_below(broker_ca, CertificateProfile::kServer, "localhost", now);
};

// Writes `text` and returns the path as a string.
std::string put(const TempFolder& folder, const std::string& name, std::string_view text);
std::string get(const std::string& path);

// Runs `openssl ARGUMENTS…`; throws with its errors if it fails.
std::string openssl(std::vector<std::string> arguments);
// The same, true if it ends with exit code 0.
bool openssl_accepts(std::vector<std::string> arguments);

}  // namespace fleet::test
