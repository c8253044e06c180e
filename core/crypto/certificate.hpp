// X.509 certificates (RFC 5280), certificate signing requests (RFC 2986) and chains of trust.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "core/crypto/key.hpp"

struct x509_st;

namespace fleet::crypto {

// One certificate. Cheap to copy (shared, immutable), usable from any thread.
class Certificate {
 public:
  // Takes over an OpenSSL certificate that is not null and has a key and dates that OpenSSL can read.
  explicit Certificate(std::shared_ptr<x509_st> certificate);

  // Exactly one certificate; text around it is skipped. kMalformed.
  static Result<Certificate> from_pem(std::string_view pem);
  static Result<Certificate> from_der(std::string_view der);
  // All certificates of a PEM text in their order; kMalformed if there is none, one is broken, or something else (such
  // as a private key) stands between them; kLimitExceeded above `limit`.
  static Result<std::vector<Certificate>> chain_from_pem(std::string_view pem, std::size_t limit = 10);

  std::string to_pem() const;
  Bytes to_der() const;
  // Lower-case hex, as `openssl x509 -serial` but lower case.
  std::string serial() const;
  // Common names, empty if there is none.
  std::string subject_cn() const;
  std::string issuer_cn() const;
  WallTime not_before() const;
  WallTime not_after() const;
  bool is_ca() const;
  bool is_self_signed() const;
  const PublicKey& public_key() const { return parts_->key; }
  Bytes sha256() const;  // of the DER, 32 bytes
  // The DNS names and then the IP addresses of the subject alternative name, in their order; IPv6 as RFC 5952 has it,
  // without brackets.
  std::vector<std::string> host_names() const;

  // edc §4.2: no CA, keyUsage digitalSignature, extendedKeyUsage exactly codeSigning; kUnauthenticated says what is
  // wrong.
  Result<void> check_command_signing() const;

  // True if this certificate's extendedKeyUsage, if it has one, lets it issue certificates for command signing.
  bool may_issue_command_signing() const;

  x509_st* native() const { return parts_->certificate.get(); }

 private:
  struct Parts {
    std::shared_ptr<x509_st> certificate;
    PublicKey key;
  };
  std::shared_ptr<const Parts> parts_;
};

std::string to_pem(const std::vector<Certificate>& chain);
// One PEM block (RFC 7468); `label` as "CERTIFICATE REQUEST".
std::string pem_of(std::string_view label, std::string_view der);

// edc §4.2 for the whole chain of a CERT-V1 (leaf first): the leaf passes check_command_signing, and no CA above it is
// restricted to another purpose, as the CA that issues device certificates is (extendedKeyUsage clientAuth).
// kUnauthenticated. Says nothing about trust: call verify_chain too.
Result<void> check_command_signing_chain(const std::vector<Certificate>& chain);

// Verifies that `chain` (leaf first) ends in one of `roots` at `when`: signatures, validity, CA flags, path lengths,
// name constraints, keys of 112 bits of security or more. The roots need not be self-signed. At most 8 intermediates.
// The purpose of the leaf is checked separately (check_command_signing_chain) or by TLS. kExpired if only time is
// wrong, kUnauthenticated otherwise; the message names the certificate by its CN. What was verified before in this process, for
// the same certificates and roots, is not worked out again. Thread-safe.
Result<void> verify_chain(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots, WallTime when);

// As verify_chain without an anchor (edc `ca-authentication: false`): each certificate of the chain must be signed by
// the next and all be valid at `when`; the last one is taken as it is.
Result<void> verify_chain_unanchored(const std::vector<Certificate>& chain, WallTime when);

// A certificate signing request.
class Csr {
 public:
  // A PKCS#10 with subject CN=`common_name`, signed by `key`. DER. kInvalidArgument for a bad common name.
  static Result<Bytes> create(const PrivateKey& key, std::string_view common_name);

  // Parses DER (at most 16 KiB), checks that the key is one that check_device_policy allows, and the self-signature
  // (proof of possession). kMalformed, kInvalidArgument or kUnauthenticated. Subject and extensions are ignored (edc
  // §4.4).
  static Result<Csr> from_der(std::string_view der);
  // The same from PEM.
  static Result<Csr> from_pem(std::string_view pem);

  // The key of a CSR that create() made, as PublicKey::spki_der(): nothing of it is checked again. kMalformed.
  static Result<Bytes> spki_of_own(std::string_view der);

  const PublicKey& public_key() const { return key_; }

 private:
  explicit Csr(PublicKey key) : key_(std::move(key)) {}
  PublicKey key_;
};

// What a new certificate is for: fixes basicConstraints, keyUsage and extendedKeyUsage.
enum class CertificateProfile {
  kRootCa,          // CA, keyCertSign cRLSign
  kPlatformCa,      // CA, pathlen 0: issues signing leaves
  kDeviceCa,        // CA, pathlen 0, extendedKeyUsage clientAuth
  kBrokerCa,        // CA, pathlen 0, extendedKeyUsage serverAuth
  kCommandSigning,  // leaf, digitalSignature, codeSigning
  kDevice,          // leaf, digitalSignature, clientAuth
  kServer,          // leaf, digitalSignature, serverAuth, subjectAltName
};

struct CertificateRequest {
  CertificateProfile profile;
  std::string common_name;             // 1..64 characters
  std::vector<std::string> san_names;  // DNS names or IP addresses, kServer only
  WallTime not_before;
  WallTime not_after;
};

// The one that signs: a CA's certificate and its key.
struct Issuer {
  Certificate certificate;
  PrivateKey key;
};

// What has just been issued, and what of it is known without reading it again.
struct NewCertificate {
  Bytes der;
  std::string serial;  // as Certificate::serial()
  WallTime not_before, not_after;
  std::string to_pem() const;
};

// A new certificate for `subject_key`. Serial: 20 bytes, of which the first 7 order it by notBefore and 104 bits are random.
// notAfter never exceeds the issuer's. X.509 v3 with subject and authority key identifiers. kInvalidArgument for a bad common
// name, a bad or missing SAN, an empty interval, an issuer that is no CA, or profile kRootCa.
Result<Certificate> issue(const CertificateRequest& request, const PublicKey& subject_key, const Issuer& issuer);
// The same for whom it is enough to pass it on: reading it takes OpenSSL longer than issuing it does us.
Result<NewCertificate> issue_unread(const CertificateRequest& request, const PublicKey& subject_key,
                                    const Issuer& issuer);
// A self-signed root (profile kRootCa); it needs no authority key identifier (RFC 5280 §4.2.1.1).
Result<Certificate> issue_root(const CertificateRequest& request, const PrivateKey& key);

}  // namespace fleet::crypto
