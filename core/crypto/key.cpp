#include "core/crypto/key.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/params.h>

#include "core/crypto/digest.hpp"
#include "core/crypto/openssl.hpp"

namespace fleet::crypto {
namespace {

constexpr int kMinRsaBits = 2048;
constexpr int kMaxRsaBits = 8192;

std::shared_ptr<EVP_PKEY> share(EVP_PKEY* key) {
  return {key, EVP_PKEY_free};
}

bool is_known_algorithm(std::string_view algorithm) {
  return algorithm == "ES256" || algorithm == "ES384" || algorithm == "EdDSA" || algorithm == "RS256";
}

std::string describe(const EVP_PKEY* key) {
  std::array<char, 64> curve{};
  if (EVP_PKEY_is_a(key, "EC") == 1 && EVP_PKEY_get_group_name(key, curve.data(), curve.size(), nullptr) == 1) {
    return fmt::format("EC {}", curve.data());
  }
  const char* type = EVP_PKEY_get0_type_name(key);
  return fmt::format("{} {} bits", type != nullptr ? type : "unknown", EVP_PKEY_get_bits(key));
}

// The DER of a SubjectPublicKeyInfo up to the point, for a curve and an uncompressed point (RFC 5480).
constexpr std::array<std::uint8_t, 27> kP256Head = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                                    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                                    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
constexpr std::array<std::uint8_t, 24> kP384Head = {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                                                    0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
                                                    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04};

// By hand, since OpenSSL would keep a compressed point compressed (and takes 50 times as long).
template <std::size_t N>
Bytes ec_spki(const EVP_PKEY* key, const std::array<std::uint8_t, N>& head) {
  const std::size_t size = 2 + head[1];
  Bytes spki(head.begin(), head.end());
  spki.resize(size);
  // the head's last byte is the point's first, which says that it is uncompressed
  unsigned char* const point = data_of(spki) + N - 1;
  std::size_t written = 0;
  const bool complete = EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point, size - (N - 1),
                                                        &written) == 1 &&
                        written == size - (N - 1) && std::equal(head.begin(), head.end(), data_of(spki));
  return complete ? spki : Bytes();
}

// A key without a point: only what is common to all keys of the curve. A copy that is given its point takes a tenth of the
// time that OpenSSL takes to find out from the DER what it is a key of. Never changed, so threads share it.
const EVP_PKEY* parameters_of(const char* curve) {
  std::string name(curve);
  const std::array<OSSL_PARAM, 2> params{OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, name.data(), 0),
                                         OSSL_PARAM_construct_end()};
  const Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  // fails only without memory or without a crypto provider: nothing could be trusted then
  if (!context || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &key, EVP_PKEY_KEY_PARAMETERS, const_cast<OSSL_PARAM*>(params.data())) != 1) {
    std::abort();
  }
  return key;
}
const EVP_PKEY* p256_parameters() {
  static const EVP_PKEY* const key = parameters_of(SN_X9_62_prime256v1);
  return key;
}
const EVP_PKEY* p384_parameters() {
  static const EVP_PKEY* const key = parameters_of(SN_secp384r1);
  return key;
}

// The point of a SubjectPublicKeyInfo that begins like this; "" for others.
template <std::size_t N>
std::string_view ec_point(std::string_view der, const std::array<std::uint8_t, N>& head) {
  if (der.size() != std::size_t{2} + head[1] || !std::equal(head.begin(), head.end(), data_of(der))) return {};
  return der.substr(N - 1);  // the head's last byte says that it is uncompressed
}

// nullptr if the point is not on the curve.
std::shared_ptr<EVP_PKEY> key_of_point(const EVP_PKEY* parameters, std::string_view point) {
  std::shared_ptr<EVP_PKEY> key = share(EVP_PKEY_dup(const_cast<EVP_PKEY*>(parameters)));
  if (!key || EVP_PKEY_set1_encoded_public_key(key.get(), data_of(point), point.size()) != 1) return nullptr;
  return key;
}

bool is_on_curve(const EC_GROUP* curve, std::string_view point) {
  const Handle<EC_POINT, EC_POINT_free> read(curve != nullptr ? EC_POINT_new(curve) : nullptr);
  return read && EC_POINT_oct2point(curve, read.get(), data_of(point), point.size(), nullptr) == 1;
}

// A new key of the curve; nullptr on failure. With the curve's name alone OpenSSL would set up the curve anew, which takes
// longer than the key.
EVP_PKEY* generate_ec(const EVP_PKEY* parameters) {
  const Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(
      EVP_PKEY_CTX_new_from_pkey(nullptr, const_cast<EVP_PKEY*>(parameters), nullptr));
  EVP_PKEY* key = nullptr;
  if (!context || EVP_PKEY_keygen_init(context.get()) != 1 || EVP_PKEY_generate(context.get(), &key) != 1) return nullptr;
  return key;
}

}  // namespace

std::string_view algorithm_of(const EVP_PKEY* key) {
  const ErrorGuard guard;
  if (EVP_PKEY_is_a(key, "EC") == 1) {
    int is_explicit = 0;
    std::array<char, 64> curve{};
    if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &is_explicit) != 1 ||
        is_explicit != 0 || EVP_PKEY_get_group_name(key, curve.data(), curve.size(), nullptr) != 1) {
      return "";
    }
    const std::string_view name = curve.data();
    if (name == SN_X9_62_prime256v1) return "ES256";
    if (name == SN_secp384r1) return "ES384";
    return "";
  }
  if (EVP_PKEY_is_a(key, "ED25519") == 1) return "EdDSA";
  if (EVP_PKEY_is_a(key, "RSA") == 1) {
    const int bits = EVP_PKEY_get_bits(key);
    if (bits >= kMinRsaBits && bits <= kMaxRsaBits) return "RS256";
  }
  return "";
}

struct PublicKey::State {
  State(std::shared_ptr<EVP_PKEY> native, std::string_view algorithm_of_it, std::string_view read_from)
      : algorithm(algorithm_of_it), spki(read_from), key_(std::move(native)) {}
  // Of a point of P-256 that is known to be on the curve: most are only written into a certificate.
  explicit State(std::string_view read_from) : algorithm("ES256"), spki(read_from) {}

  const std::string_view algorithm;
  const Bytes spki;  // empty unless it was read from that one form

  EVP_PKEY* key() {
    std::call_once(made_, [this] {
      if (!key_) key_ = key_of_point(p256_parameters(), ec_point(spki, kP256Head));
    });
    return key_.get();
  }

  // Ready to verify, and only ever copied; null if OpenSSL cannot. Of most keys nothing is ever verified, so it is made
  // for the first signature.
  const EVP_MD_CTX* verifier() {
    std::call_once(prepared_, [this] {
      MdContextHandle context(EVP_MD_CTX_new());
      if (context && EVP_DigestVerifyInit(context.get(), nullptr, digest_of_algorithm(algorithm), nullptr, key()) == 1) {
        verifier_ = std::move(context);
      }
    });
    return verifier_.get();
  }

 private:
  std::once_flag made_, prepared_;
  std::shared_ptr<EVP_PKEY> key_;
  MdContextHandle verifier_;
};

PublicKey::PublicKey(std::shared_ptr<evp_pkey_st> key) {
  const std::string_view algorithm = algorithm_of(key.get());
  state_ = std::make_shared<State>(std::move(key), algorithm, std::string_view());
}

std::string_view PublicKey::algorithm() const {
  return state_->algorithm;
}

evp_pkey_st* PublicKey::native() const {
  return state_->key();
}

Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
  const ErrorGuard guard;
  EVP_PKEY* key = PEM_read_bio_PUBKEY(reader(pem).get(), nullptr, no_pass_phrase, nullptr);
  if (key == nullptr) return fail(ErrorCode::kMalformed, "public key: not PEM: {}", last_reason());
  return PublicKey(share(key));
}

bool is_ec_spki(std::string_view der) {
  const ErrorGuard guard;
  static const EC_GROUP* const p256 = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
  static const EC_GROUP* const p384 = EC_GROUP_new_by_curve_name(NID_secp384r1);
  if (const auto point = ec_point(der, kP256Head); !point.empty()) return is_on_curve(p256, point);
  if (const auto point = ec_point(der, kP384Head); !point.empty()) return is_on_curve(p384, point);
  return false;
}

std::optional<PublicKey> PublicKey::from_ec_spki_der(std::string_view der) {
  const ErrorGuard guard;
  const auto read = [der](const EVP_PKEY* parameters, std::string_view algorithm,
                          std::string_view point) -> std::optional<PublicKey> {
    std::shared_ptr<EVP_PKEY> key = key_of_point(parameters, point);
    if (!key) return std::nullopt;
    return PublicKey(std::make_shared<State>(std::move(key), algorithm, der));
  };
  if (const auto point = ec_point(der, kP256Head); !point.empty()) return read(p256_parameters(), "ES256", point);
  if (const auto point = ec_point(der, kP384Head); !point.empty()) return read(p384_parameters(), "ES384", point);
  return std::nullopt;
}

std::optional<PublicKey> PublicKey::from_proven_spki_der(std::string_view der, std::string_view bytes,
                                                         std::string_view signature) {
  const ErrorGuard guard;
  const std::string_view point = ec_point(der, kP256Head);
  if (point.empty()) return std::nullopt;
  // One key for all that this thread reads, each time with another point: to make one takes a sixth of the verification.
  thread_local const PkeyHandle key(EVP_PKEY_dup(const_cast<EVP_PKEY*>(p256_parameters())));
  if (!key || EVP_PKEY_set1_encoded_public_key(key.get(), data_of(point), point.size()) != 1) return std::nullopt;
  const Handle<EVP_PKEY_CTX, EVP_PKEY_CTX_free> context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  const Bytes digest = sha256(bytes);
  if (!context || EVP_PKEY_verify_init(context.get()) != 1 ||
      EVP_PKEY_verify(context.get(), data_of(signature), signature.size(), data_of(digest), digest.size()) != 1) {
    return std::nullopt;
  }
  return PublicKey(std::make_shared<State>(der));
}

Result<PublicKey> PublicKey::from_spki_der(std::string_view der) {
  const ErrorGuard guard;
  if (auto usual = from_ec_spki_der(der)) return std::move(*usual);
  EVP_PKEY* key = decode_der(d2i_PUBKEY, EVP_PKEY_free, der);
  if (key == nullptr) return fail(ErrorCode::kMalformed, "public key: not a SubjectPublicKeyInfo: {}", last_reason());
  return PublicKey(share(key));
}

Bytes PublicKey::spki_der() const {
  if (!state_->spki.empty()) return state_->spki;
  const ErrorGuard guard;
  if (algorithm() == "ES256") return ec_spki(native(), kP256Head);
  if (algorithm() == "ES384") return ec_spki(native(), kP384Head);
  return encode_der(i2d_PUBKEY, native());
}

Bytes PublicKey::spki_sha256() const {
  return sha256(spki_der());
}

Result<void> PublicKey::check_device_policy() const {
  // the keys that edc §4.4 allows are the ones that edc §4.3 has an algorithm for
  if (!algorithm().empty()) return {};
  const ErrorGuard guard;
  return fail(ErrorCode::kInvalidArgument, "key: {} is not allowed: use P-256, P-384, Ed25519 or RSA of {} to {} bits",
              describe(native()), kMinRsaBits, kMaxRsaBits);
}

Result<void> PublicKey::verify(std::string_view algorithm, std::string_view bytes, std::string_view signature) const {
  if (!is_known_algorithm(algorithm)) {
    return fail(ErrorCode::kUnsupported, "signature: the algorithm is not one of ES256, ES384, EdDSA, RS256");
  }
  if (algorithm != this->algorithm()) {
    return fail(ErrorCode::kUnauthenticated, "signature: {} does not fit the signer's key", algorithm);
  }
  const ErrorGuard guard;
  const MdContextHandle context(EVP_MD_CTX_new());
  const EVP_MD_CTX* const verifier = state_->verifier();
  if (!context || verifier == nullptr || EVP_MD_CTX_copy_ex(context.get(), verifier) != 1) {
    return internal_failure("signature");
  }
  if (EVP_DigestVerify(context.get(), data_of(signature), signature.size(), data_of(bytes), bytes.size()) != 1) {
    return fail(ErrorCode::kUnauthenticated, "signature: does not verify");
  }
  return {};
}

bool operator==(const PublicKey& a, const PublicKey& b) {
  const ErrorGuard guard;
  return EVP_PKEY_eq(a.native(), b.native()) == 1;
}

Result<PrivateKey> PrivateKey::generate(KeyType type) {
  const ErrorGuard guard;
  EVP_PKEY* key = nullptr;
  switch (type) {
    case KeyType::kP256:
      key = generate_ec(p256_parameters());
      break;
    case KeyType::kP384:
      key = generate_ec(p384_parameters());
      break;
    case KeyType::kEd25519:
      key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
      break;
    case KeyType::kRsa2048:
      key = EVP_RSA_gen(2048);
      break;
  }
  if (key == nullptr) return internal_failure("key generation");
  return PrivateKey(share(key));
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  const ErrorGuard guard;
  EVP_PKEY* read = PEM_read_bio_PrivateKey(reader(pem).get(), nullptr, no_pass_phrase, nullptr);
  if (read == nullptr) return fail(ErrorCode::kMalformed, "private key: not an unencrypted key in PEM");
  PrivateKey key{share(read)};
  if (key.algorithm().empty()) {
    return fail(ErrorCode::kUnsupported, "private key: {} is not one of P-256, P-384, Ed25519, RSA of {} to {} bits",
                describe(read), kMinRsaBits, kMaxRsaBits);
  }
  return key;
}

Secret PrivateKey::to_pem() const {
  const ErrorGuard guard;
  // BIO_s_secmem wipes what it held
  const BioHandle out(BIO_new(BIO_s_secmem()));
  if (!out || PEM_write_bio_PKCS8PrivateKey(out.get(), native(), nullptr, nullptr, 0, no_pass_phrase, nullptr) != 1) {
    return {};
  }
  return Secret(std::string(written(out.get())));
}

PrivateKey::PrivateKey(std::shared_ptr<evp_pkey_st> key) : public_key_(std::move(key)) {
  const ErrorGuard guard;
  MdContextHandle context(EVP_MD_CTX_new());
  if (context && EVP_DigestSignInit(context.get(), nullptr, digest_of_algorithm(algorithm()), nullptr, native()) == 1) {
    signer_ = {context.release(), EVP_MD_CTX_free};
  }
}

Result<Bytes> PrivateKey::sign(std::string_view bytes) const {
  const ErrorGuard guard;
  const MdContextHandle context(EVP_MD_CTX_new());
  Bytes signature(static_cast<std::size_t>(EVP_PKEY_get_size(native())), '\0');
  std::size_t size = signature.size();
  if (!context || !signer_ || EVP_MD_CTX_copy_ex(context.get(), signer_.get()) != 1 ||
      EVP_DigestSign(context.get(), data_of(signature), &size, data_of(bytes), bytes.size()) != 1) {
    return internal_failure("signing");
  }
  signature.resize(size);
  return signature;
}

Result<void> PrivateKey::check_fits(const PublicKey& key) const {
  static constexpr std::string_view kProbe = "is this the private half?";
  TRY_ASSIGN(const Bytes signature, sign(kProbe));
  if (!key.verify(algorithm(), kProbe, signature)) {
    return fail(ErrorCode::kConflict, "the private key does not belong to the certificate");
  }
  return {};
}

}  // namespace fleet::crypto
