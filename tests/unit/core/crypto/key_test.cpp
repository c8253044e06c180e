#include "core/crypto/key.hpp"

#include <atomic>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "core/crypto/digest.hpp"
#include "core/crypto/tls.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using test::must;
using test::openssl;
using test::openssl_accepts;
using test::put;
using test::TempFolder;

constexpr std::pair<KeyType, std::string_view> kTypes[] = {
    {KeyType::kP256, "ES256"}, {KeyType::kP384, "ES384"}, {KeyType::kEd25519, "EdDSA"}, {KeyType::kRsa2048, "RS256"}};

TEST_CASE("each type of key signs by its own algorithm and its public half verifies that") {
  for (const auto& [type, algorithm] : kTypes) {
    CAPTURE(algorithm);
    const auto key = must(PrivateKey::generate(type));
    CHECK(key.algorithm() == algorithm);
    CHECK(key.public_key().check_device_policy());
    const Bytes signature = must(key.sign("message"));
    CHECK(key.public_key().verify(algorithm, "message", signature));
    CHECK_FALSE(key.public_key().verify(algorithm, "massage", signature));
    CHECK_FALSE(key.public_key().verify(algorithm, "", signature));
    CHECK(key.public_key().verify(algorithm, "", must(key.sign(""))));
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("threads that verify with copies of one key for the first time all come to the right verdict") {
  const auto signer = must(PrivateKey::generate());
  const Bytes signature = must(signer.sign("message"));
  for (int round = 0; round < 20; ++round) {
    const PublicKey key = must(PublicKey::from_spki_der(signer.public_key().spki_der()));
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&right, &signature, key] {
        const bool verifies = key.verify("ES256", "message", signature).has_value();
        const bool refuses = !key.verify("ES256", "massage", signature).has_value();
        if (verifies && refuses) ++right;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(right == 4);
  }
}

TEST_CASE("a signature that is empty, cut short, lengthened or altered anywhere does not verify") {
  const auto key = must(PrivateKey::generate(KeyType::kEd25519));
  const auto ec_key = must(PrivateKey::generate(KeyType::kP256));
  for (const auto& signer : {key, ec_key}) {
    const Bytes signature = must(signer.sign("message"));
    const auto refused = [&](std::string_view altered) {
      const auto verdict = signer.public_key().verify(signer.algorithm(), "message", altered);
      return !verdict && verdict.error().code == ErrorCode::kUnauthenticated;
    };
    for (std::size_t i = 0; i < signature.size(); ++i) {
      Bytes altered = signature;
      altered[i] = static_cast<char>(altered[i] ^ 1);
      CHECK(refused(altered));
      CHECK(refused(signature.substr(0, i)));
    }
    CHECK(refused(signature + '\0'));
    CHECK(refused({}));
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("an algorithm that does not fit the key is refused, an unknown one is unsupported") {
  const auto key = must(PrivateKey::generate(KeyType::kP256));
  const Bytes signature = must(key.sign("message"));
  const auto code = [&](std::string_view algorithm) {
    return key.public_key().verify(algorithm, "message", signature).error().code;
  };
  CHECK(code("ES384") == ErrorCode::kUnauthenticated);
  CHECK(code("EdDSA") == ErrorCode::kUnauthenticated);
  CHECK(code("RS256") == ErrorCode::kUnauthenticated);
  CHECK(code("none") == ErrorCode::kUnsupported);
  CHECK(code("es256") == ErrorCode::kUnsupported);
  CHECK(code("") == ErrorCode::kUnsupported);
}

TEST_CASE("the openssl command verifies our signatures and we verify those of the openssl command") {
  const TempFolder folder;
  const auto message = put(folder, "message", "sign me");
  for (const auto& [type, algorithm] : kTypes) {
    CAPTURE(algorithm);
    const auto key = must(PrivateKey::generate(type));
    const auto key_file = put(folder, "key.pem", key.to_pem().reveal());
    const auto signature_file = put(folder, "ours.sig", must(key.sign("sign me")));
    std::vector<std::string> raw =
        type == KeyType::kEd25519
            ? std::vector<std::string>{"-rawin"}
            : std::vector<std::string>{"-rawin", "-digest", type == KeyType::kP384 ? "sha384" : "sha256"};
    const auto with = [&](std::vector<std::string> arguments) {
      arguments.insert(arguments.end(), raw.begin(), raw.end());
      return arguments;
    };
    CHECK(
        openssl_accepts(with({"pkeyutl", "-verify", "-inkey", key_file, "-in", message, "-sigfile", signature_file})));
    const auto theirs = (folder / "theirs.sig").string();
    openssl(with({"pkeyutl", "-sign", "-inkey", key_file, "-in", message, "-out", theirs}));
    CHECK(key.public_key().verify(algorithm, "sign me", test::get(theirs)));
  }
}

TEST_CASE("a private key survives its PEM, and its public key the SubjectPublicKeyInfo") {
  for (const auto& [type, algorithm] : kTypes) {
    CAPTURE(algorithm);
    const auto key = must(PrivateKey::generate(type));
    CHECK(key.to_pem().reveal().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    const auto again = must(PrivateKey::from_pem(key.to_pem().reveal()));
    CHECK(again.public_key() == key.public_key());
    CHECK(key.public_key().verify(algorithm, "x", must(again.sign("x"))));
    const Bytes der = key.public_key().spki_der();
    CHECK(must(PublicKey::from_spki_der(der)) == key.public_key());
    CHECK(key.public_key().spki_sha256() == sha256(der));
  }
}

TEST_CASE("the SubjectPublicKeyInfo is the one that the openssl command writes") {
  const TempFolder folder;
  const auto key = must(PrivateKey::generate());
  const auto key_file = put(folder, "key.pem", key.to_pem().reveal());
  CHECK(openssl({"pkey", "-in", key_file, "-pubout", "-outform", "DER"}) == key.public_key().spki_der());
  CHECK(must(PublicKey::from_pem(openssl({"pkey", "-in", key_file, "-pubout"}))) == key.public_key());
}

TEST_CASE("a key has one name, also if its point comes compressed") {
  const TempFolder folder;
  for (const auto type : {KeyType::kP256, KeyType::kP384}) {
    const auto key = must(PrivateKey::generate(type));
    const auto key_file = put(folder, "key.pem", key.to_pem().reveal());
    const std::string plain = openssl({"ec", "-in", key_file, "-pubout", "-outform", "DER"});
    const std::string compressed =
        openssl({"ec", "-in", key_file, "-pubout", "-outform", "DER", "-conv_form", "compressed"});
    REQUIRE(compressed.size() < plain.size());
    CHECK(key.public_key().spki_der() == plain);
    CHECK(must(PublicKey::from_spki_der(compressed)).spki_sha256() == key.public_key().spki_sha256());
  }
}

TEST_CASE("traditional PEM keys of the openssl command are read") {
  const TempFolder folder;
  const auto ec = (folder / "ec.pem").string();
  openssl({"ecparam", "-name", "prime256v1", "-genkey", "-out", ec});  // with EC PARAMETERS in front
  CHECK(must(PrivateKey::from_pem(test::get(ec))).algorithm() == "ES256");
  CHECK(must(PrivateKey::from_pem(openssl({"genrsa", "-traditional", "2048"}))).algorithm() == "RS256");
}

TEST_CASE("an encrypted key is refused at once instead of asking for its pass phrase") {
  const TempFolder folder;
  const auto key_file = put(folder, "key.pem", must(PrivateKey::generate()).to_pem().reveal());
  for (const std::string& form : {std::string("pkcs8"), std::string("ec")}) {
    const std::string pem = form == "pkcs8"
                                ? openssl({"pkcs8", "-topk8", "-in", key_file, "-passout", "pass:secret-phrase"})
                                : openssl({"ec", "-in", key_file, "-aes128", "-passout", "pass:secret-phrase"});
    REQUIRE(pem.find("ENCRYPTED") != std::string::npos);
    const auto key = PrivateKey::from_pem(pem);
    REQUIRE_FALSE(key);
    CHECK(key.error().code == ErrorCode::kMalformed);
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("keys that devices may not have are told apart from broken ones") {
  const auto rsa_1024 = must(PublicKey::from_pem(openssl({"rsa", "-pubout", "-in", [] {
                                                            static const TempFolder folder;
                                                            return put(folder, "k", openssl({"genrsa", "1024"}));
                                                          }()})));
  CHECK(rsa_1024.check_device_policy().error().code == ErrorCode::kInvalidArgument);
  CHECK(rsa_1024.check_device_policy().error().message.find("RSA 1024 bits") != std::string::npos);
  CHECK(rsa_1024.verify("RS256", "x", "y").error().code == ErrorCode::kUnauthenticated);

  const TempFolder folder;
  const auto curve_key = [&](std::vector<std::string> options) {
    std::vector<std::string> arguments{"genpkey", "-algorithm", "EC"};
    for (auto& option : options) arguments.insert(arguments.end(), {"-pkeyopt", option});
    return openssl(std::move(arguments));
  };
  for (const std::string& pem : {curve_key({"ec_paramgen_curve:secp256k1"}), curve_key({"ec_paramgen_curve:P-521"}),
                                 curve_key({"ec_paramgen_curve:P-256", "ec_param_enc:explicit"}),
                                 openssl({"genpkey", "-algorithm", "ED448"}), openssl({"genrsa", "1024"})}) {
    const auto key = PrivateKey::from_pem(pem);
    REQUIRE_FALSE(key);
    CHECK(key.error().code == ErrorCode::kUnsupported);
    const auto file = put(folder, "key.pem", pem);
    const auto public_key = must(PublicKey::from_pem(openssl({"pkey", "-in", file, "-pubout"})));
    CHECK_FALSE(public_key.check_device_policy());
  }
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("broken keys are malformed, and the message does not quote them") {
  const std::string pem(must(PrivateKey::generate()).to_pem().reveal());
  const std::string inner = pem.substr(28, 40);
  for (std::size_t size = 0; size + 30 < pem.size(); ++size) {
    const auto key = PrivateKey::from_pem(std::string_view(pem).substr(0, size));
    REQUIRE_FALSE(key);
    REQUIRE(key.error().code == ErrorCode::kMalformed);
    REQUIRE(key.error().message.find(inner) == std::string::npos);
  }
  const Bytes der = must(PrivateKey::generate()).public_key().spki_der();
  for (std::size_t size = 0; size < der.size(); ++size) {
    REQUIRE(PublicKey::from_spki_der(std::string_view(der).substr(0, size)).error().code == ErrorCode::kMalformed);
  }
  CHECK(PublicKey::from_spki_der(der + '\0').error().code == ErrorCode::kMalformed);
  CHECK(PublicKey::from_pem("").error().code == ErrorCode::kMalformed);
  CHECK(PublicKey::from_pem(pem).error().code == ErrorCode::kMalformed);
  CHECK(PrivateKey::from_pem({}).error().code == ErrorCode::kMalformed);
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("a point that is not on the curve is no key") {
  Bytes der = must(PrivateKey::generate()).public_key().spki_der();
  der.back() = static_cast<char>(der.back() ^ 1);
  CHECK(PublicKey::from_spki_der(der).error().code == ErrorCode::kMalformed);
}

TEST_CASE("a key is proven by what it has signed, and only by that") {
  const auto one = must(PrivateKey::generate());
  const auto other = must(PrivateKey::generate());
  const auto large = must(PrivateKey::generate(KeyType::kP384));
  const Bytes spki = one.public_key().spki_der(), other_spki = other.public_key().spki_der();
  const Bytes signature = must(one.sign("words")), others_signature = must(other.sign("words"));
  for (int round = 0; round < 3; ++round) {  // one after the other, and after failures: nothing of the last key stays
    CHECK(PublicKey::from_proven_spki_der(spki, "words", signature));
    CHECK_FALSE(PublicKey::from_proven_spki_der(other_spki, "words", signature));
    CHECK(PublicKey::from_proven_spki_der(other_spki, "words", others_signature));
    CHECK_FALSE(PublicKey::from_proven_spki_der(spki, "other words", signature));
    CHECK_FALSE(PublicKey::from_proven_spki_der(spki, "words", ""));
    Bytes off_curve = spki;
    off_curve.back() = static_cast<char>(off_curve.back() ^ 1);
    CHECK_FALSE(PublicKey::from_proven_spki_der(off_curve, "words", signature));
    CHECK_FALSE(PublicKey::from_proven_spki_der(spki.substr(1), "words", signature));
  }
  CHECK_FALSE(PublicKey::from_proven_spki_der(large.public_key().spki_der(), "words", must(large.sign("words"))));
  const auto proven = PublicKey::from_proven_spki_der(spki, "words", signature);
  REQUIRE(proven);
  CHECK(proven->algorithm() == "ES256");
  CHECK(proven->spki_der() == spki);
  CHECK(*proven == one.public_key());
  CHECK(proven->verify("ES256", "words", signature));
  CHECK_FALSE(proven->verify("ES256", "words", others_signature));
}

TEST_CASE("only its own private key fits a public key") {
  const auto key = must(PrivateKey::generate());
  CHECK(key.check_fits(key.public_key()));
  CHECK(must(PrivateKey::generate()).check_fits(key.public_key()).error().code == ErrorCode::kConflict);
  CHECK(must(PrivateKey::generate(KeyType::kP384)).check_fits(key.public_key()).error().code == ErrorCode::kConflict);
}

}  // namespace
}  // namespace fleet::crypto
