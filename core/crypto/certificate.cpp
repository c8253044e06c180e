#include "core/crypto/certificate.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "core/crypto/chain_cache.hpp"
#include "core/crypto/der.hpp"
#include "core/crypto/digest.hpp"
#include "core/crypto/openssl.hpp"

namespace fleet::crypto {
namespace {

constexpr std::size_t kMaxCsrSize = 16 * 1024;
constexpr std::size_t kMaxCommonName = 64;  // ub-common-name (RFC 5280 appendix A)
constexpr std::string_view kPemStart = "-----BEGIN ";
constexpr std::string_view kVersion1("\0", 1);  // of a CSR

using ExtendedKeyUsageHandle = Handle<EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free>;

ChainCache& chains_read() {
  static ChainCache cache;
  return cache;
}

// One block of a PEM text.
struct PemBlock {
  std::string name;
  Bytes bytes;
};

// The next block, or nothing at the end of the text or at a block that is broken.
std::optional<PemBlock> next_block(BIO* in) {
  char* name = nullptr;
  char* header = nullptr;
  unsigned char* data = nullptr;
  long size = 0;
  if (PEM_read_bio(in, &name, &header, &data, &size) != 1) return std::nullopt;
  PemBlock block{name, Bytes(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size))};
  OPENSSL_free(name);
  OPENSSL_free(header);
  OPENSSL_clear_free(data, static_cast<std::size_t>(size));  // it may be a key that got here by mistake
  return block;
}

std::size_t count_blocks(std::string_view pem) {
  std::size_t count = 0;
  for (std::size_t at = pem.find(kPemStart); at != std::string_view::npos; at = pem.find(kPemStart, at + 1)) ++count;
  return count;
}

bool is_readable(const ASN1_TIME* time) {
  tm parts{};
  return time != nullptr && ASN1_TIME_to_tm(time, &parts) == 1;
}

WallTime to_wall_time(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return WallTime(Seconds(timegm(&parts)));
}

// nullptr if there is no extendedKeyUsage, or more than one of it.
ExtendedKeyUsageHandle extended_key_usage(const X509* certificate) {
  return ExtendedKeyUsageHandle(
      static_cast<EXTENDED_KEY_USAGE*>(X509_get_ext_d2i(certificate, NID_ext_key_usage, nullptr, nullptr)));
}

Failure not_for_signing(const Certificate& certificate, std::string_view why) {
  return fail(ErrorCode::kUnauthenticated, "certificate '{}': not for command signing: {}", certificate.subject_cn(),
              why);
}

// The parts of a CSR (RFC 2986 §4): whole elements, and the signature's bytes.
struct CsrParts {
  std::string_view signed_part, spki, algorithm, signature;
};

// nullopt if it is malformed. Neither subject nor attributes nor signature are looked at.
std::optional<CsrParts> read_parts(std::string_view der) {
  der::Reader text(der);
  const auto request = text.next(der::kSequence);
  if (!request || !text.at_end()) return std::nullopt;
  der::Reader parts(request->content);
  const auto signed_part = parts.next(der::kSequence);
  const auto algorithm = parts.next(der::kSequence);
  const auto signature = parts.next(der::kBitString);
  if (!signed_part || !algorithm || !signature || !parts.at_end() || !signature->content.starts_with('\0')) {
    return std::nullopt;
  }
  der::Reader info(signed_part->content);
  const auto version = info.next(der::kInteger);
  const auto subject = info.next(der::kSequence);
  const auto spki = info.next(der::kSequence);
  const auto attributes = info.next(der::context(0));
  if (!version || version->content != kVersion1 || !subject || !spki || !attributes || !info.at_end()) return std::nullopt;
  return CsrParts{signed_part->whole, spki->whole, algorithm->whole, signature->content.substr(1)};
}

// The key of a CSR for a P-256 key, signed by it with SHA-256, as nearly all are; nullopt for any other and for any that is
// malformed or badly signed: OpenSSL judges those.
std::optional<PublicKey> verify_usual(std::string_view der) {
  const auto csr = read_parts(der);
  if (!csr || csr->algorithm != signature_algorithm("ES256")) return std::nullopt;
  return PublicKey::from_proven_spki_der(csr->spki, csr->signed_part, csr->signature);
}

}  // namespace

std::string common_name(const X509_NAME* name) {
  const ErrorGuard guard;
  const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (at < 0) return {};
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return {};
  std::string cn(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return cn;
}

Result<Bytes> name_with_cn(std::string_view text) {
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  const auto continues_character = [](unsigned char c) { return (c & 0xc0) == 0x80; };
  if (!is_utf8(text) || std::any_of(text.begin(), text.end(), is_control)) {
    return fail(ErrorCode::kInvalidArgument, "common name: not UTF-8 without control characters");
  }
  const auto characters =
      text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), continues_character));
  if (characters < 1 || characters > kMaxCommonName) {
    return fail(ErrorCode::kInvalidArgument, "common name '{}': must have 1 to {} characters", text, kMaxCommonName);
  }
  constexpr std::string_view kCommonName("\x55\x04\x03", 3);  // 2.5.4.3
  const Bytes entry =
      der::element(der::kSequence, {der::element(der::kObjectId, {kCommonName}), der::element(der::kUtf8String, {text})});
  return der::element(der::kSequence, {der::element(der::kSet, {entry})});
}

std::string_view signature_algorithm(std::string_view algorithm) {
  using namespace std::string_view_literals;
  if (algorithm == "ES256") return "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"sv;
  if (algorithm == "ES384") return "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"sv;
  if (algorithm == "EdDSA") return "\x30\x05\x06\x03\x2b\x65\x70"sv;
  if (algorithm == "RS256") return "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"sv;
  return "";
}

std::string pem_of(std::string_view label, std::string_view der) {
  constexpr std::size_t kLine = 64;
  const std::string text = to_base64(der);
  std::string pem = fmt::format("-----BEGIN {}-----\n", label);
  for (std::size_t at = 0; at < text.size(); at += kLine) pem.append(text, at, kLine).push_back('\n');
  return pem + fmt::format("-----END {}-----\n", label);
}

Certificate::Certificate(std::shared_ptr<x509_st> certificate) {
  const ErrorGuard guard;
  PublicKey key({X509_get_pubkey(certificate.get()), EVP_PKEY_free});
  parts_ = std::make_shared<Parts>(Parts{std::move(certificate), std::move(key)});
}

Result<Certificate> Certificate::from_der(std::string_view der) {
  const ErrorGuard guard;
  X509Handle certificate(decode_der(d2i_X509, X509_free, der));
  if (!certificate) return fail(ErrorCode::kMalformed, "certificate: not X.509 in DER: {}", last_reason());
  if (X509_get0_pubkey(certificate.get()) == nullptr) {
    return fail(ErrorCode::kMalformed, "certificate '{}': unreadable public key: {}",
                common_name(X509_get_subject_name(certificate.get())), last_reason());
  }
  if (!is_readable(X509_get0_notBefore(certificate.get())) || !is_readable(X509_get0_notAfter(certificate.get()))) {
    return fail(ErrorCode::kMalformed, "certificate '{}': unreadable dates",
                common_name(X509_get_subject_name(certificate.get())));
  }
  return Certificate(share(std::move(certificate)));
}

Result<Certificate> Certificate::from_pem(std::string_view pem) {
  TRY_ASSIGN(const auto chain, chain_from_pem(pem, 1));
  return chain.front();
}

Result<std::vector<Certificate>> Certificate::chain_from_pem(std::string_view pem, std::size_t limit) {
  const ErrorGuard guard;
  const std::size_t count = count_blocks(pem);
  if (count == 0) return fail(ErrorCode::kMalformed, "certificates: no PEM certificate found");
  if (count > limit) return fail(ErrorCode::kLimitExceeded, "certificates: {} found, at most {} allowed", count, limit);
  if (auto known = chains_read().find(pem)) return std::move(*known);
  std::vector<Certificate> chain;
  const BioHandle in = reader(pem);
  while (auto block = next_block(in.get())) {
    if (block->name != PEM_STRING_X509 && block->name != PEM_STRING_X509_OLD) {
      wipe(block->bytes);
      return fail(ErrorCode::kMalformed, "certificates: entry {} is no certificate", chain.size() + 1);
    }
    auto certificate = from_der(block->bytes);
    if (!certificate)
      return fail(with_context(std::move(certificate).error(), fmt::format("entry {}", chain.size() + 1)));
    chain.push_back(std::move(*certificate));
  }
  if (chain.size() != count) {
    return fail(ErrorCode::kMalformed, "certificates: entry {} is broken: {}", chain.size() + 1, last_reason());
  }
  chains_read().keep(pem, chain);
  return chain;
}

std::string Certificate::to_pem() const {
  return pem_of("CERTIFICATE", to_der());
}

Bytes Certificate::to_der() const {
  return encode_der(i2d_X509, native());
}

std::string Certificate::serial() const {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(native());
  const Bytes bytes(reinterpret_cast<const char*>(ASN1_STRING_get0_data(serial)),
                    static_cast<std::size_t>(ASN1_STRING_length(serial)));
  const bool is_negative = ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER;
  return (is_negative ? "-" : "") + to_hex(bytes);
}

std::vector<std::string> Certificate::host_names() const {
  using NamesHandle = Handle<GENERAL_NAMES, GENERAL_NAMES_free>;
  const ErrorGuard guard;
  std::vector<std::string> hosts, addresses;
  const NamesHandle names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(native(), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type == GEN_DNS) {
      const ASN1_IA5STRING* const text = name->d.dNSName;
      hosts.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                         static_cast<std::size_t>(ASN1_STRING_length(text)));
    } else if (name->type == GEN_IPADD) {
      const int length = ASN1_STRING_length(name->d.iPAddress);
      if (length != 4 && length != 16) continue;
      std::array<char, INET6_ADDRSTRLEN> text{};
      ::inet_ntop(length == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), text.data(), text.size());
      addresses.emplace_back(text.data());
    }
  }
  hosts.insert(hosts.end(), addresses.begin(), addresses.end());
  return hosts;
}

std::string Certificate::subject_cn() const {
  return common_name(X509_get_subject_name(native()));
}
std::string Certificate::issuer_cn() const {
  return common_name(X509_get_issuer_name(native()));
}
WallTime Certificate::not_before() const {
  return to_wall_time(X509_get0_notBefore(native()));
}
WallTime Certificate::not_after() const {
  return to_wall_time(X509_get0_notAfter(native()));
}

bool Certificate::is_ca() const {
  const ErrorGuard guard;
  // 1 is a v3 certificate with basicConstraints CA; OpenSSL's other non-zero answers are guesses for old certificates
  return X509_check_ca(native()) == 1;
}

bool Certificate::is_self_signed() const {
  const ErrorGuard guard;
  return X509_self_signed(native(), 1) == 1;
}

Bytes Certificate::sha256() const {
  return crypto::sha256(to_der());
}

Result<void> Certificate::check_command_signing() const {
  const ErrorGuard guard;
  // extension flags first: they tell of extensions that could not be read, which the getters below take for absent
  if ((X509_get_extension_flags(native()) & EXFLAG_INVALID) != 0)
    return not_for_signing(*this, "unreadable extensions");
  if (X509_check_ca(native()) != 0) return not_for_signing(*this, "it is a CA");
  const std::uint32_t usage = X509_get_key_usage(native());  // all bits set if there is no keyUsage
  if (usage == UINT32_MAX || (usage & KU_DIGITAL_SIGNATURE) == 0) {
    return not_for_signing(*this, "keyUsage is not digitalSignature");
  }
  const auto purposes = extended_key_usage(native());
  if (!purposes || sk_ASN1_OBJECT_num(purposes.get()) != 1 ||
      OBJ_obj2nid(sk_ASN1_OBJECT_value(purposes.get(), 0)) != NID_code_sign) {
    return not_for_signing(*this, "extendedKeyUsage is not exactly codeSigning");
  }
  if (public_key().algorithm().empty()) return not_for_signing(*this, "its key is of a type that cannot sign commands");
  return {};
}

bool Certificate::may_issue_command_signing() const {
  const ErrorGuard guard;
  const std::uint32_t flags = X509_get_extension_flags(native());
  if ((flags & EXFLAG_INVALID) != 0) return false;
  if ((flags & EXFLAG_XKUSAGE) == 0) return true;
  return (X509_get_extended_key_usage(native()) & (XKU_CODE_SIGN | XKU_ANYEKU)) != 0;
}

std::string to_pem(const std::vector<Certificate>& chain) {
  std::string pem;
  for (const Certificate& certificate : chain) pem += certificate.to_pem();
  return pem;
}

Result<Bytes> Csr::create(const PrivateKey& key, std::string_view common_name) {
  const ErrorGuard guard;
  TRY_ASSIGN(const Bytes subject, name_with_cn(common_name));
  const Bytes spki = key.public_key().spki_der();
  const std::string_view algorithm = signature_algorithm(key.algorithm());
  if (spki.empty() || algorithm.empty()) return internal_failure("CSR");
  const Bytes to_be_signed =
      der::element(der::kSequence, {der::element(der::kInteger, {kVersion1}), subject, spki, der::element(der::context(0), {})});
  TRY_ASSIGN(const Bytes signature, key.sign(to_be_signed));
  return der::element(der::kSequence, {to_be_signed, algorithm, der::bit_string(signature)});
}

Result<Csr> Csr::from_der(std::string_view der) {
  if (der.size() > kMaxCsrSize) return fail(ErrorCode::kMalformed, "CSR: larger than {} bytes", kMaxCsrSize);
  const ErrorGuard guard;
  if (auto key = verify_usual(der)) return Csr(std::move(*key));
  const X509ReqHandle request(decode_der(d2i_X509_REQ, X509_REQ_free, der));
  if (!request) return fail(ErrorCode::kMalformed, "CSR: not a PKCS#10 request in DER: {}", last_reason());
  std::shared_ptr<EVP_PKEY> native_key(X509_REQ_get_pubkey(request.get()), EVP_PKEY_free);
  if (!native_key) return fail(ErrorCode::kMalformed, "CSR: unreadable public key: {}", last_reason());
  PublicKey key(native_key);
  // before the signature: verifying with a key of somebody else's choice can be made expensive
  if (auto allowed = key.check_device_policy(); !allowed) return fail(with_context(std::move(allowed).error(), "CSR"));
  if (X509_REQ_verify(request.get(), native_key.get()) != 1) {
    return fail(ErrorCode::kUnauthenticated, "CSR: its signature does not verify with its own key");
  }
  return Csr(std::move(key));
}

Result<Bytes> Csr::spki_of_own(std::string_view der) {
  const auto csr = read_parts(der);
  if (!csr) return fail(ErrorCode::kMalformed, "CSR: not one of our own making");
  return Bytes(csr->spki);
}

Result<Csr> Csr::from_pem(std::string_view pem) {
  const ErrorGuard guard;
  auto block = next_block(reader(pem).get());
  if (!block || (block->name != PEM_STRING_X509_REQ && block->name != PEM_STRING_X509_REQ_OLD)) {
    return fail(ErrorCode::kMalformed, "CSR: not a certificate request in PEM");
  }
  return from_der(block->bytes);
}

}  // namespace fleet::crypto
