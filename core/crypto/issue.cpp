// Making certificates.
#include <algorithm>
#include <array>
#include <cctype>

#include "core/base/secret.hpp"
#include "core/crypto/certificate.hpp"
#include "core/crypto/openssl.hpp"

namespace fleet::crypto {
namespace {

constexpr std::size_t kSerialSize = 20;         // the most that RFC 5280 §4.1.2.2 allows
constexpr std::size_t kKeyIdentifierSize = 20;  // RFC 7093 §2: 160 bits of SHA-256
constexpr std::size_t kMaxDnsName = 253;
constexpr std::size_t kKeyUsageBits = 9;

using BasicConstraintsHandle = Handle<BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free>;
using BitStringHandle = Handle<ASN1_BIT_STRING, ASN1_BIT_STRING_free>;
using ExtendedKeyUsageHandle = Handle<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free>;
using AuthorityKeyIdHandle = Handle<AUTHORITY_KEYID, AUTHORITY_KEYID_free>;
using OctetStringHandle = Handle<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free>;
using GeneralNamesHandle = Handle<GENERAL_NAMES, GENERAL_NAMES_free>;
using GeneralNameHandle = Handle<GENERAL_NAME, GENERAL_NAME_free>;

// The bits of KeyUsage (RFC 5280 §4.2.1.3).
enum KeyUsageBit { kDigitalSignature = 0, kKeyCertSign = 5, kCrlSign = 6 };

// What a profile puts into the extensions.
struct Shape {
  bool is_ca = false;
  std::optional<int> path_length = {};
  std::vector<int> key_usage = {kDigitalSignature};
  int extended_key_usage = NID_undef;
};

Shape shape_of(CertificateProfile profile) {
  const std::vector<int> ca_usage{kKeyCertSign, kCrlSign};
  switch (profile) {
    case CertificateProfile::kRootCa:
      return {.is_ca = true, .key_usage = ca_usage};
    case CertificateProfile::kPlatformCa:
      return {.is_ca = true, .path_length = 0, .key_usage = ca_usage};
    case CertificateProfile::kDeviceCa:
      return {.is_ca = true, .path_length = 0, .key_usage = ca_usage, .extended_key_usage = NID_client_auth};
    case CertificateProfile::kBrokerCa:
      return {.is_ca = true, .path_length = 0, .key_usage = ca_usage, .extended_key_usage = NID_server_auth};
    case CertificateProfile::kCommandSigning:
      return {.extended_key_usage = NID_code_sign};
    case CertificateProfile::kDevice:
      return {.extended_key_usage = NID_client_auth};
    case CertificateProfile::kServer:
      return {.extended_key_usage = NID_server_auth};
  }
  return {};
}

// The certificate under construction. A step that fails makes the whole fail; the steps after it do nothing.
class Builder {
 public:
  Builder() : certificate_(X509_new()) {
    keep(certificate_ != nullptr);
    keep(ok_ && X509_set_version(certificate_.get(), X509_VERSION_3) == 1);
  }

  X509* get() const { return certificate_.get(); }
  bool ok() const { return ok_; }
  X509Handle take() { return std::move(certificate_); }

  void set_random_serial() {
    Bytes bytes = random_bytes(kSerialSize);
    bytes[0] = static_cast<char>(bytes[0] & 0x7f);  // the 160th bit would be the sign
    const Handle<BIGNUM, BN_free> number(BN_bin2bn(data_of(bytes), static_cast<int>(bytes.size()), nullptr));
    keep(number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(get())) != nullptr);
  }

  void set_validity(WallTime not_before, WallTime not_after) {
    keep(ASN1_TIME_set(X509_getm_notBefore(get()), unix_seconds(not_before)) != nullptr);
    keep(ASN1_TIME_set(X509_getm_notAfter(get()), unix_seconds(not_after)) != nullptr);
  }

  void set_basic_constraints(bool is_ca, std::optional<int> path_length) {
    const BasicConstraintsHandle constraints(BASIC_CONSTRAINTS_new());
    if (!keep(constraints != nullptr)) return;
    constraints->ca = is_ca ? 0xff : 0;
    if (path_length) {
      constraints->pathlen = ASN1_INTEGER_new();
      if (!keep(constraints->pathlen != nullptr && ASN1_INTEGER_set(constraints->pathlen, *path_length) == 1)) return;
    }
    add(NID_basic_constraints, constraints.get(), kCritical);
  }

  void set_key_usage(const std::vector<int>& bits) {
    const BitStringHandle usage(ASN1_BIT_STRING_new());
    if (!keep(usage != nullptr)) return;
    for (const int bit : bits) keep(ASN1_BIT_STRING_set_bit(usage.get(), bit, 1) == 1);
    add(NID_key_usage, usage.get(), kCritical);
  }

  void set_extended_key_usage(int purpose) {
    if (purpose == NID_undef) return;
    const ExtendedKeyUsageHandle purposes(EXTENDED_KEY_USAGE_new());
    if (!keep(purposes != nullptr)) return;
    keep(sk_ASN1_OBJECT_push(purposes.get(), OBJ_nid2obj(purpose)) > 0);
    add(NID_ext_key_usage, purposes.get(), kNotCritical);
  }

  void set_subject_key_identifier() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    const OctetStringHandle identifier(ASN1_OCTET_STRING_new());
    keep(identifier && X509_pubkey_digest(get(), sha256_digest(), digest.data(), nullptr) == 1 &&
         ASN1_OCTET_STRING_set(identifier.get(), digest.data(), kKeyIdentifierSize) == 1);
    add(NID_subject_key_identifier, identifier.get(), kNotCritical);
  }

  void set_authority_key_identifier(X509* issuer) {
    const ASN1_OCTET_STRING* of_issuer = X509_get0_subject_key_id(issuer);
    if (of_issuer == nullptr) return;  // a CA made elsewhere may have none to point at
    const AuthorityKeyIdHandle identifier(AUTHORITY_KEYID_new());
    if (!keep(identifier != nullptr)) return;
    identifier->keyid = ASN1_OCTET_STRING_dup(of_issuer);
    keep(identifier->keyid != nullptr);
    add(NID_authority_key_identifier, identifier.get(), kNotCritical);
  }

  void set_subject_alternative_names(GENERAL_NAMES* names) { add(NID_subject_alt_name, names, kNotCritical); }

 private:
  static constexpr int kCritical = 1;
  static constexpr int kNotCritical = 0;

  static time_t unix_seconds(WallTime time) { return std::chrono::floor<Seconds>(time).time_since_epoch().count(); }

  bool keep(bool done) {
    ok_ = ok_ && done;
    return ok_;
  }

  void add(int nid, void* extension, int critical) {
    if (ok_) keep(X509_add1_ext_i2d(get(), nid, extension, critical, X509V3_ADD_DEFAULT) == 1);
  }

  X509Handle certificate_;
  bool ok_ = true;
};

bool is_dns_name(std::string_view name) {
  if (name.starts_with("*.")) name.remove_prefix(2);
  const auto fits = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_'; };
  return !name.empty() && name.size() <= kMaxDnsName && name.front() != '.' && name.back() != '.' &&
         name.find("..") == std::string_view::npos && std::all_of(name.begin(), name.end(), fits);
}

Result<GeneralNamesHandle> general_names(const std::vector<std::string>& names) {
  GeneralNamesHandle all(GENERAL_NAMES_new());
  for (const std::string& name : names) {
    GeneralNameHandle entry(GENERAL_NAME_new());
    if (!all || !entry) return internal_failure("subject alternative name");
    if (ASN1_OCTET_STRING* address = a2i_IPADDRESS(name.c_str()); address != nullptr) {
      GENERAL_NAME_set0_value(entry.get(), GEN_IPADD, address);
    } else {
      if (!is_dns_name(name)) {
        return fail(ErrorCode::kInvalidArgument, "host name '{}': neither a DNS name nor an IP address", name);
      }
      ASN1_IA5STRING* text = ASN1_IA5STRING_new();
      if (text == nullptr || ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) != 1) {
        ASN1_IA5STRING_free(text);
        return internal_failure("subject alternative name");
      }
      GENERAL_NAME_set0_value(entry.get(), GEN_DNS, text);
    }
    if (sk_GENERAL_NAME_push(all.get(), entry.get()) <= 0) return internal_failure("subject alternative name");
    static_cast<void>(entry.release());
  }
  return all;
}

// `issuer` is nullptr for a root, which is its own.
Result<Certificate> make(const CertificateRequest& request, const PublicKey& subject_key, X509* issuer,
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
  Builder builder;
  if (!builder.ok()) return internal_failure("certificate");
  TRY(set_common_name(X509_get_subject_name(builder.get()), request.common_name));
  const X509_NAME* issuer_name = X509_get_subject_name(issuer != nullptr ? issuer : builder.get());
  if (X509_set_issuer_name(builder.get(), issuer_name) != 1 ||
      X509_set_pubkey(builder.get(), subject_key.native()) != 1) {
    return internal_failure("certificate");
  }
  builder.set_random_serial();
  builder.set_validity(request.not_before, not_after);
  builder.set_basic_constraints(shape.is_ca, shape.path_length);
  builder.set_key_usage(shape.key_usage);
  builder.set_extended_key_usage(shape.extended_key_usage);
  builder.set_subject_key_identifier();
  if (issuer != nullptr) builder.set_authority_key_identifier(issuer);
  if (is_server) {
    TRY_ASSIGN(const auto names, general_names(request.san_names));
    builder.set_subject_alternative_names(names.get());
  }
  if (!builder.ok() ||
      X509_sign(builder.get(), signing_key.native(), digest_of_algorithm(signing_key.algorithm())) <= 0) {
    return internal_failure("certificate");
  }
  return Certificate(share(builder.take()));
}

}  // namespace

Result<Certificate> issue(const CertificateRequest& request, const PublicKey& subject_key, const Issuer& issuer) {
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

Result<Certificate> issue_root(const CertificateRequest& request, const PrivateKey& key) {
  const ErrorGuard guard;
  if (request.profile != CertificateProfile::kRootCa) {
    return fail(ErrorCode::kInvalidArgument, "certificate '{}': only a root signs itself", request.common_name);
  }
  return make(request, key.public_key(), nullptr, request.not_after, key);
}

}  // namespace fleet::crypto
