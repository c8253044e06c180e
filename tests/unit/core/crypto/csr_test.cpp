#include <string>

#include <doctest/doctest.h>

#include "core/crypto/certificate.hpp"
#include "core/crypto/tls.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using test::must;
using test::openssl;
using test::put;
using test::TempFolder;

TEST_CASE("the openssl command verifies our CSRs and reads the common name") {
  const TempFolder folder;
  for (const auto type : {KeyType::kP256, KeyType::kP384, KeyType::kEd25519, KeyType::kRsa2048}) {
    const auto csr = put(folder, "csr.der", must(Csr::create(must(PrivateKey::generate(type)), "02FC00000001")));
    CHECK(openssl({"req", "-inform", "DER", "-in", csr, "-verify", "-noout", "-subject"}).find("CN = 02FC00000001") !=
          std::string::npos);
  }
}

TEST_CASE("CSRs of the openssl command are read, in PEM and DER, with the key that signed them") {
  const TempFolder folder;
  const std::vector<std::vector<std::string>> kinds = {
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"},
      {"-newkey", "ed25519"},
      {"-newkey", "rsa:2048"},
      {"-newkey", "rsa:2048", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "subjectAltName=DNS:evil"}};
  for (const auto& kind : kinds) {
    const auto key_file = (folder / "key.pem").string();
    const auto pem_file = (folder / "csr.pem").string();
    std::vector<std::string> command{"req", "-new", "-nodes", "-subj", "/CN=x", "-keyout", key_file, "-out", pem_file};
    command.insert(command.end(), kind.begin(), kind.end());
    openssl(command);
    const auto key = must(PrivateKey::from_pem(test::get(key_file)));
    CHECK(must(Csr::from_pem(test::get(pem_file))).public_key() == key.public_key());
    const std::string der = openssl({"req", "-in", pem_file, "-outform", "DER"});
    CHECK(must(Csr::from_der(der)).public_key() == key.public_key());
  }
}

TEST_CASE("a CSR with a weak or foreign key is refused for its key") {
  const TempFolder folder;
  const std::vector<std::vector<std::string>> kinds = {
      {"-newkey", "rsa:1024"},
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"},
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"},
      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"},
      {"-newkey", "ed448"}};
  for (const auto& kind : kinds) {
    std::vector<std::string> command{"req", "-new", "-nodes", "-subj", "/CN=x", "-keyout", (folder / "k").string()};
    command.insert(command.end(), kind.begin(), kind.end());
    const auto csr = Csr::from_pem(openssl(command));
    REQUIRE_FALSE(csr);
    CHECK(csr.error().code == ErrorCode::kInvalidArgument);
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("a CSR altered anywhere, or cut short anywhere, is never accepted with another content") {
  const auto key = must(PrivateKey::generate());
  const Bytes der = must(Csr::create(key, "02FC00000001"));
  for (std::size_t i = 0; i < der.size(); ++i) {
    REQUIRE(Csr::from_der(std::string_view(der).substr(0, i)).error().code == ErrorCode::kMalformed);
    Bytes altered = der;
    altered[i] = static_cast<char>(altered[i] ^ 1);
    REQUIRE_FALSE(Csr::from_der(altered));
  }
  CHECK(Csr::from_der(der + '\0').error().code == ErrorCode::kMalformed);
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("the key of a CSR of our own is known without reading it as a key, and what is no CSR has none") {
  for (const auto type : {KeyType::kP256, KeyType::kP384, KeyType::kEd25519, KeyType::kRsa2048}) {
    const auto key = must(PrivateKey::generate(type));
    const Bytes der = must(Csr::create(key, "02FC00000001"));
    CHECK(must(Csr::spki_of_own(der)) == key.public_key().spki_der());
    for (std::size_t size = 0; size < der.size(); ++size) {
      REQUIRE(Csr::spki_of_own(std::string_view(der).substr(0, size)).error().code == ErrorCode::kMalformed);
    }
  }
}

TEST_CASE("a CSR whose signature is not by its own key is unauthenticated") {
  Bytes der = must(Csr::create(must(PrivateKey::generate(KeyType::kEd25519)), "d1"));
  der.back() = static_cast<char>(der.back() ^ 1);
  CHECK(Csr::from_der(der).error().code == ErrorCode::kUnauthenticated);
}

TEST_CASE("oversized, empty and foreign input is no CSR") {
  CHECK(Csr::from_der("").error().code == ErrorCode::kMalformed);
  CHECK(Csr::from_der(Bytes(20000, '0')).error().code == ErrorCode::kMalformed);
  CHECK(Csr::from_pem("").error().code == ErrorCode::kMalformed);
  CHECK(Csr::from_pem(test::make_root("x", wall_now()).certificate.to_pem()).error().code == ErrorCode::kMalformed);
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("a common name has 1 to 64 characters and no control characters") {
  const auto key = must(PrivateKey::generate());
  CHECK(Csr::create(key, std::string(64, 'x')));
  std::string umlauts;
  for (int i = 0; i < 64; ++i) umlauts += "ä";
  CHECK(Csr::create(key, umlauts));
  for (const std::string& bad :
       {std::string(65, 'x'), std::string(), std::string("a\0b", 3), std::string("a\nb"), std::string("\xff")}) {
    CHECK(Csr::create(key, bad).error().code == ErrorCode::kInvalidArgument);
  }
  CHECK(take_openssl_errors().empty());
}

}  // namespace
}  // namespace fleet::crypto
