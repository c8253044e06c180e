// The signatures of the protocol's test vectors, made by another implementation.
#include <fstream>
#include <iterator>
#include <string>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "core/crypto/digest.hpp"
#include "core/crypto/key.hpp"
#include "core/protocol/signature.hpp"
#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using test::must;

TEST_CASE("the protocol's signature vectors verify exactly where they say so") {
  const boost::json::value vectors = boost::json::parse(test::get(FLEET_EDC_VECTORS));
  int valid = 0;
  int invalid = 0;
  for (const boost::json::value& entry : vectors.at("signatures").as_array()) {
    const auto text = [&](const char* key) { return std::string(entry.at(key).as_string()); };
    const auto payload = must(protocol::decode(must(from_hex(text("payload_hex")))));
    const auto parts = must(protocol::signature_of(payload));
    const Bytes input = protocol::signing_input(text("topic"), payload);
    const auto key = must(PublicKey::from_pem(text("public_key_pem")));
    CAPTURE(text("topic"));
    if (entry.at("valid").as_bool()) {
      ++valid;
      CHECK(to_hex(sha256(input)) == text("signing_input_sha256"));
      CHECK(key.verify(parts.algorithm, input, parts.signature));
      CHECK_FALSE(key.verify(parts.algorithm, input + "x", parts.signature));
    } else {
      ++invalid;
      const auto verdict = key.verify(parts.algorithm, input, parts.signature);
      REQUIRE_FALSE(verdict);
      CHECK(verdict.error().code == ErrorCode::kUnauthenticated);
    }
  }
  CHECK(valid >= 6);
  CHECK(invalid >= 1);
}

}  // namespace
}  // namespace fleet::crypto
