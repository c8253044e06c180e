#include "core/crypto/peer.hpp"

#include <memory>

#include <openssl/x509.h>

namespace fleet::crypto {

std::optional<std::string> take_peer_common_name(void* x509) {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(static_cast<X509*>(x509), X509_free);
  if (!certificate) return std::nullopt;
  const X509_NAME* const subject = X509_get_subject_name(certificate.get());
  const int first = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (first < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, first) >= 0) return std::nullopt;
  const ASN1_STRING* const value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, first));
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, value);
  if (size < 0) return std::nullopt;
  std::string name(text, text + size);
  OPENSSL_free(text);
  if (name.empty() || name.find('\0') != std::string::npos) return std::nullopt;
  return name;
}

}  // namespace fleet::crypto
