// What load_pki says about a folder that is not as it should be.
#include <doctest/doctest.h>

#include "tests/unit/provisioner/ca/pki_fixture.hpp"

namespace fleet::provisioner {
namespace {

namespace fs = std::filesystem;
using test::kDay;
using test::must;
using test::PkiOnDisk;

// Loading fails with `code` and names `file`.
void check_refused(const Result<Pki>& loaded, ErrorCode code, std::string_view file) {
  REQUIRE_FALSE(loaded);
  CAPTURE(loaded.error().message);
  CHECK(to_string(loaded.error().code) == to_string(code));
  CHECK(loaded.error().message.find(file) != std::string::npos);
}

TEST_CASE("a folder that is not there is named") {
  const auto loaded = load_pki("/nonexistent/pki", wall_now());
  check_refused(loaded, ErrorCode::kNotFound, "/nonexistent/pki");
  CHECK(loaded.error().message == "/nonexistent/pki: there is no PKI here");
}

TEST_CASE("each certificate and each key in use must be there and in form") {
  for (const std::string name : {"root.crt", "platform-ca.crt", "device-ca.crt", "broker-ca.crt", "signing.crt",
                                 "broker.crt", "device-ca.key", "signing.key", "broker.key"}) {
    CAPTURE(name);
    const PkiOnDisk pki;
    const std::string whole = test::get(pki / name);
    test::put(pki / name, whole.substr(0, whole.size() / 2));
    check_refused(pki.load(), ErrorCode::kMalformed, name);
    fs::remove(pki / name);
    check_refused(pki.load(), ErrorCode::kNotFound, name);
  }
}

TEST_CASE("keys that only renewals need may be kept elsewhere") {
  const PkiOnDisk pki;
  for (const std::string name : {"root.key", "platform-ca.key", "broker-ca.key"}) fs::remove(pki / name);
  CHECK(pki.load());
}

TEST_CASE("a key that others may read is refused by name, whoever it is") {
  for (const std::string name : {"root", "platform-ca", "device-ca", "broker-ca", "signing", "broker"}) {
    const PkiOnDisk pki;
    for (const int bit : {0040, 0004, 0020, 0001}) {
      fs::permissions(pki / (name + ".key"), static_cast<fs::perms>(0600 | bit));
      check_refused(pki.load(), ErrorCode::kPermissionDenied, name + ".key");
    }
    fs::permissions(pki / (name + ".key"), static_cast<fs::perms>(0400));
    CHECK(pki.load());
  }
}

TEST_CASE("a key of another certificate is refused by name") {
  for (const std::string name : {"root", "platform-ca", "device-ca", "broker-ca", "signing", "broker"}) {
    const PkiOnDisk pki;
    const PkiOnDisk other;
    test::put(pki / (name + ".key"), test::get(other / (name + ".key")));
    check_refused(pki.load(), ErrorCode::kCorrupt, name + ".key");
  }
}

TEST_CASE("certificates of another PKI are refused by name") {
  for (const std::string name : {"platform-ca", "device-ca", "broker-ca", "signing", "broker"}) {
    const PkiOnDisk pki;
    const PkiOnDisk other;
    for (const std::string kind : {".crt", ".key"}) test::put(pki / (name + kind), test::get(other / (name + kind)));
    check_refused(pki.load(), ErrorCode::kUnauthenticated, name + ".crt");
  }
}

TEST_CASE("a certificate of the wrong kind is refused, above all a device CA that could sign commands") {
  const PkiOnDisk pki;
  const auto swap = [&](const std::string& with, const std::string& name) {
    for (const std::string kind : {".crt", ".key"}) test::put(pki / (name + kind), test::get(pki / (with + kind)));
  };
  swap("platform-ca", "device-ca");
  check_refused(pki.load(), ErrorCode::kUnauthenticated, "device-ca.crt");
  const PkiOnDisk second;
  for (const std::string kind : {".crt", ".key"}) {
    test::put(second / ("signing" + kind), test::get(second / ("broker" + kind)));
  }
  check_refused(second.load(), ErrorCode::kUnauthenticated, "signing.crt");
}

TEST_CASE(
    "an expired leaf says to renew it, an expired CA that the PKI has come to its end, a wrong clock that it is "
    "wrong") {
  const PkiOnDisk pki;
  const auto leaf = load_pki(pki.folder, pki.now + 366 * kDay);
  check_refused(leaf, ErrorCode::kExpired, "signing.crt");
  CHECK(leaf.error().message.find("renew it") != std::string::npos);
  const auto ca = load_pki(pki.folder, pki.now + 11 * kYear);
  check_refused(ca, ErrorCode::kExpired, "platform-ca.crt");
  CHECK(ca.error().message.find("new PKI") != std::string::npos);
  const auto early = load_pki(pki.folder, WallTime{});
  check_refused(early, ErrorCode::kExpired, "root.crt");
  CHECK(early.error().message.find("clock") != std::string::npos);
}

}  // namespace
}  // namespace fleet::provisioner
