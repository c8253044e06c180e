// The provisioner's PKI in a folder:
//
//   root ─┬─ platform CA ── signing leaf      signs what the provisioner tells devices (edc §4.2)
//         ├─ device CA ── device certificates
//         └─ broker CA ── broker certificate  the TLS server of the provision broker
//
// root, platform-ca, device-ca, broker-ca, signing and broker have each a NAME.crt (PEM, 0644) and a NAME.key (PKCS#8
// PEM, 0600); the folder is 0700. signing.crt and broker.crt hold the leaf and then its CA, ready to be shown to a
// peer. The keys root.key, platform-ca.key and broker-ca.key are needed to renew only, and may be kept elsewhere.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/key.hpp"

namespace fleet::provisioner {

inline constexpr Millis kYear = std::chrono::hours(24 * 365);

struct PkiOptions {
  std::string name = "Fleet";             // in front of the common names: "Fleet Root CA"; 1..40 characters
  std::vector<std::string> broker_hosts;  // DNS names and IP addresses that devices reach the broker by; at least one
  Millis root_validity = 20 * kYear;
  Millis ca_validity = 10 * kYear;
  Millis signing_validity = kYear;
  Millis broker_validity = kYear;
};

// Makes a whole PKI with P-256 keys below `folder`, parents included. All of it is there afterwards or nothing: it is
// built in a hidden folder beside `folder` and renamed in one step. kAlreadyExists if `folder` has anything in it,
// kInvalidArgument for names and validities that cannot work. Certificates begin an hour before `now`, for clocks that
// are behind.
Result<void> init_pki(const std::filesystem::path& folder, const PkiOptions& options, WallTime now);

// The PKI, checked and ready for use.
struct Pki {
  crypto::Certificate root;
  crypto::Issuer signing;         // not an issuer of certificates: the leaf and key that sign commands
  std::string signing_chain_pem;  // leaf and platform CA, without the root: the body of CERT-V1
  crypto::Issuer device_ca;
  std::string device_chain_pem;  // what stands behind a device certificate: the device CA, without the root
  crypto::Certificate broker;
  std::string broker_chain_pem;  // leaf and broker CA
  Secret broker_key_pem;
};

// Reads and checks a PKI; changes nothing. Each failure names the file and says what to do: kNotFound for a missing
// file, kMalformed for a broken one, kPermissionDenied for a key that others may read, kConflict for a key that does
// not belong to its certificate, kExpired for a certificate that is not valid at `now`, kUnauthenticated for one that
// does not chain up to the root or is not of the kind its name says.
Result<Pki> load_pki(const std::filesystem::path& folder, WallTime now);

// Replace a leaf certificate and its key by new ones with the same common name, whether the old ones are still valid or
// not. After a crash at any point load_pki finds the old pair or the new one. kConflict while another renewal runs,
// errors of load_pki for the CA in charge. A service that is running keeps the old pair until it loads again; devices
// refuse another signing leaf within an attempt (edc §4.2), so renew that one between attempts.
Result<void> renew_broker_certificate(const std::filesystem::path& folder, const std::vector<std::string>& broker_hosts,
                                      WallTime now, Millis validity = kYear);
Result<void> renew_signing_certificate(const std::filesystem::path& folder, WallTime now, Millis validity = kYear);

// A device certificate (edc §4.4) with CN=`client_id` for `key`, from `now` - 5 min until `now` + `validity`, at most
// as long as the device CA. kInvalidArgument for a key that devices may not have. Thread-safe.
Result<crypto::NewCertificate> issue_device_certificate(const crypto::Issuer& device_ca, std::string_view client_id,
                                                     const crypto::PublicKey& key, Millis validity, WallTime now);

}  // namespace fleet::provisioner
