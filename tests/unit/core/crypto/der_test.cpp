// What this folder writes and reads by hand, held against OpenSSL.
#include <string>

#include <doctest/doctest.h>

#include "core/crypto/certificate.hpp"
#include "core/crypto/der.hpp"
#include "core/crypto/openssl.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using test::must;
using test::openssl;
using test::put;
using test::TempFolder;

TEST_CASE("elements of every length come back as they were written, and the length is as short as can be") {
  for (const std::size_t size : {0U, 1U, 127U, 128U, 255U, 256U, 65'535U, 65'536U}) {
    const Bytes content(size, 'x');
    const Bytes whole = der::element(der::kOctetString, {content}) + der::element(der::kInteger, {"y"});
    der::Reader reader(whole);
    const auto first = reader.next(der::kOctetString);
    REQUIRE(first);
    CHECK(first->content == content);
    const std::size_t head = size < 128 ? 2 : size < 256 ? 3 : size < 65'536 ? 4 : 5;
    CHECK(first->whole.size() == size + head);
    CHECK(reader.next(der::kInteger)->content == "y");
    CHECK(reader.at_end());
    CHECK_FALSE(reader.next(der::kInteger));
  }
}

TEST_CASE("what is cut short, of another tag, or of a length that DER does not allow is not read") {
  using namespace std::string_view_literals;
  CHECK_FALSE(der::Reader("").next(der::kInteger));
  CHECK_FALSE(der::Reader("\x02"sv).next(der::kInteger));
  CHECK_FALSE(der::Reader("\x02\x01"sv).next(der::kInteger));
  CHECK_FALSE(der::Reader("\x02\x01\x05"sv).next(der::kBoolean));
  CHECK_FALSE(der::Reader("\x02\x80\x05\x00\x00"sv).next(der::kInteger));        // indefinite
  CHECK_FALSE(der::Reader("\x02\x81\x01\x05"sv).next(der::kInteger));            // fits the short form
  CHECK_FALSE(der::Reader("\x02\x82\x00\x80\x05"sv).next(der::kInteger));        // leading zero
  CHECK_FALSE(der::Reader("\x02\x84\xff\xff\xff\xff\x05"sv).next(der::kInteger));  // more than anybody has
  CHECK_FALSE(der::Reader("\x02\x82\x01"sv).next(der::kInteger));
}

TEST_CASE("certificates that end before and after 2050 have the times that openssl reads") {
  const TempFolder folder;
  const auto key = must(PrivateKey::generate());
  const WallTime begin = from_unix_millis(2'524'607'999'000);  // 2049-12-31T23:59:59Z
  const auto root = must(issue_root({CertificateProfile::kRootCa, "R", {}, begin, begin + Seconds(1)}, key));
  CHECK(root.not_before() == begin);
  CHECK(root.not_after() == begin + Seconds(1));
  const auto file = put(folder, "root.pem", root.to_pem());
  CHECK(openssl({"asn1parse", "-in", file}).find("UTCTIME           :491231235959Z") != std::string::npos);
  CHECK(openssl({"asn1parse", "-in", file}).find("GENERALIZEDTIME   :20500101000000Z") != std::string::npos);
}

TEST_CASE("a point that is not on its curve is no key") {
  for (const auto type : {KeyType::kP256, KeyType::kP384}) {
    const PublicKey key = must(PrivateKey::generate(type)).public_key();
    Bytes spki = key.spki_der();
    CHECK(must(PublicKey::from_spki_der(spki)) == key);
    CHECK(is_ec_spki(spki));
    spki.back() = static_cast<char>(spki.back() ^ 1);
    CHECK(PublicKey::from_spki_der(spki).error().code == ErrorCode::kMalformed);
    CHECK_FALSE(is_ec_spki(spki));
    for (std::size_t i = 0; i < spki.size(); ++i) {
      Bytes altered = key.spki_der();
      altered[i] = static_cast<char>(altered[i] ^ 1);
      CHECK_FALSE(is_ec_spki(altered));
      CHECK_FALSE(PublicKey::from_ec_spki_der(altered));
      CHECK_FALSE(is_ec_spki(std::string_view(altered).substr(0, i)));
    }
  }
}

TEST_CASE("a chain that was read before is read again from its own text only, and more chains than are kept are all right") {
  const auto now = wall_now();
  const auto key = must(PrivateKey::generate());
  std::vector<std::string> texts;
  for (int i = 0; i < 70; ++i) {
    texts.push_back(must(issue_root({CertificateProfile::kRootCa, std::to_string(i), {}, now, now + Seconds(60)}, key)).to_pem());
  }
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 70; ++i) {
      CHECK(must(Certificate::from_pem(texts[static_cast<std::size_t>(i)])).subject_cn() == std::to_string(i));
    }
  }
  const std::string two = texts[0] + texts[1];
  CHECK(must(Certificate::chain_from_pem(two)).size() == 2);
  CHECK(Certificate::chain_from_pem(two, 1).error().code == ErrorCode::kLimitExceeded);
  CHECK(Certificate::chain_from_pem(two + "-----BEGIN X").error().code == ErrorCode::kMalformed);
}

}  // namespace
}  // namespace fleet::crypto
