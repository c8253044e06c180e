// What our own hand reads of certificates, held against OpenSSL.
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/crypto/certificate_brief.hpp"
#include "core/crypto/der.hpp"
#include "core/crypto/openssl.hpp"
#include "core/crypto/usual_certificate.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using namespace std::string_view_literals;
using test::must;
using test::openssl;
using test::TempFolder;

// Both must come to the same end: the same values, or the same error.
void check_as_openssl(const std::string& pem) {
  const auto brief = CertificateBrief::from_pem(pem);
  const auto whole = Certificate::from_pem(pem);
  REQUIRE(brief.has_value() == whole.has_value());
  if (!brief) {
    CHECK(brief.error().code == whole.error().code);
    CHECK(brief.error().message == whole.error().message);
    return;
  }
  CHECK(brief->pem == whole->to_pem());
  CHECK(brief->subject_cn == whole->subject_cn());
  CHECK(brief->not_before == whole->not_before());
  CHECK(brief->not_after == whole->not_after());
  CHECK(brief->spki == whole->public_key().spki_der());
}

bool is_usual(std::string_view der) {
  return read_usual_certificate(der).has_value();
}

// The parts of a certificate, each a whole element; what is changed of them is the test's matter.
struct Draft {
  const PrivateKey key = must(PrivateKey::generate());
  Bytes version = Bytes("\xa0\x03\x02\x01\x02"sv);
  Bytes serial = Bytes("\x02\x01\x05"sv);
  Bytes algorithm = Bytes(signature_algorithm("ES256"));
  Bytes outer_algorithm = algorithm;
  Bytes issuer = name_of(der::kUtf8String, "issuer");
  Bytes not_before = time_of(der::kUtcTime, "250101000000Z");
  Bytes not_after = time_of(der::kUtcTime, "350101000000Z");
  Bytes subject = name_of(der::kUtf8String, "d1");
  Bytes spki = key.public_key().spki_der();
  Bytes before_extensions;
  Bytes extensions = extensions_of({extension("\x55\x1d\x0f"sv, "\xff"sv)});
  Bytes signature = der::bit_string("signature");
  Bytes after_signature, after_all;

  static Bytes name_of(std::uint8_t tag, std::string_view text, std::string_view type = "\x55\x04\x03"sv) {
    const Bytes entry = der::element(der::kSequence, {der::element(der::kObjectId, {type}), der::element(tag, {text})});
    return der::element(der::kSequence, {der::element(der::kSet, {entry})});
  }
  static Bytes time_of(std::uint8_t tag, std::string_view text) { return der::element(tag, {text}); }
  static Bytes extension(std::string_view id, std::string_view critical, std::string_view value = "\x03\x02\x07\x80"sv) {
    return der::element(der::kSequence, {der::element(der::kObjectId, {id}),
                                         critical.empty() ? Bytes() : der::element(der::kBoolean, {critical}),
                                         der::element(der::kOctetString, {value})});
  }
  static Bytes extensions_of(std::initializer_list<std::string_view> all) {
    return der::element(der::context(3), {der::element(der::kSequence, all)});
  }

  Bytes der() const {
    const Bytes validity = der::element(der::kSequence, {not_before, not_after});
    const Bytes signed_part = der::element(der::kSequence, {version, serial, algorithm, issuer, validity, subject, spki,
                                                            before_extensions, extensions});
    return der::element(der::kSequence, {signed_part, outer_algorithm, signature, after_signature}) + after_all;
  }
  std::string pem() const { return pem_of("CERTIFICATE", der()); }
};

TEST_CASE("a brief says what the certificate says, whoever made it") {
  const TempFolder folder;
  const test::Pki pki;
  for (const Issuer* one : {&pki.root, &pki.platform_ca, &pki.signing, &pki.device_ca, &pki.device, &pki.server}) {
    check_as_openssl(one->certificate.to_pem());
    CHECK(is_usual(one->certificate.to_der()));
  }
  for (const auto type : {KeyType::kP384, KeyType::kEd25519, KeyType::kRsa2048}) {
    const auto key = must(PrivateKey::generate(type));
    check_as_openssl(must(issue_root({CertificateProfile::kRootCa, "Grün", {}, pki.now, pki.now + test::kDay}, key)).to_pem());
  }
  const std::vector<std::vector<std::string>> kinds = {
      {"-subj", "/C=DE/O=Example GmbH/CN=d1"},
      {"-subj", "/O=no common name"},
      {"-subj", "/CN=first/CN=second"},
      {"-subj", "/CN=d1/emailAddress=a@example.org"},
      {"-subj", "/CN=d1+OU=both in one set", "-multivalue-rdn"},
      {"-utf8", "-subj", "/CN=Gerät"},
      {"-subj", "/CN=d1", "-days", "20000"},
      {"-subj", "/CN=d1", "-sha384"},
      {"-subj", "/CN=d1", "-sha512"},
      {"-subj", "/CN=d1", "-set_serial", "-5"},
      {"-subj", "/CN=d1", "-set_serial", "0"},
      {"-subj", "/CN=d1", "-addext", "1.2.3.4=ASN1:UTF8:anything"},
  };
  for (const auto& kind : kinds) {
    std::vector<std::string> command{"req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                     "-keyout", (folder / "k").string()};
    command.insert(command.end(), kind.begin(), kind.end());
    check_as_openssl(openssl(command));
  }
  const std::vector<std::vector<std::string>> keys = {
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"},
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"},
      {"-newkey", "rsa:2048"},
      {"-newkey", "ed25519"}};
  for (const auto& key : keys) {
    std::vector<std::string> command{"req", "-x509", "-nodes", "-subj", "/CN=d1", "-keyout", (folder / "k").string()};
    command.insert(command.end(), key.begin(), key.end());
    check_as_openssl(openssl(command));
  }
}

TEST_CASE("a compressed key is the same key in a brief") {
  const TempFolder folder;
  const auto key_file = (folder / "k.pem").string(), compressed = (folder / "c.pem").string();
  openssl({"ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", key_file});
  openssl({"ec", "-in", key_file, "-conv_form", "compressed", "-out", compressed});
  const auto pem = openssl({"req", "-x509", "-key", compressed, "-subj", "/CN=d1"});
  check_as_openssl(pem);
  CHECK(must(CertificateBrief::from_pem(pem)).spki == must(PrivateKey::from_pem(test::get(key_file))).public_key().spki_der());
}

TEST_CASE("a certificate altered in any bit, or cut short, is read by hand only if OpenSSL reads the same in it") {
  const test::Pki pki;
  for (const Bytes& good : {pki.device.certificate.to_der(), Draft().der()}) {
    int taken = 0, refused = 0;
    for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
      Bytes altered = good;
      altered[bit / 8] = static_cast<char>(altered[bit / 8] ^ (1 << (bit % 8)));
      const auto usual = read_usual_certificate(altered);
      usual ? ++taken : ++refused;
      if (!usual) continue;
      const auto whole = Certificate::from_der(altered);
      REQUIRE(whole);
      REQUIRE(usual->subject_cn == whole->subject_cn());
      REQUIRE(usual->not_before == whole->not_before());
      REQUIRE(usual->not_after == whole->not_after());
      REQUIRE(usual->spki == whole->public_key().spki_der());
    }
    CHECK(taken > 100);  // the signature, the serial number, letters of names
    CHECK(refused > 1000);
    for (std::size_t size = 0; size < good.size(); ++size) REQUIRE_FALSE(is_usual(std::string_view(good).substr(0, size)));
    CHECK_FALSE(is_usual(good + '\0'));
  }
}

TEST_CASE("times are read to the last second of the forms that RFC 5280 allows, and no others") {
  const auto check = [](std::uint8_t tag, std::string_view text, bool usual) {
    CAPTURE(text);
    Draft draft;
    draft.not_after = Draft::time_of(tag, text);
    CHECK(is_usual(draft.der()) == usual);
    check_as_openssl(draft.pem());
  };
  for (const auto text : {"500101000000Z"sv, "491231235959Z"sv, "240229120000Z"sv, "990228235959Z"sv, "000229000000Z"sv}) {
    check(der::kUtcTime, text, true);
  }
  for (const auto text : {"20500101000000Z"sv, "99991231235959Z"sv, "20000229000000Z"sv, "19700101000000Z"sv, "00010101000000Z"sv}) {
    check(der::kGeneralizedTime, text, true);
  }
  for (const auto text : {"2501010000Z"sv, "250101000000"sv, "250101000000+0100"sv, "251301000000Z"sv, "250001000000Z"sv,
                          "250100000000Z"sv, "250132000000Z"sv, "250229000000Z"sv, "250101240000Z"sv, "250101006000Z"sv,
                          "250101000060Z"sv, "25010100000 Z"sv, "-50101000000Z"sv, "250101000000Z "sv, "20250101000000Z"sv,
                          ""sv, "Z"sv}) {
    check(der::kUtcTime, text, false);
  }
  for (const auto text : {"21000229000000Z"sv, "20250101000000.5Z"sv, "202501010000Z"sv, "250101000000Z"sv, "20250101000000"sv}) {
    check(der::kGeneralizedTime, text, false);
  }
  check(der::kUtf8String, "250101000000Z", false);
}

TEST_CASE("whatever is unusual in a certificate is left to OpenSSL, whose verdict stands") {
  const std::vector<std::pair<const char*, std::function<void(Draft&)>>> changes = {
      {"version 1", [](Draft& d) { d.version = {}; d.extensions = {}; }},
      {"version 2", [](Draft& d) { d.version = Bytes("\xa0\x03\x02\x01\x01"sv); }},
      {"no serial number", [](Draft& d) { d.serial = {}; }},
      {"an empty serial number", [](Draft& d) { d.serial = Bytes("\x02\x00"sv); }},
      {"a negative serial number", [](Draft& d) { d.serial = Bytes("\x02\x01\x85"sv); }},
      {"a serial number with a zero too many", [](Draft& d) { d.serial = Bytes("\x02\x02\x00\x05"sv); }},
      {"a serial number of 21 bytes", [](Draft& d) { d.serial = der::element(der::kInteger, {Bytes(21, 'x')}); }},
      {"another algorithm outside", [](Draft& d) { d.outer_algorithm = signature_algorithm("ES384"); }},
      {"another algorithm inside", [](Draft& d) { d.algorithm = signature_algorithm("RS256"); }},
      {"an unknown algorithm", [](Draft& d) { d.algorithm = d.outer_algorithm = Bytes("\x30\x04\x06\x02\x2a\x03"sv); }},
      {"an algorithm with parameters", [](Draft& d) { d.algorithm = d.outer_algorithm = Bytes("\x30\x0c\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x05\x00"sv); }},
      {"a name of Latin-1", [](Draft& d) { d.subject = Draft::name_of(0x14, "d1"); }},
      {"a name of BMPString", [](Draft& d) { d.subject = Draft::name_of(0x1e, "\0d\0001"sv); }},
      {"a name of half a BMPString", [](Draft& d) { d.subject = Draft::name_of(0x1e, "\0d\0"sv); }},
      {"a name of broken UTF-8", [](Draft& d) { d.subject = Draft::name_of(der::kUtf8String, "\xc3"); }},
      {"an issuer of broken UTF-8", [](Draft& d) { d.issuer = Draft::name_of(der::kUtf8String, "\xff"); }},
      {"a name of overlong UTF-8", [](Draft& d) { d.subject = Draft::name_of(der::kUtf8String, "\xc0\xaf"); }},
      {"a name with a surrogate", [](Draft& d) { d.subject = Draft::name_of(der::kUtf8String, "\xed\xa0\x80"); }},
      {"a name of characters that are not printable", [](Draft& d) { d.subject = Draft::name_of(der::kPrintableString, "d*1"); }},
      {"a name with an empty set", [](Draft& d) { d.subject = Bytes("\x30\x02\x31\x00"sv); }},
      {"a name whose type is no object id", [](Draft& d) { d.subject = Draft::name_of(der::kUtf8String, "d1", ""); }},
      {"a name whose type ends early", [](Draft& d) { d.subject = Draft::name_of(der::kUtf8String, "d1", "\x55\x84"sv); }},
      {"a name whose type is longer than need be", [](Draft& d) { d.subject = Draft::name_of(der::kUtf8String, "d1", "\x55\x80\x03"sv); }},
      {"no subject", [](Draft& d) { d.subject = {}; }},
      {"a third time", [](Draft& d) { d.not_after += Draft::time_of(der::kUtcTime, "350101000000Z"); }},
      {"no end", [](Draft& d) { d.not_after = {}; }},
      {"a point beside its curve", [](Draft& d) { d.spki.back() = static_cast<char>(d.spki.back() ^ 1); }},
      {"a key cut short", [](Draft& d) { d.spki = der::element(der::kSequence, {std::string_view(d.spki).substr(2, 80)}); }},
      {"an Ed25519 key", [](Draft& d) { d.spki = must(PrivateKey::generate(KeyType::kEd25519)).public_key().spki_der(); }},
      {"a unique id", [](Draft& d) { d.before_extensions = der::element(der::context_primitive(1), {"\0x"sv}); }},
      {"no extensions", [](Draft& d) { d.extensions = {}; }},
      {"two lists of extensions", [](Draft& d) { d.extensions += Bytes(d.extensions); }},
      {"an extension without a value", [](Draft& d) { d.extensions = Draft::extensions_of({"\x30\x05\x06\x03\x55\x1d\x0f"sv}); }},
      {"an extension whose id ends early", [](Draft& d) { d.extensions = Draft::extensions_of({Draft::extension("\x55\x9d"sv, "")}); }},
      {"an extension that says it is not critical", [](Draft& d) { d.extensions = Draft::extensions_of({Draft::extension("\x55\x1d\x0f"sv, "\0"sv)}); }},
      {"an extension that is critical in another way", [](Draft& d) { d.extensions = Draft::extensions_of({Draft::extension("\x55\x1d\x0f"sv, "\x01"sv)}); }},
      {"an extension that is critical in two bytes", [](Draft& d) { d.extensions = Draft::extensions_of({Draft::extension("\x55\x1d\x0f"sv, "\xff\xff"sv)}); }},
      {"no signature", [](Draft& d) { d.signature = {}; }},
      {"a signature without bits", [](Draft& d) { d.signature = Bytes("\x03\x00"sv); }},
      {"a signature with unused bits", [](Draft& d) { d.signature = Bytes("\x03\x02\x01\x02"sv); }},
      {"a signature with nine unused bits", [](Draft& d) { d.signature = Bytes("\x03\x02\x09\x02"sv); }},
      {"something behind the signature", [](Draft& d) { d.after_signature = Bytes("\x02\x01\x05"sv); }},
      {"something behind it all", [](Draft& d) { d.after_all = "x"; }},
  };
  REQUIRE(is_usual(Draft().der()));
  for (const auto& [what, change] : changes) {
    CAPTURE(what);
    Draft draft;
    change(draft);
    CHECK_FALSE(is_usual(draft.der()));
    check_as_openssl(draft.pem());
  }
}

TEST_CASE("a brief is of the first common name, and of a subject without names too") {
  Draft draft;
  const Bytes first = Draft::name_of(der::kPrintableString, "first"), second = Draft::name_of(der::kUtf8String, "second");
  draft.subject = der::element(der::kSequence, {std::string_view(first).substr(2), std::string_view(second).substr(2)});
  CHECK(must(CertificateBrief::from_pem(draft.pem())).subject_cn == "first");
  check_as_openssl(draft.pem());
  for (const Bytes& subject : {Bytes("\x30\x00"sv), Draft::name_of(der::kUtf8String, "x", "\x55\x04\x0a"sv), Draft::name_of(der::kUtf8String, ""),
                               Draft::name_of(der::kUtf8String, "a\0b"sv)}) {
    draft.subject = subject;
    CHECK(is_usual(draft.der()));
    check_as_openssl(draft.pem());
  }
}

TEST_CASE("a brief takes the PEM that Certificate takes, and keeps only the certificate of it") {
  const test::Pki pki;
  const std::string pem = pki.device.certificate.to_pem();
  std::string windows, narrow;
  for (const char c : pem) windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  narrow = pem;
  narrow.insert(60, "\n");
  std::string broken = pem, foreign = pem;
  broken[100] = '*';
  foreign[100] = foreign[100] == 'A' ? 'B' : 'A';
  const std::string key(pki.device.key.to_pem().reveal());
  for (const std::string& text :
       {pem, "before\n" + pem, pem + "behind", pem.substr(0, pem.size() - 1), windows, narrow, broken, foreign, pem + pem,
        pem + key, key, std::string(), std::string("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        std::string("-----BEGIN CERTIFICATE-----\n"), pem.substr(0, 200), pem + "-----BEGIN X"}) {
    CAPTURE(text);
    check_as_openssl(text);
  }
}

}  // namespace
}  // namespace fleet::crypto
