// Private and public keys, and signatures with them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"

struct evp_md_ctx_st;
struct evp_pkey_st;

namespace fleet::crypto {

// A public key. Cheap to copy (shared, immutable), usable from any thread.
class PublicKey {
 public:
  // Takes over an OpenSSL key that is not null.
  explicit PublicKey(std::shared_ptr<evp_pkey_st> key);

  // A SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), as PEM "PUBLIC KEY" or DER. kMalformed.
  static Result<PublicKey> from_pem(std::string_view pem);
  static Result<PublicKey> from_spki_der(std::string_view der);
  // The same for keys of P-256 and P-384 in the form that spki_der() writes; nullopt for all others, whether good or bad.
  static std::optional<PublicKey> from_ec_spki_der(std::string_view der);
  // The key of P-256 in that form that has signed `bytes` with SHA-256 (ECDSA in DER); nullopt for all others, good or bad.
  static std::optional<PublicKey> from_proven_spki_der(std::string_view der, std::string_view bytes,
                                                       std::string_view signature);

  // One form for one key: points of P-256 and P-384 are written uncompressed, however they came.
  Bytes spki_der() const;
  // SHA-256 of the SubjectPublicKeyInfo: the name of a key in stores and pins. 32 bytes.
  Bytes spki_sha256() const;

  // Ok if edc §4.4 allows the key for a device: P-256, P-384, Ed25519, RSA of 2048 to 8192 bits; else kInvalidArgument.
  Result<void> check_device_policy() const;

  // ES256, ES384, EdDSA or RS256, by the key's type; "" for a key that edc has no signature algorithm for.
  std::string_view algorithm() const;

  // Verifies a signature of edc §4.3. `algorithm` is ES256, ES384, EdDSA or RS256 and must fit the key (ES256 = P-256);
  // ECDSA signatures are DER. kUnauthenticated if it does not verify, kUnsupported for another algorithm.
  Result<void> verify(std::string_view algorithm, std::string_view bytes, std::string_view signature) const;

  // True if both are the same key.
  friend bool operator==(const PublicKey& a, const PublicKey& b);

  // nullptr only if memory has run out.
  evp_pkey_st* native() const;

 private:
  struct State;
  explicit PublicKey(std::shared_ptr<State> state) : state_(std::move(state)) {}

  std::shared_ptr<State> state_;
};

enum class KeyType { kP256, kP384, kEd25519, kRsa2048 };

// A private key of a type that edc §4.3 signs with. Cheap to copy (shared, immutable), usable from any thread.
class PrivateKey {
 public:
  // Takes over an OpenSSL key that is not null and has its private half.
  explicit PrivateKey(std::shared_ptr<evp_pkey_st> key);

  static Result<PrivateKey> generate(KeyType type = KeyType::kP256);
  // PKCS#8 or traditional PEM, unencrypted. kMalformed, or kUnsupported for a type that edc does not sign with. The
  // error never quotes the input.
  static Result<PrivateKey> from_pem(std::string_view pem);
  // PKCS#8 PEM.
  Secret to_pem() const;

  const PublicKey& public_key() const { return public_key_; }
  // ES256, ES384, EdDSA or RS256, by the key's type.
  std::string_view algorithm() const { return public_key_.algorithm(); }
  // Signs as in edc §4.3 with `algorithm()`.
  Result<Bytes> sign(std::string_view bytes) const;
  // Ok if this is the private half of `key`, proven by a signature: a key file can hold a public half that is not its
  // own. kConflict otherwise.
  Result<void> check_fits(const PublicKey& key) const;

  evp_pkey_st* native() const { return public_key_.native(); }

 private:
  PublicKey public_key_;  // the same OpenSSL object; nothing that PublicKey does touches its private half
  // Ready to sign, and only ever copied: preparing it takes half as long as a signature. None for a key that cannot sign.
  std::shared_ptr<evp_md_ctx_st> signer_;
};

}  // namespace fleet::crypto
