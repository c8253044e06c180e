#include "core/crypto/digest.hpp"

#include <string>

#include <doctest/doctest.h>

#include "core/base/bytes.hpp"

namespace fleet::crypto {
namespace {

struct HmacVector {
  std::string key, data, mac_hex;
};

TEST_CASE("a digest in pieces is that of the whole") {
  Sha256 none;
  CHECK(none.finish() == sha256(""));
  Sha256 pieces;
  pieces.update("a");
  pieces.update("");
  pieces.update("bc");
  CHECK(pieces.finish() == sha256("abc"));
}

TEST_CASE("SHA-256 gives the digests of FIPS 180-4's examples") {
  CHECK(to_hex(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(to_hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(to_hex(sha256(std::string(1000000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("HMAC-SHA256 gives the results of RFC 4231") {
  const std::string ascending = *from_hex("0102030405060708090a0b0c0d0e0f10111213141516171819");
  const HmacVector vectors[] = {
      {std::string(20, '\x0b'), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {std::string(20, '\xaa'), std::string(50, '\xdd'),
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {ascending, std::string(50, '\xcd'), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First",
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {std::string(131, '\xaa'),
       "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
       "hashed "
       "before being used by the HMAC algorithm.",
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const auto& vector : vectors) CHECK(to_hex(hmac_sha256(vector.key, vector.data)) == vector.mac_hex);
}

TEST_CASE("an empty HMAC key is an empty key, not the one used before it") {
  const std::string expected = "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad";
  CHECK(to_hex(hmac_sha256("", "")) == expected);
  hmac_sha256("some key", "some data");
  CHECK(to_hex(hmac_sha256({}, {})) == expected);
}

TEST_CASE("a verifier is HMAC-SHA256 over the length-prefixed purpose, owner and secret") {
  const std::string input("\0\0\0\4conn\0\0\0\2d1\0\0\0\2pw", 20);
  CHECK(secret_verifier("key", "conn", "d1", "pw") == hmac_sha256("key", input));
}

TEST_CASE("a verifier fits one key, purpose, owner and secret only") {
  const Bytes verifier = secret_verifier("key", "conn", "d1", "pw");
  CHECK(verifier.size() == 32);
  CHECK(verifier != secret_verifier("kez", "conn", "d1", "pw"));
  CHECK(verifier != secret_verifier("key", "act", "d1", "pw"));
  CHECK(verifier != secret_verifier("key", "conn", "d2", "pw"));
  CHECK(verifier != secret_verifier("key", "conn", "d1", "pv"));
  // the same bytes, cut elsewhere
  CHECK(verifier != secret_verifier("key", "connd", "1", "pw"));
  CHECK(verifier != secret_verifier("key", "conn", "d1p", "w"));
}

}  // namespace
}  // namespace fleet::crypto
