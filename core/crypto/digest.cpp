#include "core/crypto/digest.hpp"

#include <array>
#include <cstdlib>

#include <openssl/core_names.h>
#include <openssl/params.h>

#include "core/base/secret.hpp"
#include "core/crypto/openssl.hpp"

namespace fleet::crypto {
namespace {

constexpr std::size_t kSha256Size = 32;

using MacContextHandle = Handle<EVP_MAC_CTX, EVP_MAC_CTX_free>;

// A context that knows its digest. Copying it costs a fraction of looking "HMAC" and "SHA256" up again; it is never
// used itself, so no key stays behind in it and threads share it.
const EVP_MAC_CTX* hmac_template() {
  static const EVP_MAC_CTX* const context = [] {
    EVP_MAC* mac = EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr);
    EVP_MAC_CTX* made = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    std::array<char, 7> digest{"SHA256"};
    const std::array<OSSL_PARAM, 2> params{OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest.data(), 0),
                                           OSSL_PARAM_construct_end()};
    // a copy can only be made of an initialised context, so this one has a key that says nothing
    if (EVP_MAC_init(made, data_of(std::string_view()), 0, params.data()) != 1) std::abort();
    return made;
  }();
  return context;
}

void append_u32(Bytes& out, std::size_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

void append_string(Bytes& out, std::string_view text) {
  append_u32(out, text.size());
  out.append(text);
}

}  // namespace

Bytes sha256(std::string_view bytes) {
  Bytes digest(kSha256Size, '\0');
  // fails only without memory or without a crypto provider: nothing could be trusted then
  if (EVP_Digest(data_of(bytes), bytes.size(), data_of(digest), nullptr, sha256_digest(), nullptr) != 1) std::abort();
  return digest;
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr || EVP_DigestInit_ex(context_, sha256_digest(), nullptr) != 1) std::abort();
}

Sha256::~Sha256() {
  EVP_MD_CTX_free(context_);
}

void Sha256::update(std::string_view bytes) {
  if (EVP_DigestUpdate(context_, data_of(bytes), bytes.size()) != 1) std::abort();
}

Bytes Sha256::finish() {
  Bytes digest(kSha256Size, '\0');
  if (EVP_DigestFinal_ex(context_, data_of(digest), nullptr) != 1) std::abort();
  return digest;
}

Bytes hmac_sha256(std::string_view key, std::string_view bytes) {
  Bytes mac(kSha256Size, '\0');
  const MacContextHandle context(EVP_MAC_CTX_dup(hmac_template()));
  std::size_t size = 0;
  if (!context || EVP_MAC_init(context.get(), data_of(key), key.size(), nullptr) != 1 ||
      EVP_MAC_update(context.get(), data_of(bytes), bytes.size()) != 1 ||
      EVP_MAC_final(context.get(), data_of(mac), &size, mac.size()) != 1) {
    std::abort();  // as above
  }
  return mac;
}

Bytes secret_verifier(std::string_view verifier_key, std::string_view purpose, std::string_view owner,
                      std::string_view secret) {
  Bytes input;
  // room for all, so that no reallocation leaves a copy of the secret behind
  input.reserve(purpose.size() + owner.size() + secret.size() + 3 * sizeof(std::uint32_t));
  append_string(input, purpose);
  append_string(input, owner);
  append_string(input, secret);
  Bytes verifier = hmac_sha256(verifier_key, input);
  wipe(input);
  return verifier;
}

const EVP_MD* sha256_digest() {
  static const EVP_MD* const digest = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return digest;
}

const EVP_MD* digest_of_algorithm(std::string_view algorithm) {
  static const EVP_MD* const sha384 = EVP_MD_fetch(nullptr, "SHA384", nullptr);
  if (algorithm == "ES384") return sha384;
  return algorithm == "EdDSA" ? nullptr : sha256_digest();
}

}  // namespace fleet::crypto
