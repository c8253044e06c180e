// The codec against protobuf's own compiler, in both directions.
#include <doctest/doctest.h>

#include "tests/support/process.hpp"
#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;
using namespace fleet::protocol::test;

namespace {

std::string protoc(const std::string& direction, std::string_view input) {
  const auto outcome = fleet::test::run(
      {"protoc", direction + "=kuradatatypes.KuraPayload", "--proto_path=" KURA_PROTO_FOLDER, "kura_payload.proto"},
      input);
  CAPTURE(outcome.errors);
  REQUIRE(outcome.exit_code == 0);
  return outcome.output;
}

std::string as_text(const Bytes& bytes) {
  return protoc("--decode", bytes);
}
Bytes as_bytes(std::string_view text) {
  return protoc("--encode", text);
}

}  // namespace

TEST_CASE("protoc reads what we write and writes the same bytes again") {
  Random random(2);
  std::vector<KuraPayload> payloads{every_type(), {}};
  for (int i = 0; i < 6; ++i) payloads.push_back(random_payload(random));
  for (KuraPayload payload : payloads) {
    // protoc's text form has one NaN, so the bits of others are lost on the way
    std::erase_if(payload.metrics, [](const Metric& metric) { return !(metric == metric); });
    const Bytes bytes = encode(payload);
    CHECK(to_hex(as_bytes(as_text(bytes))) == to_hex(bytes));
  }
}

TEST_CASE("protoc sees each value in the field of its type") {
  const std::string text = as_text(encode(every_type()));
  for (const std::string_view line :
       {"timestamp: -1\n", "name: \"negative zero\"\n  type: DOUBLE\n  double_value: -0\n",
        "name: \"float\"\n  type: FLOAT\n  float_value: 1.5\n",
        "name: \"smallest int64\"\n  type: INT64\n  long_value: -9223372036854775808\n",
        "name: \"smallest int32\"\n  type: INT32\n  int_value: -2147483648\n",
        "name: \"true\"\n  type: BOOL\n  bool_value: true\n", "name: \"false\"\n  type: BOOL\n  bool_value: false\n",
        "name: \"\"\n  type: STRING\n  string_value: \"\"\n",
        "name: \"bytes\"\n  type: BYTES\n  bytes_value: \"\\000\\377\\200\"\n"}) {
    CAPTURE(line);
    CHECK(text.find(line) != std::string::npos);
  }
}

TEST_CASE("we read what protoc writes") {
  const auto payload = decode(as_bytes(R"(
    timestamp: -9223372036854775808
    position { latitude: 46.05 longitude: 13.2 altitude: 110 satellites: 9 status: -1 timestamp: 5 }
    metric { name: "d" type: DOUBLE double_value: -2.5e300 }
    metric { name: "f" type: FLOAT float_value: inf }
    metric { name: "l" type: INT64 long_value: -1 }
    metric { name: "i" type: INT32 int_value: -1 }
    metric { name: "b" type: BOOL bool_value: true }
    metric { name: "s" type: STRING string_value: "Zürich ☃ \360\237\230\200" }
    metric { name: "x" type: BYTES bytes_value: "\000\377" }
    body: "\001\002")"));
  REQUIRE(payload);
  KuraPayload expected;
  expected.timestamp = INT64_MIN;
  expected.add("d", -2.5e300);
  expected.add("f", std::numeric_limits<float>::infinity());
  expected.add("l", std::int64_t{-1});
  expected.add("i", std::int32_t{-1});
  expected.add("b", true);
  expected.add("s", std::string("Zürich ☃ 😀"));
  expected.add("x", Blob{Bytes("\x00\xff", 2)});
  expected.body = Bytes("\x01\x02");
  CHECK(*payload == expected);
}
