#include "core/crypto/certificate_brief.hpp"

#include <optional>

#include "core/crypto/certificate.hpp"
#include "core/crypto/usual_certificate.hpp"

namespace fleet::crypto {
namespace {

constexpr std::string_view kLabel = "CERTIFICATE";
constexpr std::string_view kBegin = "-----BEGIN CERTIFICATE-----\n";
constexpr std::string_view kEnd = "-----END CERTIFICATE-----\n";

// What a text as pem_of() writes it holds; nullopt for any other.
std::optional<Bytes> read_own_pem(std::string_view pem) {
  if (pem.size() < kBegin.size() + kEnd.size() || !pem.starts_with(kBegin) || !pem.ends_with(kEnd)) return std::nullopt;
  std::string text;
  text.reserve(pem.size());
  for (const char c : pem.substr(kBegin.size(), pem.size() - kBegin.size() - kEnd.size())) {
    if (c != '\n') text.push_back(c);
  }
  auto der = from_base64(text);
  if (!der || pem_of(kLabel, *der) != pem) return std::nullopt;  // where the lines end, too
  return std::move(*der);
}

}  // namespace

Result<CertificateBrief> CertificateBrief::from_pem(std::string_view pem) {
  const auto der = read_own_pem(pem);
  if (auto usual = der ? read_usual_certificate(*der) : std::nullopt) {
    return CertificateBrief{std::string(pem), std::move(usual->subject_cn), usual->not_before, usual->not_after,
                            Bytes(usual->spki)};
  }
  TRY_ASSIGN(const Certificate certificate, Certificate::from_pem(pem));
  return CertificateBrief{certificate.to_pem(), certificate.subject_cn(), certificate.not_before(),
                          certificate.not_after(), certificate.public_key().spki_der()};
}

}  // namespace fleet::crypto
