#include "core/protocol/kura_payload.hpp"

#include <doctest/doctest.h>

#include "core/protocol/gzip.hpp"
#include "core/protocol/proto_wire.hpp"
#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;
using namespace fleet::protocol::test;

namespace {

// A metric's content: name "n", then the given bytes.
Bytes named(std::string_view rest) {
  return hex("0a016e") + hex(rest);
}

void check_malformed(const Bytes& bytes, std::string_view why) {
  CAPTURE(to_hex(bytes));
  const auto payload = decode(bytes);
  REQUIRE_FALSE(payload);
  CHECK(payload.error().code == ErrorCode::kMalformed);
  CHECK(payload.error().message.find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("metrics are found by name and read by type") {
  const KuraPayload payload = every_type();
  REQUIRE(payload.find("true") != nullptr);
  CHECK(payload.find("true")->type() == MetricType::kBool);
  CHECK(payload.find("missing") == nullptr);
  CHECK(*payload.string("") == "");
  CHECK(payload.string("bytes") == nullptr);
  CHECK(payload.string("missing") == nullptr);
  CHECK(payload.blob("bytes")->size() == 3);
  CHECK(payload.blob("") == nullptr);
  CHECK(payload.int32("largest int32") == 2147483647);
  CHECK(payload.int32("largest int64") == std::nullopt);
  CHECK(payload.int64("largest int64") == INT64_MAX);
  CHECK(payload.int64("largest int32") == std::nullopt);
}

TEST_CASE("every payload comes back from its plain and its gzip bytes") {
  CHECK(decode(encode(every_type())).value() == every_type());
  CHECK(decode("").value() == KuraPayload{});
  Random random(3);
  for (int i = 0; i < 500; ++i) {
    const KuraPayload payload = random_payload(random);
    const Bytes bytes = encode(payload);
    const auto plain = decode(bytes);
    REQUIRE(plain);
    // bytes, not values: NaN is unequal to itself
    CHECK(encode(*plain) == bytes);
    const auto packed = decode(encode_gzip(payload));
    REQUIRE(packed);
    CHECK(encode(*packed) == bytes);
  }
}

TEST_CASE("an absent timestamp or body is not an empty one") {
  KuraPayload payload;
  CHECK(encode(payload).empty());
  payload.timestamp = 0;
  payload.body = Bytes();
  CHECK(decode(encode(payload)).value() == payload);
}

TEST_CASE("fields may come in any order, and the last of a scalar counts") {
  // body, metric (value, type, name), timestamp
  const auto payload = decode(hex("cab8020162") + with_metric(hex("420178 1005 0a016e")) + hex("0807"));
  REQUIRE(payload);
  KuraPayload expected;
  expected.timestamp = 7;
  expected.add("n", std::string("x"));
  expected.body = "b";
  CHECK(*payload == expected);

  const auto twice =
      decode(hex("08010802cab8020161cab8020162") + with_metric(hex("0a0161 0a016e 1003 1005 420161 420178")));
  REQUIRE(twice);
  CHECK(twice->timestamp == 2);
  CHECK(twice->body == "b");
  CHECK(*twice->string("n") == "x");
}

TEST_CASE("unknown fields of every wire type are read over") {
  const std::string_view value = "10054200";
  for (const std::string_view unknown : {
           "5001",                // varint
           "510000000000000000",  // fixed64
           "5203616263",          // bytes
           "53500154",            // group with a varint in it
           "535a006350016454",    // group with bytes and another group in it
           "5500000000",          // fixed32
           "f8ffffff0f01",        // the largest field number
           "50015003"             // repeated
       }) {
    CAPTURE(unknown);
    const Bytes metric = with_metric(named(value));
    for (const Bytes& bytes :
         {hex(unknown) + metric, metric + hex(unknown), with_metric(hex(unknown) + named(value) + hex(unknown))}) {
      const auto payload = decode(bytes);
      REQUIRE(payload);
      CHECK(payload->metrics.size() == 1);
    }
  }
}

TEST_CASE("groups are refused when they are not closed, not opened, or nested without end") {
  check_malformed(hex("1b"), "cut short");
  check_malformed(hex("1b1801"), "cut short");
  check_malformed(hex("1c"), "group");
  check_malformed(hex("1b24"), "group");
  check_malformed(hex("1b231c24"), "group");
  const auto nested = [](std::size_t depth) {
    Bytes bytes;
    for (std::size_t i = 0; i < depth; ++i) bytes += '\x1b';
    for (std::size_t i = 0; i < depth; ++i) bytes += '\x1c';
    return bytes;
  };
  CHECK(decode(nested(100)));
  check_malformed(nested(101), "too deep");
  check_malformed(Bytes(1 << 20, '\x1b'), "too deep");
}

TEST_CASE("a metric is refused without name, type or value") {
  check_malformed(with_metric(""), "without a name");
  check_malformed(with_metric(hex("1005 4200")), "without a name");
  check_malformed(with_metric(named("4200")), "without a type");
  check_malformed(with_metric(named("1005")), "without a value");
}

TEST_CASE("a metric is refused when any value field is not that of its type") {
  static constexpr std::string_view kValues[] = {
      "190000000000000000", "2500000000", "2801", "3001", "3801", "4200", "4a00"};
  for (std::size_t type = 0; type < 7; ++type) {
    for (std::size_t first = 0; first < 7; ++first) {
      const Bytes tag{'\x10', static_cast<char>(type)};
      const Bytes one = named("") + tag + hex(kValues[first]);
      CAPTURE(type);
      CAPTURE(first);
      CHECK(decode(with_metric(one)).has_value() == (type == first));
      for (std::size_t second = 0; second < 7; ++second) {
        CHECK(decode(with_metric(one + hex(kValues[second]))).has_value() == (type == first && type == second));
      }
    }
  }
}

TEST_CASE("unknown metric types are malformed") {
  check_malformed(with_metric(named("10074200")), "unknown type");
  check_malformed(with_metric(named("1085808080104200")), "unknown type");            // 2^32 + 5
  check_malformed(with_metric(named("10ffffffffffffffffff014200")), "unknown type");  // -1
}

TEST_CASE("a known field of another wire type is malformed") {
  for (const std::string_view bad :
       {"090000000000000000", "0a00", "0d00000000", "0b0c", "1000", "c0b80200", "c8b80200"}) {
    check_malformed(hex(bad), "wire type");
  }
  for (const std::string_view bad : {"0801 10054200", "12010510054200"}) {
    check_malformed(with_metric(named(bad)), "wire type");
  }
  // each value field under each other wire type
  static constexpr unsigned kWire[] = {1, 5, 0, 0, 0, 2, 2};
  static constexpr std::string_view kContent[] = {"01", "0000000000000000", "00", "", "", "00000000"};
  for (unsigned field = 3; field <= 9; ++field) {
    for (const unsigned type : {0U, 1U, 2U, 5U}) {
      const Bytes tag(1, static_cast<char>(field << 3 | type));
      const Bytes metric = named("") + Bytes{'\x10', static_cast<char>(field - 3)} + tag + hex(kContent[type]);
      CAPTURE(field);
      CAPTURE(type);
      CHECK(decode(with_metric(metric)).has_value() == (kWire[field - 3] == type));
    }
  }
}

TEST_CASE("a metric name twice is malformed, among few and among many") {
  for (const std::size_t count : {2U, 16U, 17U, 500U}) {
    CAPTURE(count);
    KuraPayload payload;
    for (std::size_t i = 0; i < count; ++i) payload.add("metric " + std::to_string(i), true);
    CHECK(decode(encode(payload)));
    payload.metrics.back().name = payload.metrics.front().name;
    check_malformed(encode(payload), "twice");
  }
}

TEST_CASE("tags and varints outside protobuf's form are malformed") {
  check_malformed(hex("0001"), "tag");  // field 0
  check_malformed(hex("1e00"), "tag");  // wire type 6
  check_malformed(hex("1f00"), "tag");  // wire type 7
  check_malformed(hex("8080808010 01"),
                  "tag");  // field 2^29
  check_malformed(hex("08ffffffffffffffffff02"), "64 bits");
  check_malformed(hex("08808080808080808080 8001"), "64 bits");
  CHECK(decode(hex("08ffffffffffffffffff01")).value().timestamp == -1);
  CHECK(decode(hex("088000")).value().timestamp == 0);  // longer than needed, but allowed
  check_malformed(hex("cab802ffffffffffffffffff01"), "cut short");
}

TEST_CASE("text that is not UTF-8 is malformed, bytes may be anything") {
  check_malformed(with_metric(hex("0a01ff 1005 4200")), "UTF-8");
  check_malformed(with_metric(named("1005 4202c080")), "UTF-8");
  CHECK(decode(with_metric(named("1006 4a02c080"))));
}

TEST_CASE("integers are cut to their type as protobuf does") {
  CHECK(decode(with_metric(named("1003 30ffffffff0f"))).value().int32("n") == -1);
  CHECK(decode(with_metric(named("1003 308080808010"))).value().int32("n") == 0);
  CHECK(std::get<bool>(decode(with_metric(named("1004 3802"))).value().metrics[0].value));
}

TEST_CASE("a position is dropped, but must be one") {
  const Bytes latitude = hex("090000000000000000"), longitude = hex("110000000000000000");
  const auto with_position = [](const Bytes& content) {
    Bytes bytes;
    wire::append_bytes_field(bytes, 2, content);
    return bytes;
  };
  CHECK(decode(with_position(latitude + longitude)).value() == KuraPayload{});
  CHECK(decode(with_position(latitude + longitude + hex("3801 48ffffffffffffffffff01 5001"))));
  CHECK(decode(with_position(latitude) + with_position(longitude)));  // protobuf merges the two
  check_malformed(with_position(latitude), "position");
  check_malformed(with_position(""), "position");
  check_malformed(with_position(latitude + longitude + hex("390000000000000000")), "wire type");
  check_malformed(with_position(latitude + longitude + hex("38")), "cut short");
}

TEST_CASE("sizes and counts beyond the limits are refused, at the limits they are not") {
  KuraPayload payload;
  for (int i = 0; i < 10; ++i) payload.add(std::to_string(i), std::string(100, 'x'));
  const Bytes plain = encode(payload), packed = encode_gzip(payload);
  DecodeLimits limits{.max_size = plain.size(), .max_inflated_size = plain.size(), .max_metrics = 10};
  CHECK(decode(plain, limits));
  CHECK(decode(packed, limits));

  const auto refused = [&](const Bytes& bytes, const DecodeLimits& tight) {
    const auto result = decode(bytes, tight);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::kLimitExceeded);
  };
  refused(plain, {.max_size = plain.size() - 1, .max_inflated_size = 1 << 20, .max_metrics = 1000});
  refused(packed, {.max_size = packed.size() - 1, .max_inflated_size = 1 << 20, .max_metrics = 1000});
  refused(packed, {.max_size = 1 << 20, .max_inflated_size = plain.size() - 1, .max_metrics = 1000});
  refused(plain, {.max_size = 1 << 20, .max_inflated_size = 1 << 20, .max_metrics = 9});
}

TEST_CASE("gzip inside gzip is not opened twice") {
  check_malformed(gzip(encode_gzip(every_type())), "tag");
}

TEST_CASE("a payload cut at any byte is refused or is a shorter payload, and never what it was") {
  const Bytes whole = encode(every_type());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto payload = decode(std::string_view(whole).substr(0, size));
    if (payload) CHECK(encode(*payload) == whole.substr(0, size));
  }
  const Bytes packed = encode_gzip(every_type());
  for (std::size_t size = 1; size < packed.size(); ++size) CHECK_FALSE(decode(packed.substr(0, size)));
}
