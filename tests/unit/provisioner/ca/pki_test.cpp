#include "provisioner/ca/pki.hpp"

#include <doctest/doctest.h>

#include "tests/unit/provisioner/ca/pki_fixture.hpp"

namespace fleet::provisioner {
namespace {

namespace fs = std::filesystem;
using test::kDay;
using test::must;
using test::PkiOnDisk;
using test::TempFolder;

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST_CASE("init makes six certificates and keys, keys for their owner alone, and nothing else") {
  const PkiOnDisk pki;
  CHECK(test::mode_of(pki.folder) == 0700);
  for (const std::string name : {"root", "platform-ca", "signing", "device-ca", "broker-ca", "broker"}) {
    CAPTURE(name);
    CHECK(test::mode_of(pki / (name + ".key")) == 0600);
    CHECK(test::mode_of(pki / (name + ".crt")) == 0644);
  }
  CHECK(entries(pki.folder) == 12);
  CHECK(entries(pki.parent.path()) == 1);  // no temporary folder is left
}

TEST_CASE("the openssl command accepts each chain for its purpose") {
  const PkiOnDisk pki;
  const auto verify = [&](std::string_view purpose, const std::string& ca, const std::string& leaf) {
    return test::openssl({"verify", "-x509_strict", "-purpose", std::string(purpose), "-CAfile",
                          (pki / "root.crt").string(), "-untrusted", (pki / ca).string(), (pki / leaf).string()})
               .exit_code == 0;
  };
  CHECK(verify("any", "platform-ca.crt", "signing.crt"));
  CHECK(verify("sslserver", "broker-ca.crt", "broker.crt"));
  CHECK_FALSE(verify("sslclient", "broker-ca.crt", "broker.crt"));
  CHECK_FALSE(verify("any", "device-ca.crt", "signing.crt"));
  const auto hosts = test::openssl({"x509", "-in", (pki / "broker.crt").string(), "-noout", "-ext", "subjectAltName"});
  CHECK(hosts.output.find("DNS:localhost, IP Address:127.0.0.1") != std::string::npos);
}

TEST_CASE("load gives chains without the root, the keys that go with them, and names from the options") {
  const PkiOnDisk disk;
  const Pki pki = must(disk.load());
  CHECK(pki.root.subject_cn() == "Test Root CA");
  const auto signing = must(crypto::Certificate::chain_from_pem(pki.signing_chain_pem));
  REQUIRE(signing.size() == 2);
  CHECK(signing[0].to_der() == pki.signing.certificate.to_der());
  CHECK(signing[1].subject_cn() == "Test Platform CA");
  CHECK(crypto::verify_chain(signing, {pki.root}, disk.now));
  CHECK(crypto::check_command_signing_chain(signing));
  CHECK(pki.signing.key.check_fits(pki.signing.certificate.public_key()));
  const auto device = must(crypto::Certificate::chain_from_pem(pki.device_chain_pem));
  REQUIRE(device.size() == 1);
  CHECK(device[0].subject_cn() == "Test Device CA");
  CHECK(pki.device_ca.key.check_fits(device[0].public_key()));
  const auto broker = must(crypto::Certificate::chain_from_pem(pki.broker_chain_pem));
  REQUIRE(broker.size() == 2);
  CHECK(crypto::verify_chain(broker, {pki.root}, disk.now));
  CHECK(must(crypto::PrivateKey::from_pem(pki.broker_key_pem.reveal())).check_fits(broker[0].public_key()));
}

TEST_CASE("certificates live as long as the options say, and no longer than their issuer") {
  const PkiOnDisk disk;
  const Pki pki = must(disk.load());
  const auto years = [&](const crypto::Certificate& certificate) {
    return std::chrono::round<std::chrono::days>(certificate.not_after() - disk.now).count() / 365;
  };
  CHECK(years(pki.root) == 20);
  CHECK(years(pki.device_ca.certificate) == 10);
  CHECK(years(pki.signing.certificate) == 1);
  CHECK(years(pki.broker) == 1);
  CHECK(pki.root.not_before() < disk.now);
  const TempFolder folder;
  PkiOptions options = test::options();
  options.root_validity = 2 * kDay;
  must(init_pki(folder / "short", options, disk.now));
  CHECK(must(load_pki(folder / "short", disk.now)).broker.not_after() <= disk.now + 2 * kDay);
}

TEST_CASE("a PKI, or anything else, is never overwritten") {
  const PkiOnDisk pki;
  const std::string before = test::get(pki / "root.key");
  CHECK(init_pki(pki.folder, test::options(), pki.now).error().code == ErrorCode::kAlreadyExists);
  CHECK(init_pki(pki.folder / "", test::options(), pki.now).error().code == ErrorCode::kAlreadyExists);
  CHECK(test::get(pki / "root.key") == before);
  const TempFolder folder;
  test::put(folder / "file", "x");
  CHECK(init_pki(folder / "file", test::options(), pki.now).error().code == ErrorCode::kAlreadyExists);
  CHECK(test::get(folder / "file") == "x");
}

TEST_CASE("an empty folder, a trailing slash, spaces and missing parents are fine") {
  const TempFolder folder;
  fs::create_directory(folder / "empty");
  const auto now = wall_now();
  CHECK(init_pki(folder / "empty", test::options(), now));
  CHECK(test::mode_of(folder / "empty") == 0700);
  CHECK(init_pki(folder / "with space" / "", test::options(), now));
  CHECK(load_pki(folder / "with space", now));
  CHECK(init_pki(folder / "a" / "b" / "pki", test::options(), now));
  CHECK(load_pki(folder / "a" / "b" / "pki", now));
}

TEST_CASE("options that cannot work leave nothing behind") {
  const TempFolder folder;
  const auto code = [&](const PkiOptions& options) {
    return init_pki(folder / "pki", options, wall_now()).error().code;
  };
  PkiOptions options = test::options();
  options.broker_hosts = {};
  CHECK(code(options) == ErrorCode::kInvalidArgument);
  options.broker_hosts = {"not a host"};
  CHECK(code(options) == ErrorCode::kInvalidArgument);
  options = test::options();
  options.name = std::string(41, 'x');
  CHECK(code(options) == ErrorCode::kInvalidArgument);
  options.name = "line\nbreak";
  CHECK(code(options) == ErrorCode::kInvalidArgument);
  options = test::options();
  options.root_validity = -2 * kYear;
  CHECK(code(options) == ErrorCode::kInvalidArgument);
  CHECK(entries(folder.path()) == 0);
}

TEST_CASE("a device certificate names its client, begins five minutes ago and passes as TLS client only") {
  const PkiOnDisk disk;
  const Pki pki = must(disk.load());
  const auto key = must(crypto::PrivateKey::generate());
  const auto issued =
      must(issue_device_certificate(pki.device_ca, "02FC00000001", key.public_key(), 90 * kDay, disk.now));
  const auto certificate = must(crypto::Certificate::from_der(issued.der));
  CHECK(issued.serial == certificate.serial());
  CHECK(issued.not_before == certificate.not_before());
  CHECK(issued.not_after == certificate.not_after());
  CHECK(issued.to_pem() == certificate.to_pem());
  CHECK(certificate.subject_cn() == "02FC00000001");
  CHECK(certificate.public_key() == key.public_key());
  CHECK(certificate.not_before() == std::chrono::floor<Seconds>(disk.now - std::chrono::minutes(5)));
  CHECK(certificate.not_after() == std::chrono::floor<Seconds>(disk.now + 90 * kDay));
  CHECK(crypto::verify_chain({certificate, pki.device_ca.certificate}, {pki.root}, disk.now));
  CHECK_FALSE(certificate.check_command_signing());
  test::put(disk / "device.pem", certificate.to_pem());
  const auto verify = [&](const std::string& purpose) {
    return test::openssl({"verify", "-x509_strict", "-purpose", purpose, "-CAfile", (disk / "root.crt").string(),
                          "-untrusted", (disk / "device-ca.crt").string(), (disk / "device.pem").string()})
               .exit_code == 0;
  };
  CHECK(verify("sslclient"));
  CHECK_FALSE(verify("sslserver"));
}

TEST_CASE("no device certificate for a bad client id, a weak key or no time") {
  const PkiOnDisk disk;
  const Pki pki = must(disk.load());
  const auto key = must(crypto::PrivateKey::generate()).public_key();
  const auto code = [&](std::string_view client_id, const crypto::PublicKey& of, Millis validity) {
    return issue_device_certificate(pki.device_ca, client_id, of, validity, disk.now).error().code;
  };
  CHECK(code("", key, kDay) == ErrorCode::kInvalidArgument);
  CHECK(code(std::string(65, 'x'), key, kDay) == ErrorCode::kInvalidArgument);
  CHECK(code("d", key, -kDay) == ErrorCode::kInvalidArgument);
  test::put(disk / "weak", test::openssl({"genrsa", "1024"}).output);
  const auto weak =
      must(crypto::PublicKey::from_pem(test::openssl({"rsa", "-in", (disk / "weak").string(), "-pubout"}).output));
  CHECK(code("d", weak, kDay) == ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace fleet::provisioner
