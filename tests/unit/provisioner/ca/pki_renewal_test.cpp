#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/unit/provisioner/ca/pki_fixture.hpp"

namespace fleet::provisioner {
namespace {

namespace fs = std::filesystem;
using test::kDay;
using test::must;
using test::PkiOnDisk;

TEST_CASE("a renewed leaf has a new key and serial, the same name, and loads after the old one has expired") {
  const PkiOnDisk disk;
  const Pki before = must(disk.load());
  const WallTime later = disk.now + 400 * kDay;
  CHECK(load_pki(disk.folder, later).error().code == ErrorCode::kExpired);
  must(renew_broker_certificate(disk.folder, {"new.example.org"}, later));
  must(renew_signing_certificate(disk.folder, later));
  const Pki after = must(load_pki(disk.folder, later));
  CHECK(after.broker.subject_cn() == before.broker.subject_cn());
  CHECK(after.broker.serial() != before.broker.serial());
  CHECK_FALSE(after.broker.public_key() == before.broker.public_key());
  CHECK(after.signing.certificate.subject_cn() == before.signing.certificate.subject_cn());
  CHECK_FALSE(after.signing.certificate.public_key() == before.signing.certificate.public_key());
  CHECK(after.root.to_der() == before.root.to_der());
  CHECK(test::mode_of(disk / "broker.key") == 0600);
  CHECK(test::mode_of(disk / "broker.crt") == 0644);
  CHECK_FALSE(fs::exists(disk / "broker.key.new"));
  const auto hosts = test::openssl({"x509", "-in", (disk / "broker.crt").string(), "-noout", "-ext", "subjectAltName"});
  CHECK(hosts.output.find("DNS:new.example.org") != std::string::npos);
}

TEST_CASE("a renewal that a crash stopped before its certificate leaves the old pair") {
  const PkiOnDisk disk;
  const Pki before = must(disk.load());
  must(write_file(disk / "broker.key.new", must(crypto::PrivateKey::generate()).to_pem().reveal()));
  const Pki after = must(disk.load());
  CHECK(after.broker.to_der() == before.broker.to_der());
  CHECK(after.broker_key_pem == before.broker_key_pem);
  must(renew_broker_certificate(disk.folder, {"localhost"}, disk.now));
  CHECK(disk.load());
  CHECK_FALSE(fs::exists(disk / "broker.key.new"));
}

TEST_CASE(
    "a renewal that a crash stopped after its certificate leaves the new pair, and the next one goes on from there") {
  const PkiOnDisk disk;
  const std::string old_key = test::get(disk / "signing.key");
  must(renew_signing_certificate(disk.folder, disk.now));
  const Pki renewed = must(disk.load());
  // as it was between the certificate and the renaming of the key
  fs::rename(disk / "signing.key", disk / "signing.key.new");
  must(write_file(disk / "signing.key", old_key));
  const Pki after = must(disk.load());
  CHECK(after.signing.certificate.to_der() == renewed.signing.certificate.to_der());
  CHECK(after.signing.key.check_fits(after.signing.certificate.public_key()));

  // a next renewal that fails still tidies up, and loses nothing
  fs::remove(disk / "platform-ca.key");
  CHECK(renew_signing_certificate(disk.folder, disk.now).error().code == ErrorCode::kNotFound);
  CHECK_FALSE(fs::exists(disk / "signing.key.new"));
  CHECK(must(disk.load()).signing.certificate.to_der() == renewed.signing.certificate.to_der());
}

TEST_CASE("a renewal without its CA's key, by an expired CA, or with bad hosts changes nothing") {
  const PkiOnDisk disk;
  const std::string certificate = test::get(disk / "broker.crt");
  const std::string key = test::get(disk / "broker.key");
  CHECK(renew_broker_certificate(disk.folder, {}, disk.now).error().code == ErrorCode::kInvalidArgument);
  CHECK(renew_broker_certificate(disk.folder, {"a b"}, disk.now).error().code == ErrorCode::kInvalidArgument);
  CHECK(renew_broker_certificate(disk.folder, {"h"}, disk.now + 11 * kYear).error().code == ErrorCode::kExpired);
  fs::permissions(disk / "broker-ca.key", static_cast<fs::perms>(0644));
  CHECK(renew_broker_certificate(disk.folder, {"h"}, disk.now).error().code == ErrorCode::kPermissionDenied);
  fs::remove(disk / "broker-ca.key");
  CHECK(renew_broker_certificate(disk.folder, {"h"}, disk.now).error().code == ErrorCode::kNotFound);
  CHECK(test::get(disk / "broker.crt") == certificate);
  CHECK(test::get(disk / "broker.key") == key);
  CHECK_FALSE(fs::exists(disk / "broker.key.new"));
}

TEST_CASE("two renewals do not run at once") {
  const PkiOnDisk disk;
  const auto lock = must(FileLock::acquire(disk / ".renewal.lock"));
  CHECK(renew_broker_certificate(disk.folder, {"h"}, disk.now).error().code == ErrorCode::kConflict);
}

}  // namespace
}  // namespace fleet::provisioner
