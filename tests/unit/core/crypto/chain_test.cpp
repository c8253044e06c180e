#include <string>

#include <doctest/doctest.h>

#include "core/crypto/certificate.hpp"
#include "core/crypto/tls.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using test::kDay;
using test::kHour;
using test::make_below;
using test::make_root;
using test::must;
using test::openssl;
using test::Pki;
using test::put;
using test::TempFolder;

ErrorCode code_of(const Result<void>& verdict) {
  REQUIRE_FALSE(verdict);
  return verdict.error().code;
}

bool mentions(const Result<void>& verdict, std::string_view part) {
  return verdict.error().message.find(part) != std::string::npos;
}

TEST_CASE("a chain verifies up to its root, with or without the root in it") {
  const Pki pki;
  const std::vector<Certificate> chain{pki.signing.certificate, pki.platform_ca.certificate};
  const std::vector<Certificate> with_root{chain[0], chain[1], pki.root.certificate};
  const auto stranger = make_root("Other Root", pki.now);
  CHECK(verify_chain(chain, {pki.root.certificate}, pki.now));
  CHECK(verify_chain(with_root, {pki.root.certificate}, pki.now));
  CHECK(verify_chain(chain, {stranger.certificate, pki.root.certificate}, pki.now));
  CHECK(verify_chain({chain[0]}, {chain[1]}, pki.now));  // the anchor need not be self-signed
}

TEST_CASE("a chain without its intermediate, to another root, to no root, or empty is not trusted") {
  const Pki pki;
  const auto stranger = make_root("Test Root CA", pki.now);  // the same name, another key
  const std::vector<Certificate> chain{pki.signing.certificate, pki.platform_ca.certificate};
  CHECK(code_of(verify_chain({chain[0]}, {pki.root.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
  CHECK(code_of(verify_chain(chain, {stranger.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
  CHECK(code_of(verify_chain(chain, {}, pki.now)) == ErrorCode::kUnauthenticated);
  CHECK(code_of(verify_chain({}, {pki.root.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
  const std::vector<Certificate> with_stranger{chain[0], chain[1], stranger.certificate};
  CHECK(code_of(verify_chain(with_stranger, {pki.root.certificate}, pki.now + 4000 * kDay)) == ErrorCode::kExpired);
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("time alone makes kExpired and names the certificate; any other fault outweighs it") {
  const Pki pki;
  const std::vector<Certificate> chain{pki.signing.certificate, pki.platform_ca.certificate};
  const auto late = verify_chain(chain, {pki.root.certificate}, pki.now + 400 * kDay);
  CHECK(code_of(late) == ErrorCode::kExpired);
  CHECK(mentions(late, "expired"));
  const auto early = verify_chain(chain, {pki.root.certificate}, pki.now - 2 * kHour);
  CHECK(code_of(early) == ErrorCode::kExpired);
  CHECK(mentions(early, "not yet valid"));

  const auto short_lived = make_below(pki.platform_ca, CertificateProfile::kCommandSigning, "Short", pki.now, 1);
  const auto expired =
      verify_chain({short_lived.certificate, pki.platform_ca.certificate}, {pki.root.certificate}, pki.now + 2 * kDay);
  CHECK(code_of(expired) == ErrorCode::kExpired);
  CHECK(mentions(expired, "'Short'"));

  const auto stranger = make_root("Other Root", pki.now);
  CHECK(code_of(verify_chain(chain, {stranger.certificate}, pki.now + 400 * kDay)) == ErrorCode::kUnauthenticated);
}

TEST_CASE("certificates are valid to the second at both ends") {
  const Pki pki;
  const std::vector<Certificate> chain{pki.device.certificate, pki.device_ca.certificate};
  const auto& leaf = pki.device.certificate;
  CHECK(verify_chain(chain, {pki.root.certificate}, leaf.not_before()));
  CHECK_FALSE(verify_chain(chain, {pki.root.certificate}, leaf.not_before() - Seconds(1)));
  CHECK(verify_chain(chain, {pki.root.certificate}, leaf.not_after() - Seconds(1)));
  CHECK_FALSE(verify_chain(chain, {pki.root.certificate}, leaf.not_after() + Seconds(1)));
}

TEST_CASE("a clock in 1970 makes today's chain not yet valid, and a chain of 1970 valid") {
  const Pki pki;
  const WallTime epoch{};
  const std::vector<Certificate> chain{pki.signing.certificate, pki.platform_ca.certificate};
  CHECK(code_of(verify_chain(chain, {pki.root.certificate}, epoch)) == ErrorCode::kExpired);
  CHECK(code_of(verify_chain_unanchored(chain, epoch)) == ErrorCode::kExpired);
  const auto old_root = make_root("1970 Root", epoch, 1);
  CHECK(old_root.certificate.not_before() == epoch - kHour);
  const auto leaf = make_below(old_root, CertificateProfile::kDevice, "d", epoch, 1);
  CHECK(verify_chain({leaf.certificate}, {old_root.certificate}, epoch));
}

TEST_CASE("a device certificate, or a signing leaf, cannot issue certificates") {
  const Pki pki;
  const TempFolder folder;
  const auto ca_key = put(folder, "ca.key", pki.device.key.to_pem().reveal());
  const auto ca = put(folder, "ca.pem", pki.device.certificate.to_pem());
  const auto csr = put(folder, "csr.pem",
                       openssl({"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                                "-subj", "/CN=forged", "-keyout", (folder / "k").string()}));
  const auto forged = must(Certificate::from_pem(
      openssl({"x509", "-req", "-in", csr, "-CA", ca, "-CAkey", ca_key, "-set_serial", "1", "-days", "1"})));
  CHECK(code_of(verify_chain({forged, pki.device.certificate, pki.device_ca.certificate}, {pki.root.certificate},
                             pki.now)) == ErrorCode::kUnauthenticated);
  CHECK(code_of(verify_chain_unanchored({forged, pki.device.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
}

TEST_CASE("a CA with path length 0 has no CA below it") {
  const Pki pki;
  const auto below = make_below(pki.platform_ca, CertificateProfile::kPlatformCa, "Below", pki.now);
  const auto leaf = make_below(below, CertificateProfile::kCommandSigning, "Leaf", pki.now);
  const std::vector<Certificate> chain{leaf.certificate, below.certificate, pki.platform_ca.certificate};
  const auto verdict = verify_chain(chain, {pki.root.certificate}, pki.now);
  CHECK(code_of(verdict) == ErrorCode::kUnauthenticated);
  CHECK(mentions(verdict, "path length"));
  CHECK(code_of(verify_chain_unanchored(chain, pki.now)) == ErrorCode::kUnauthenticated);
}

TEST_CASE("an issuer without basicConstraints is no CA, not even as a root") {
  const TempFolder folder;
  const auto config = put(folder, "c.cnf", "[req]\ndistinguished_name=n\n[n]\n[e]\nkeyUsage=keyCertSign\n");
  const auto key_file = (folder / "k").string();
  const auto old_ca = must(
      Certificate::from_pem(openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                                     "-subj", "/CN=old", "-keyout", key_file, "-config", config, "-extensions", "e"})));
  CHECK_FALSE(old_ca.is_ca());
  const auto csr = put(folder, "csr.pem",
                       openssl({"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                                "-subj", "/CN=leaf", "-keyout", (folder / "l").string()}));
  const auto leaf =
      must(Certificate::from_pem(openssl({"x509", "-req", "-in", csr, "-CA", put(folder, "old.pem", old_ca.to_pem()),
                                          "-CAkey", key_file, "-set_serial", "1", "-days", "1"})));
  CHECK(code_of(verify_chain({leaf}, {old_ca}, wall_now())) == ErrorCode::kUnauthenticated);
}

TEST_CASE("chains made elsewhere without key identifiers verify; weak keys and digests do not") {
  const TempFolder folder;
  const auto chain_of = [&](std::vector<std::string> key, const std::string& digest) {
    const auto config =
        put(folder, "c.cnf", "[req]\ndistinguished_name=n\n[n]\n[e]\nbasicConstraints=critical,CA:TRUE\n");
    const auto ca_key = (folder / "ca.key").string();
    std::vector<std::string> command{"req",     "-x509", "-nodes",  "-subj", "/CN=plain",   digest, "-days",  "2",
                                     "-keyout", ca_key,  "-config", config,  "-extensions", "e",    "-newkey"};
    command.insert(command.end(), key.begin(), key.end());
    const std::string ca = openssl(command);
    const auto csr = put(folder, "csr.pem",
                         openssl({"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                                  "-subj", "/CN=leaf", "-keyout", (folder / "l").string()}));
    const std::string leaf = openssl({"x509", "-req", digest, "-in", csr, "-CA", put(folder, "ca.pem", ca), "-CAkey",
                                      ca_key, "-set_serial", "1", "-days", "1"});
    return std::vector<Certificate>{must(Certificate::from_pem(leaf)), must(Certificate::from_pem(ca))};
  };
  const auto good = chain_of({"rsa:2048"}, "-sha256");
  CHECK(verify_chain({good[0]}, {good[1]}, wall_now()));
  CHECK(verify_chain_unanchored(good, wall_now()));
  const auto weak_key = chain_of({"rsa:1024"}, "-sha256");
  CHECK(code_of(verify_chain({weak_key[0]}, {weak_key[1]}, wall_now())) == ErrorCode::kUnauthenticated);
  const auto weak_digest = chain_of({"rsa:2048"}, "-sha1");
  CHECK(code_of(verify_chain({weak_digest[0]}, {weak_digest[1]}, wall_now())) == ErrorCode::kUnauthenticated);
}

TEST_CASE("a chain too deep is refused") {
  const auto now = wall_now();
  Issuer above = make_root("Root", now);
  const Certificate root = above.certificate;
  std::vector<Certificate> chain;
  for (int i = 0; i < 12; ++i) {
    // kRootCa is the only profile without a path length: sign such a certificate as an intermediate by the openssl
    // command
    const TempFolder folder;
    const auto key = must(PrivateKey::generate());
    const auto csr = put(folder, "csr.der", must(Csr::create(key, "CA " + std::to_string(i))));
    const auto extensions = put(folder, "e.cnf", "basicConstraints=critical,CA:TRUE\n");
    const std::string pem =
        openssl({"x509", "-req", "-inform", "DER", "-in", csr, "-CA", put(folder, "ca.pem", above.certificate.to_pem()),
                 "-CAkey", put(folder, "ca.key", above.key.to_pem().reveal()), "-set_serial", "7", "-days", "1",
                 "-extfile", extensions});
    above = Issuer{must(Certificate::from_pem(pem)), key};
    chain.insert(chain.begin(), above.certificate);
    const auto leaf = make_below(above, CertificateProfile::kDevice, "leaf", now, 1);
    std::vector<Certificate> whole{leaf.certificate};
    whole.insert(whole.end(), chain.begin(), chain.end());
    const bool fits = chain.size() <= 8;
    CHECK(verify_chain(whole, {root}, wall_now()).has_value() == fits);
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("what was verified once vouches for nothing but the same certificates, roots and times") {
  const Pki pki;
  const auto stranger = make_root("Test Root CA", pki.now);
  const std::vector<Certificate> chain{pki.signing.certificate, pki.platform_ca.certificate};
  const std::vector<Certificate> roots{pki.root.certificate};
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    // of all certificates the leaf's time is the shortest: what was verified within it must not stretch it
    CHECK(code_of(verify_chain(chain, roots, chain[0].not_after())) == ErrorCode::kExpired);
    CHECK(verify_chain(chain, roots, chain[0].not_after() - Millis(1)));
    CHECK(verify_chain(chain, roots, chain[0].not_before()));
    CHECK(code_of(verify_chain(chain, roots, chain[0].not_before() - Millis(1))) == ErrorCode::kExpired);
    CHECK(verify_chain(chain, roots, pki.now));
    CHECK(code_of(verify_chain(chain, {stranger.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
    CHECK(code_of(verify_chain(chain, {}, pki.now)) == ErrorCode::kUnauthenticated);
    CHECK(code_of(verify_chain({chain[0]}, roots, pki.now)) == ErrorCode::kUnauthenticated);
    CHECK(code_of(verify_chain({chain[0], stranger.certificate}, roots, pki.now)) == ErrorCode::kUnauthenticated);
    CHECK(code_of(verify_chain(chain, roots, pki.now + 4000 * kDay)) == ErrorCode::kExpired);
    CHECK(code_of(verify_chain(chain, roots, pki.now - 4000 * kDay)) == ErrorCode::kExpired);
  }
  // more than are remembered
  for (int i = 0; i < 40; ++i) {
    const Pki other;
    CHECK(verify_chain({other.signing.certificate, other.platform_ca.certificate}, {other.root.certificate}, other.now));
  }
  CHECK(verify_chain(chain, roots, pki.now));
  CHECK(code_of(verify_chain(chain, {stranger.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
}

TEST_CASE("without an anchor each certificate must be signed by the next") {
  const Pki pki;
  const std::vector<Certificate> chain{pki.signing.certificate, pki.platform_ca.certificate};
  CHECK(verify_chain_unanchored(chain, pki.now));
  CHECK(verify_chain_unanchored({pki.signing.certificate}, pki.now));
  CHECK(verify_chain_unanchored({chain[0], chain[1], pki.root.certificate}, pki.now));
  CHECK(code_of(verify_chain_unanchored({chain[1], chain[0]}, pki.now)) == ErrorCode::kUnauthenticated);
  CHECK(code_of(verify_chain_unanchored({chain[0], pki.root.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
  CHECK(code_of(verify_chain_unanchored({chain[0], pki.device_ca.certificate}, pki.now)) ==
        ErrorCode::kUnauthenticated);
  CHECK(code_of(verify_chain_unanchored(chain, pki.now + 400 * kDay)) == ErrorCode::kExpired);
  CHECK(code_of(verify_chain_unanchored({}, pki.now)) == ErrorCode::kUnauthenticated);
  const auto namesake = make_below(pki.root, CertificateProfile::kPlatformCa, "Test Platform CA", pki.now);
  CHECK(code_of(verify_chain_unanchored({chain[0], namesake.certificate}, pki.now)) == ErrorCode::kUnauthenticated);
  CHECK(take_openssl_errors().empty());
}

}  // namespace
}  // namespace fleet::crypto
