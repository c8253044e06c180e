#include "core/protocol/signature.hpp"

#include <algorithm>

#include <doctest/doctest.h>

#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;
using namespace fleet::protocol::test;

TEST_CASE("the signing input of an empty payload is the magic, the topic and zeros") {
  CHECK(to_hex(signing_input("t", {})) ==
        to_hex(std::string_view("KURA-SIGNED-V1\0", 15)) + "0000000174" + "0000000000000000" + "00000000" + "00000000");
}

TEST_CASE("each type is written in its own size, big-endian, ordered by the bytes of the names") {
  KuraPayload payload;
  payload.timestamp = -2;
  payload.add("ü", std::string("x"));  // c3bc: behind every ASCII name
  payload.add("d", 1.0);
  payload.add("f", 1.0F);
  payload.add("l", std::int64_t{1});
  payload.add("i", std::int32_t{-1});
  payload.add("Z", true);
  payload.add("b", Blob{"yz"});
  payload.add("signature", Blob{"not covered"});
  payload.body = "B";
  CHECK(signing_input("", payload).substr(15) == hex("00000000 fffffffffffffffe 00000007"
                                                     "00000001 5a 04 00000001 01"
                                                     "00000001 62 06 00000002 797a"
                                                     "00000001 64 00 00000008 3ff0000000000000"
                                                     "00000001 66 01 00000004 3f800000"
                                                     "00000001 69 03 00000004 ffffffff"
                                                     "00000001 6c 02 00000008 0000000000000001"
                                                     "00000002 c3bc 05 00000001 78"
                                                     "00000001 42"));
}

TEST_CASE("the order of metrics does not matter, everything else does") {
  const KuraPayload payload = every_type();
  const Bytes input = signing_input("topic", payload);
  KuraPayload shuffled = payload;
  std::reverse(shuffled.metrics.begin(), shuffled.metrics.end());
  CHECK(signing_input("topic", shuffled) == input);

  CHECK(signing_input("topic2", payload) != input);
  KuraPayload changed = payload;
  changed.timestamp = 0;
  CHECK(signing_input("topic", changed) != input);
  changed = payload;
  changed.body->back() = 'x';
  CHECK(signing_input("topic", changed) != input);
  changed = payload;
  changed.add("more", true);
  CHECK(signing_input("topic", changed) != input);
  changed = payload;
  changed.metrics.pop_back();
  CHECK(signing_input("topic", changed) != input);
  changed = payload;
  changed.add(std::string(kAlgorithmMetric), std::string("ES256"));
  CHECK(signing_input("topic", changed) != input);
  // the same bytes under another type
  KuraPayload text, bytes;
  text.add("n", std::string("v"));
  bytes.add("n", Blob{"v"});
  CHECK(signing_input("topic", text) != signing_input("topic", bytes));
}

TEST_CASE("a payload without a whole signature is unauthenticated") {
  KuraPayload payload;
  const auto refused = [&] {
    const auto parts = signature_of(payload);
    REQUIRE_FALSE(parts);
    CHECK(parts.error().code == ErrorCode::kUnauthenticated);
  };
  refused();
  payload.add("signature.algorithm", std::string("ES256"));
  refused();
  payload.add("signature", std::string("text"));
  refused();
  payload.metrics.back().value = Blob{"s"};
  const auto parts = signature_of(payload);
  REQUIRE(parts);
  CHECK(parts->algorithm == "ES256");
  CHECK(parts->signature == "s");
  payload.metrics.front().value = Blob{"ES256"};
  refused();
}
