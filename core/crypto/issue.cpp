// Making certificates.
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>

#include "core/base/secret.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/der.hpp"
#include "core/crypto/digest.hpp"
#include "core/crypto/openssl.hpp"

namespace fleet::crypto {
namespace {

constexpr std::size_t kSerialSize = 20;         // the most that RFC 5280 §4.1.2.2 allows
constexpr std::size_t kSerialTimeSize = 6;      // of it, for when: milliseconds since 1970
constexpr std::size_t kKeyIdentifierSize = 20;  // RFC 7093 §2: 160 bits of SHA-256
constexpr std::size_t kMaxDnsName = 253;

// The bits of KeyUsage (RFC 5280 §4.2.1.3).
enum KeyUsageBit { kDigitalSignature = 0, kKeyCertSign = 5, kCrlSign = 6 };

// The last arc of a purpose below id-kp, 1.3.6.1.5.5.7.3 (RFC 5280 §4.2.1.12).
enum Purpose { kAnyPurpose = 0, kServerAuth = 1, kClientAuth = 2, kCodeSigning = 3 };

// What a profile puts into the extensions.
struct Shape {
  bool is_ca = false;
  std::optional<int> path_length = {};
  std::vector<int> key_usage = {kDigitalSignature};
  Purpose purpose = kAnyPurpose;
};

Shape shape_of(CertificateProfile profile) {
  const std::vector<int> ca_usage{kKeyCertSign, kCrlSign};
  switch (profile) {
    case CertificateProfile::kRootCa:
      return {.is_ca = true, .key_usage = ca_usage};
    case CertificateProfile::kPlatformCa:
      return {.is_ca = true, .path_length = 0, .key_usage = ca_usage};
    case CertificateProfile::kDeviceCa:
      return {.is_ca = true, .path_length = 0, .key_usage = ca_usage, .purpose = kClientAuth};
    case CertificateProfile::kBrokerCa:
      return {.is_ca = true, .path_length = 0, .key_usage = ca_usage, .purpose = kServerAuth};
    case CertificateProfile::kCommandSigning:
      return {.purpose = kCodeSigning};
    case CertificateProfile::kDevice:
      return {.purpose = kClientAuth};
    case CertificateProfile::kServer:
      return {.purpose = kServerAuth};
  }
  return {};
}

// --- the parts of a certificate (RFC 5280 §4.1, §4.2), each a whole element of DER

constexpr std::string_view kTrue("\xff", 1);

Bytes object_id(std::string_view arcs) {
  return der::element(der::kObjectId, {arcs});
}

// Positive, of full length and not zero. It begins with the time, so that an index over serials grows at its end instead of
// everywhere; the other 104 bits are random, of which 64 would be enough to tell two apart and to foil a prepared collision.
Bytes new_serial(WallTime not_before) {
  Bytes bytes(1, '\x40');
  const auto millis = static_cast<std::uint64_t>(std::max<std::int64_t>(to_unix_millis(not_before), 0));
  for (std::size_t byte = kSerialTimeSize; byte-- > 0;) bytes.push_back(static_cast<char>(millis >> (8 * byte)));
  return bytes + random_bytes(kSerialSize - bytes.size());
}

// UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5).
Bytes time_of(WallTime time) {
  const std::time_t seconds = std::chrono::floor<Seconds>(time).time_since_epoch().count();
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  const int year = parts.tm_year + 1900;
  const std::string rest = fmt::format("{:02}{:02}{:02}{:02}{:02}Z", parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                                       parts.tm_min, parts.tm_sec);
  if (year >= 1950 && year < 2050) return der::element(der::kUtcTime, {fmt::format("{:02}", year % 100), rest});
  return der::element(der::kGeneralizedTime, {fmt::format("{:04}", year), rest});
}

// `number`: of the extension below id-ce, 2.5.29.
Bytes extension(int number, bool critical, std::string_view value) {
  const std::array<char, 3> arcs{0x55, 0x1d, static_cast<char>(number)};
  return der::element(der::kSequence, {object_id({arcs.data(), arcs.size()}),
                                       critical ? der::element(der::kBoolean, {kTrue}) : Bytes(),
                                       der::element(der::kOctetString, {value})});
}

Bytes basic_constraints(const Shape& shape) {
  Bytes content;
  if (shape.is_ca) content += der::element(der::kBoolean, {kTrue});
  if (shape.path_length) {
    const char length = static_cast<char>(*shape.path_length);
    content += der::element(der::kInteger, {std::string_view(&length, 1)});
  }
  return extension(19, true, der::element(der::kSequence, {content}));
}

Bytes key_usage(const Shape& shape) {
  unsigned bits = 0;  // bit 0 is the highest
  for (const int bit : shape.key_usage) bits |= 0x80U >> static_cast<unsigned>(bit);
  char unused = 0;
  while (((bits >> static_cast<unsigned>(unused)) & 1U) == 0) ++unused;
  const char byte = static_cast<char>(bits);
  return extension(15, true, der::element(der::kBitString, {std::string_view(&unused, 1), std::string_view(&byte, 1)}));
}

Bytes extended_key_usage(Purpose purpose) {
  if (purpose == kAnyPurpose) return {};
  const std::array<char, 8> arcs{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, static_cast<char>(purpose)};
  return extension(37, false, der::element(der::kSequence, {object_id({arcs.data(), arcs.size()})}));
}

// RFC 7093 §2: the first 160 bits of SHA-256 over the key's bit string.
Result<Bytes> subject_key_identifier(std::string_view spki) {
  der::Reader outer(spki);
  const auto info = outer.next(der::kSequence);
  der::Reader inner(info ? info->content : std::string_view());
  const auto algorithm = inner.next(der::kSequence);
  const auto key = inner.next(der::kBitString);
  if (!algorithm || !key || key->content.empty()) return fail(ErrorCode::kInternal, "certificate: unreadable public key");
  const Bytes digest = sha256(key->content.substr(1)).substr(0, kKeyIdentifierSize);
  return extension(14, false, der::element(der::kOctetString, {digest}));
}

// Empty if the issuer has no subject key identifier: a CA made elsewhere may have none to point at.
Bytes authority_key_identifier(X509* issuer) {
  const ASN1_OCTET_STRING* of_issuer = X509_get0_subject_key_id(issuer);
  if (of_issuer == nullptr) return {};
  const std::string_view bytes(reinterpret_cast<const char*>(ASN1_STRING_get0_data(of_issuer)),
                               static_cast<std::size_t>(ASN1_STRING_length(of_issuer)));
  return extension(35, false, der::element(der::kSequence, {der::element(der::context_primitive(0), {bytes})}));
}

bool is_dns_name(std::string_view name) {
  if (name.starts_with("*.")) name.remove_prefix(2);
  const auto fits = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_'; };
  return !name.empty() && name.size() <= kMaxDnsName && name.front() != '.' && name.back() != '.' &&
         name.find("..") == std::string_view::npos && std::all_of(name.begin(), name.end(), fits);
}

Result<Bytes> subject_alternative_names(const std::vector<std::string>& names) {
  Bytes content;
  for (const std::string& name : names) {
    std::array<char, 16> address{};
    if (::inet_pton(AF_INET, name.c_str(), address.data()) == 1) {
      content += der::element(der::context_primitive(7), {std::string_view(address.data(), 4)});
    } else if (::inet_pton(AF_INET6, name.c_str(), address.data()) == 1) {
      content += der::element(der::context_primitive(7), {std::string_view(address.data(), 16)});
    } else if (is_dns_name(name)) {
      content += der::element(der::context_primitive(2), {name});
    } else {
      return fail(ErrorCode::kInvalidArgument, "host name '{}': neither a DNS name nor an IP address", name);
    }
  }
  return extension(17, false, der::element(der::kSequence, {content}));
}

// `issuer` is nullptr for a root, which is its own.
Result<NewCertificate> make(const CertificateRequest& request, const PublicKey& subject_key, X509* issuer,
                            WallTime not_after, const PrivateKey& signing_key) {
  if (request.not_before >= not_after) {
    return fail(ErrorCode::kInvalidArgument, "certificate '{}': not valid at any time: {} to {}", request.common_name,
                format_time(request.not_before), format_time(not_after));
  }
  const bool is_server = request.profile == CertificateProfile::kServer;
  if (is_server == request.san_names.empty()) {
    return fail(ErrorCode::kInvalidArgument, "certificate '{}': host names are for servers, which need at least one",
                request.common_name);
  }
  const Shape shape = shape_of(request.profile);
  TRY_ASSIGN(const Bytes subject, name_with_cn(request.common_name));
  const Bytes issuer_name = issuer != nullptr ? encode_der(i2d_X509_NAME, X509_get_subject_name(issuer)) : subject;
  const Bytes spki = subject_key.spki_der();
  const std::string_view algorithm = signature_algorithm(signing_key.algorithm());
  if (issuer_name.empty() || spki.empty() || algorithm.empty()) return internal_failure("certificate");

  Bytes extensions = basic_constraints(shape) + key_usage(shape) + extended_key_usage(shape.purpose);
  TRY_ASSIGN(const Bytes key_identifier, subject_key_identifier(spki));
  extensions += key_identifier;
  if (issuer != nullptr) extensions += authority_key_identifier(issuer);
  if (is_server) {
    TRY_ASSIGN(const Bytes names, subject_alternative_names(request.san_names));
    extensions += names;
  }

  constexpr std::string_view kVersion3("\x02", 1);
  const Bytes serial = new_serial(request.not_before);
  const Bytes to_be_signed = der::element(
      der::kSequence,
      {der::element(der::context(0), {der::element(der::kInteger, {kVersion3})}),
       der::element(der::kInteger, {serial}), algorithm, issuer_name,
       der::element(der::kSequence, {time_of(request.not_before), time_of(not_after)}), subject, spki,
       der::element(der::context(3), {der::element(der::kSequence, {extensions})})});
  TRY_ASSIGN(const Bytes signature, signing_key.sign(to_be_signed));
  return NewCertificate{.der = der::element(der::kSequence, {to_be_signed, algorithm, der::bit_string(signature)}),
                        .serial = to_hex(serial),
                        .not_before = std::chrono::floor<Seconds>(request.not_before),
                        .not_after = std::chrono::floor<Seconds>(not_after)};
}

}  // namespace

std::string NewCertificate::to_pem() const {
  return pem_of("CERTIFICATE", der);
}

Result<NewCertificate> issue_unread(const CertificateRequest& request, const PublicKey& subject_key,
                                    const Issuer& issuer) {
  const ErrorGuard guard;
  if (request.profile == CertificateProfile::kRootCa) {
    return fail(ErrorCode::kInvalidArgument, "certificate '{}': a root is not issued by another", request.common_name);
  }
  if (!issuer.certificate.is_ca()) {
    return fail(ErrorCode::kInvalidArgument, "certificate '{}': its issuer '{}' is no CA", request.common_name,
                issuer.certificate.subject_cn());
  }
  const WallTime not_after = std::min(request.not_after, issuer.certificate.not_after());
  return make(request, subject_key, issuer.certificate.native(), not_after, issuer.key);
}

Result<Certificate> issue(const CertificateRequest& request, const PublicKey& subject_key, const Issuer& issuer) {
  TRY_ASSIGN(const NewCertificate made, issue_unread(request, subject_key, issuer));
  return Certificate::from_der(made.der);
}

Result<Certificate> issue_root(const CertificateRequest& request, const PrivateKey& key) {
  const ErrorGuard guard;
  if (request.profile != CertificateProfile::kRootCa) {
    return fail(ErrorCode::kInvalidArgument, "certificate '{}': only a root signs itself", request.common_name);
  }
  TRY_ASSIGN(const NewCertificate made, make(request, key.public_key(), nullptr, request.not_after, key));
  return Certificate::from_der(made.der);
}

}  // namespace fleet::crypto
