// How this folder holds OpenSSL objects. Private to core/crypto: nothing else includes <openssl/…> or this file.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <string_view>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"

namespace fleet::crypto {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
template <typename T, auto Free>
using Handle = std::unique_ptr<T, Deleter<Free>>;

using BioHandle = Handle<BIO, BIO_free>;
using PkeyHandle = Handle<EVP_PKEY, EVP_PKEY_free>;
using MdContextHandle = Handle<EVP_MD_CTX, EVP_MD_CTX_free>;
using X509Handle = Handle<X509, X509_free>;
using X509ReqHandle = Handle<X509_REQ, X509_REQ_free>;

// Leaves this thread's error queue as it found it. Every function that may make OpenSSL fail holds one, so that no
// stale error is taken for the failure of somebody's later TLS read.
class ErrorGuard {
 public:
  ErrorGuard() { ERR_set_mark(); }
  ~ErrorGuard() { ERR_pop_to_mark(); }
  ErrorGuard(const ErrorGuard&) = delete;
  ErrorGuard& operator=(const ErrorGuard&) = delete;
};

// OpenSSL's reason for its latest failure: a fixed text that never quotes the input.
inline std::string last_reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason != nullptr ? reason : "no reason given";
}

// A failure of OpenSSL that only a defect or lack of memory explains.
inline Failure internal_failure(std::string_view what) {
  return fail(ErrorCode::kInternal, "{}: {}", what, last_reason());
}

// OpenSSL reads a null pointer as "not given" in many places: an empty view becomes a pointer to nothing instead.
inline const unsigned char* data_of(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data() != nullptr ? bytes.data() : "");
}
inline unsigned char* data_of(Bytes& bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

// The DER of an object, by its i2d function; empty only if memory runs out.
template <typename T>
Bytes encode_der(int (*i2d)(const T*, unsigned char**), const T* object) {
  unsigned char* der = nullptr;
  const int size = i2d(object, &der);
  if (size < 0) return {};
  Bytes bytes(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return bytes;
}

// Reads `der`, all of it, by a d2i function; null on failure or if bytes are left over.
template <typename T>
T* decode_der(T* (*d2i)(T**, const unsigned char**, long), void (*free)(T*), std::string_view der) {
  const unsigned char* at = data_of(der);
  const unsigned char* const end = at + der.size();
  T* object = d2i(nullptr, &at, static_cast<long>(der.size()));
  if (object != nullptr && at != end) {
    free(object);
    return nullptr;
  }
  return object;
}

// A BIO that reads from `text`, which must outlive it.
inline BioHandle reader(std::string_view text) {
  constexpr std::size_t kMost = std::numeric_limits<int>::max();
  return BioHandle(BIO_new_mem_buf(data_of(text), static_cast<int>(std::min(text.size(), kMost))));
}

// What was written to a memory BIO.
inline std::string_view written(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string_view(data, static_cast<std::size_t>(size)) : std::string_view();
}

// The pass phrase callback for PEM: refuses. OpenSSL's own would ask on the terminal.
inline int no_pass_phrase(char*, int, int, void*) {
  return -1;
}

// The digests, fetched once for the life of the process. SHA-384 for ES384, none (null) for EdDSA, else SHA-256.
const EVP_MD* sha256_digest();
const EVP_MD* digest_of_algorithm(std::string_view algorithm);

// ES256, ES384, EdDSA or RS256 by the type of the key; "" for any other key, also RSA under 2048 or over 8192 bits and
// curves given by explicit parameters.
std::string_view algorithm_of(const EVP_PKEY* key);

// True for what PublicKey::from_ec_spki_der reads: the same judgement without the key.
bool is_ec_spki(std::string_view der);

// A certificate ready to be shared by threads: makes OpenSSL decode and keep the extensions now, not at the first
// question.
inline std::shared_ptr<X509> share(X509Handle certificate) {
  X509_check_purpose(certificate.get(), -1, 0);
  return {certificate.release(), X509_free};
}

// The first common name of a subject or issuer, as UTF-8; "" if there is none.
std::string common_name(const X509_NAME* name);

// A Name (RFC 5280 §4.1.2.4) with CN=`text` as its only entry, in DER. kInvalidArgument unless `text` is 1..64 characters
// of UTF-8 without control characters.
Result<Bytes> name_with_cn(std::string_view text);

// The AlgorithmIdentifier of signatures by ES256, ES384, EdDSA or RS256, in DER (RFC 5758, RFC 8410, RFC 4055); "" for others.
std::string_view signature_algorithm(std::string_view algorithm);

}  // namespace fleet::crypto
