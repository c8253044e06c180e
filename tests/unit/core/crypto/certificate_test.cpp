#include "core/crypto/certificate.hpp"

#include <set>
#include <string>

#include <doctest/doctest.h>

#include "core/crypto/tls.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using test::kDay;
using test::kHour;
using test::must;
using test::openssl;
using test::openssl_accepts;
using test::Pki;
using test::put;
using test::TempFolder;

std::string text_of(const TempFolder& folder, const Certificate& certificate) {
  return openssl({"x509", "-in", put(folder, "text.pem", certificate.to_pem()), "-noout", "-text"});
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string extensions(const std::string& text) {
  const auto at = text.find("X509v3 extensions:");
  return at == std::string::npos ? "" : text.substr(at);
}

TEST_CASE("each profile has the extensions that it stands for, as the openssl command reads them") {
  const TempFolder folder;
  const Pki pki;
  const auto check_ca = [&](const Certificate& certificate, bool path_length_0, std::string_view purpose) {
    const std::string text = extensions(text_of(folder, certificate));
    CAPTURE(text);
    CHECK(has(text, "X509v3 Basic Constraints: critical\n                CA:TRUE"));
    CHECK(has(text, "pathlen:0") == path_length_0);
    CHECK(has(text, "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n"));
    CHECK(has(text, "Extended Key Usage") == !purpose.empty());
    CHECK(has(text, purpose));
    CHECK(has(text, "X509v3 Subject Key Identifier"));
    CHECK(has(text, "X509v3 Authority Key Identifier") == !certificate.is_self_signed());
    CHECK(certificate.is_ca());
  };
  check_ca(pki.root.certificate, false, "");
  check_ca(pki.platform_ca.certificate, true, "");
  check_ca(pki.device_ca.certificate, true, "TLS Web Client Authentication\n");
  check_ca(pki.broker_ca.certificate, true, "TLS Web Server Authentication\n");
  const auto check_leaf = [&](const Certificate& certificate, std::string_view purpose) {
    const std::string text = extensions(text_of(folder, certificate));
    CAPTURE(text);
    CHECK(has(text, "X509v3 Basic Constraints: critical\n                CA:FALSE\n"));
    CHECK(has(text, "X509v3 Key Usage: critical\n                Digital Signature\n"));
    CHECK(has(text, "X509v3 Extended Key Usage: \n                " + std::string(purpose) + "\n"));
    CHECK_FALSE(certificate.is_ca());
  };
  check_leaf(pki.signing.certificate, "Code Signing");
  check_leaf(pki.device.certificate, "TLS Web Client Authentication");
  check_leaf(pki.server.certificate, "TLS Web Server Authentication");
  const std::string server = text_of(folder, pki.server.certificate);
  CHECK(has(server, "X509v3 Subject Alternative Name: \n                DNS:localhost, IP Address:127.0.0.1\n"));
  CHECK_FALSE(has(text_of(folder, pki.device.certificate), "Alternative Name"));
  CHECK(has(server, "Version: 3 (0x2)"));
}

TEST_CASE("the openssl command verifies our chains, also strictly and by purpose") {
  const TempFolder folder;
  const Pki pki;
  const auto root = put(folder, "root.pem", pki.root.certificate.to_pem());
  const auto verifies = [&](const Issuer& ca, const Issuer& leaf, std::vector<std::string> options) {
    std::vector<std::string> command{"verify", "-x509_strict", "-CAfile",
                                     root,     "-untrusted",   put(folder, "ca.pem", ca.certificate.to_pem())};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(put(folder, "leaf.pem", leaf.certificate.to_pem()));
    return openssl_accepts(command);
  };
  CHECK(verifies(pki.platform_ca, pki.signing, {}));
  CHECK(verifies(pki.device_ca, pki.device, {"-purpose", "sslclient"}));
  CHECK_FALSE(verifies(pki.device_ca, pki.device, {"-purpose", "sslserver"}));
  CHECK(verifies(pki.broker_ca, pki.server, {"-purpose", "sslserver", "-verify_hostname", "localhost"}));
  CHECK(verifies(pki.broker_ca, pki.server, {"-verify_ip", "127.0.0.1"}));
  CHECK_FALSE(verifies(pki.broker_ca, pki.server, {"-verify_hostname", "elsewhere"}));
  CHECK_FALSE(verifies(pki.device_ca, pki.server, {}));
}

TEST_CASE("a certificate tells its serial, names, dates and key as the openssl command does") {
  const TempFolder folder;
  const Pki pki;
  const Certificate& certificate = pki.device.certificate;
  const auto file = put(folder, "c.pem", certificate.to_pem());
  std::string serial = openssl({"x509", "-in", file, "-noout", "-serial"});
  for (char& c : serial) c = static_cast<char>(std::tolower(c));
  CHECK(serial == "serial=" + certificate.serial() + "\n");
  CHECK(certificate.subject_cn() == "02FC00000001");
  CHECK(certificate.issuer_cn() == "Test Device CA");
  CHECK(certificate.public_key() == pki.device.key.public_key());
  const auto whole_second = [](WallTime time) { return std::chrono::floor<Seconds>(time); };
  CHECK(certificate.not_before() == whole_second(pki.now - kHour));
  CHECK(certificate.not_after() == whole_second(pki.now + 365 * kDay));
  CHECK(openssl({"x509", "-in", file, "-outform", "DER"}) == certificate.to_der());
  CHECK(has(openssl({"x509", "-in", file, "-noout", "-dateopt", "iso_8601", "-enddate"}),
            format_time(certificate.not_after()).substr(0, 10)));
  CHECK(certificate.sha256().size() == 32);
  CHECK(pki.root.certificate.is_self_signed());
  CHECK_FALSE(certificate.is_self_signed());
}

TEST_CASE("serials are positive, at most 20 bytes, and not repeated") {
  const auto now = wall_now();
  const auto root = test::make_root("Root", now);
  const auto key = must(PrivateKey::generate());
  std::set<std::string> serials;
  for (int i = 0; i < 200; ++i) {
    const auto certificate =
        must(issue({CertificateProfile::kDevice, "d", {}, now - kHour, now + kHour}, key.public_key(), root));
    CHECK(certificate.serial().size() <= 40);
    CHECK_FALSE(certificate.serial().starts_with("-"));
    CHECK(certificate.to_der().size() < 600);
    serials.insert(certificate.serial());
  }
  CHECK(serials.size() == 200);
}

TEST_CASE("a serial comes after those of before, wherever one is kept in order") {
  const auto now = wall_now();
  const auto root = test::make_root("Root", now);
  const auto key = must(PrivateKey::generate());
  std::string before;
  for (int i = 0; i < 50; ++i) {
    const WallTime begins = now - kHour + Millis(i);
    const auto certificate = must(issue({CertificateProfile::kDevice, "d", {}, begins, now + kHour}, key.public_key(), root));
    CHECK(certificate.serial().size() == 40);
    CHECK(certificate.serial() > before);
    before = certificate.serial();
  }
}

TEST_CASE("certificates are issued for and by every type of key") {
  const auto now = wall_now();
  for (const auto type : {KeyType::kP384, KeyType::kEd25519, KeyType::kRsa2048}) {
    const auto key = must(PrivateKey::generate(type));
    const Issuer root{must(issue_root({CertificateProfile::kRootCa, "R", {}, now - kHour, now + kDay}, key)), key};
    const auto leaf = test::make_below(root, CertificateProfile::kDevice, "d", now, 1);
    CHECK(verify_chain({leaf.certificate}, {root.certificate}, now));
    const auto other =
        must(issue({CertificateProfile::kDevice, "e", {}, now - kHour, now + kHour}, key.public_key(), root));
    CHECK(other.public_key() == key.public_key());
  }
}

TEST_CASE("a certificate never outlives its issuer") {
  const auto now = wall_now();
  const auto root = test::make_root("Root", now, 10);
  const auto leaf = test::make_below(root, CertificateProfile::kDevice, "d", now, 365);
  CHECK(leaf.certificate.not_after() == root.certificate.not_after());
}

TEST_CASE("requests that make no sense are refused with the reason") {
  const auto now = wall_now();
  const auto root = test::make_root("Root", now, 10);
  const auto leaf = test::make_below(root, CertificateProfile::kDevice, "d", now);
  const auto key = leaf.key.public_key();
  const auto code = [&](const CertificateRequest& request, const Issuer& issuer) {
    const auto made = issue(request, key, issuer);
    return made ? ErrorCode::kInternal : made.error().code;
  };
  const auto later = now + kHour;
  using enum CertificateProfile;
  CHECK(code({kDevice, "", {}, now, later}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kDevice, std::string(65, 'x'), {}, now, later}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kDevice, "d", {}, later, now}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kDevice, "d", {}, now, now}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kDevice, "d", {}, now + 20 * kDay, now + 30 * kDay}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kDevice, "d", {"host"}, now, later}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kServer, "d", {}, now, later}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kRootCa, "d", {}, now, later}, root) == ErrorCode::kInvalidArgument);
  CHECK(code({kDevice, "d", {}, now, later}, leaf) == ErrorCode::kInvalidArgument);
  CHECK(issue_root({kDevice, "d", {}, now, later}, leaf.key).error().code == ErrorCode::kInvalidArgument);
  for (const std::string& host : {std::string(), std::string("a b"), std::string("a,DNS:b"), std::string("a\0b", 3),
                                  std::string(".a"), std::string("a..b"), std::string(254, 'a'), std::string("a/b")}) {
    CHECK(code({kServer, "d", {host}, now, later}, root) == ErrorCode::kInvalidArgument);
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("a server certificate carries IPv6 addresses and wildcard names") {
  const auto now = wall_now();
  const auto root = test::make_root("Root", now, 10);
  const auto key = must(PrivateKey::generate());
  const auto server = must(
      issue({CertificateProfile::kServer, "s", {"::1", "*.example.org"}, now, now + kHour}, key.public_key(), root));
  const TempFolder folder;
  CHECK(has(text_of(folder, server), "IP Address:0:0:0:0:0:0:0:1, DNS:*.example.org"));
}

TEST_CASE("only a signing leaf passes the check for command signing") {
  const TempFolder folder;
  const Pki pki;
  CHECK(pki.signing.certificate.check_command_signing());
  for (const Issuer& other : {pki.device, pki.server, pki.root, pki.platform_ca, pki.device_ca, pki.broker_ca}) {
    const auto verdict = other.certificate.check_command_signing();
    REQUIRE_FALSE(verdict);
    CHECK(verdict.error().code == ErrorCode::kUnauthenticated);
    CHECK(has(verdict.error().message, other.certificate.subject_cn()));
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("certificates made elsewhere pass the check for command signing only with exactly its usages") {
  const TempFolder folder;
  const auto made_with = [&](std::vector<std::string> lines) {
    std::string config = "[req]\ndistinguished_name=n\n[n]\n[e]\n";
    for (const auto& line : lines) config += line + "\n";
    const auto file = put(folder, "c.cnf", config);
    std::vector<std::string> command{"req",
                                     "-x509",
                                     "-newkey",
                                     "ec",
                                     "-pkeyopt",
                                     "ec_paramgen_curve:P-256",
                                     "-nodes",
                                     "-subj",
                                     "/CN=s",
                                     "-keyout",
                                     (folder / "k").string(),
                                     "-config",
                                     file};
    if (!lines.empty()) command.insert(command.end(), {"-extensions", "e"});
    return must(Certificate::from_pem(openssl(command)));
  };
  const std::string leaf = "basicConstraints=critical,CA:FALSE";
  const std::string signs = "keyUsage=digitalSignature";
  const std::string code = "extendedKeyUsage=codeSigning";
  CHECK(made_with({leaf, signs, code}).check_command_signing());
  CHECK(made_with({signs, code}).check_command_signing());
  CHECK_FALSE(made_with({leaf, signs}).check_command_signing());
  CHECK_FALSE(made_with({leaf, code}).check_command_signing());
  CHECK_FALSE(made_with({leaf, "keyUsage=keyEncipherment", code}).check_command_signing());
  CHECK_FALSE(made_with({leaf, signs, "extendedKeyUsage=codeSigning,clientAuth"}).check_command_signing());
  CHECK_FALSE(made_with({leaf, signs, "extendedKeyUsage=codeSigning,1.2.3.4.5"}).check_command_signing());
  CHECK_FALSE(made_with({leaf, signs, "extendedKeyUsage=anyExtendedKeyUsage"}).check_command_signing());
  CHECK_FALSE(made_with({"basicConstraints=critical,CA:TRUE", "keyUsage=digitalSignature,keyCertSign", code})
                  .check_command_signing());
  CHECK_FALSE(made_with({"keyUsage=digitalSignature,keyCertSign", code}).check_command_signing());
  CHECK_FALSE(made_with({"basicConstraints=DER:0500", signs, code}).check_command_signing());
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("a certificate's hosts are its DNS names and then its addresses, IPv6 ones too") {
  const TempFolder folder;
  const auto file = put(folder, "c.cnf",
                        "[req]\ndistinguished_name=n\n[n]\n[e]\n"
                        "subjectAltName=IP:2001:db8:0:0::1,DNS:a.example,IP:192.0.2.1,email:x@a.example\n");
  const auto made = must(Certificate::from_pem(
      openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=s", "-keyout",
               (folder / "k").string(), "-config", file, "-extensions", "e"})));
  CHECK(made.host_names() == std::vector<std::string>{"a.example", "2001:db8::1", "192.0.2.1"});
}

TEST_CASE("a CA for devices or brokers may not stand above a signing leaf") {
  const Pki pki;
  CHECK(check_command_signing_chain({pki.signing.certificate, pki.platform_ca.certificate}));
  CHECK(check_command_signing_chain({pki.signing.certificate, pki.platform_ca.certificate, pki.root.certificate}));
  const auto rogue = test::make_below(pki.device_ca, CertificateProfile::kCommandSigning, "Rogue", pki.now);
  const std::vector<Certificate> chain{rogue.certificate, pki.device_ca.certificate};
  CHECK(rogue.certificate.check_command_signing());
  CHECK(verify_chain(chain, {pki.root.certificate}, pki.now));
  CHECK(check_command_signing_chain(chain).error().code == ErrorCode::kUnauthenticated);
  CHECK(check_command_signing_chain({pki.device.certificate, pki.device_ca.certificate}).error().code ==
        ErrorCode::kUnauthenticated);
  CHECK(check_command_signing_chain({}).error().code == ErrorCode::kUnauthenticated);
}

TEST_CASE("a PEM chain keeps its order, and anything else in it is refused") {
  const Pki pki;
  const std::vector<Certificate> chain{pki.signing.certificate, pki.platform_ca.certificate};
  const std::string pem = to_pem(chain);
  const auto read = must(Certificate::chain_from_pem("comment\n" + pem + "# more\n"));
  REQUIRE(read.size() == 2);
  CHECK(read[0].to_der() == chain[0].to_der());
  CHECK(read[1].to_der() == chain[1].to_der());
  const auto code = [](std::string_view text, std::size_t limit) {
    return Certificate::chain_from_pem(text, limit).error().code;
  };
  CHECK(code(pem, 1) == ErrorCode::kLimitExceeded);
  CHECK(code("", 10) == ErrorCode::kMalformed);
  CHECK(code("no certificate", 10) == ErrorCode::kMalformed);
  CHECK(code(pem + std::string(pki.signing.key.to_pem().reveal()), 10) == ErrorCode::kMalformed);
  CHECK(code(pem + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 10) == ErrorCode::kMalformed);
  CHECK(Certificate::from_pem(pem).error().code == ErrorCode::kLimitExceeded);
  // cut anywhere, a chain is not quietly one certificate shorter
  const std::size_t first = chain[0].to_pem().size();
  for (std::size_t size = first + 20; size + 2 < pem.size(); size += 7) {
    CHECK(code(std::string_view(pem).substr(0, size), 10) == ErrorCode::kMalformed);
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("a certificate cut short at any byte is malformed, an altered one does not crash or verify") {
  const Pki pki;
  const Bytes der = pki.device.certificate.to_der();
  for (std::size_t i = 0; i < der.size(); ++i) {
    REQUIRE(Certificate::from_der(std::string_view(der).substr(0, i)).error().code == ErrorCode::kMalformed);
    for (const int flip : {0x01, 0x80, 0xff}) {
      Bytes altered = der;
      altered[i] = static_cast<char>(altered[i] ^ flip);
      const auto read = Certificate::from_der(altered);
      if (!read) continue;
      static_cast<void>(read->check_command_signing());
      static_cast<void>(read->serial() + read->subject_cn() + read->to_pem());
      REQUIRE_FALSE(verify_chain({*read, pki.device_ca.certificate}, {pki.root.certificate}, pki.now));
    }
  }
  CHECK(Certificate::from_der(der + '\0').error().code == ErrorCode::kMalformed);
  CHECK(take_openssl_errors().empty());
}

}  // namespace
}  // namespace fleet::crypto
