// The protocol's test vectors, made by another implementation. Signatures over the inputs are checked in core/crypto.
#include <string>

#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/protocol/signature.hpp"
#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;
using namespace fleet::protocol::test;
namespace json = boost::json;

namespace {

const json::object& vectors() {
  static const json::value file = [] {
    auto text = read_file(EDC_VECTORS);
    REQUIRE(text);
    return json::parse(*text);
  }();
  return file.as_object();
}

std::string text_of(const json::value& value) {
  return std::string(value.as_string());
}

MetricValue value_of(const json::object& metric) {
  const std::string type = text_of(metric.at("type"));
  const json::value& value = metric.at("value");
  if (type == "DOUBLE") return value.to_number<double>();
  if (type == "FLOAT") return static_cast<float>(value.to_number<double>());
  if (type == "INT64") return value.to_number<std::int64_t>();
  if (type == "INT32") return value.to_number<std::int32_t>();
  if (type == "BOOL") return value.as_bool();
  if (type == "STRING") return text_of(value);
  REQUIRE(type == "BYTES");
  return Blob{hex(text_of(value))};
}

KuraPayload payload_of(const json::object& vector) {
  KuraPayload payload;
  if (!vector.at("timestamp").is_null()) payload.timestamp = vector.at("timestamp").to_number<std::int64_t>();
  for (const json::value& metric : vector.at("metrics").as_array()) {
    payload.add(text_of(metric.as_object().at("name")), value_of(metric.as_object()));
  }
  if (!vector.at("body_hex").is_null()) payload.body = hex(text_of(vector.at("body_hex")));
  return payload;
}

}  // namespace

TEST_CASE("payloads encode to exactly the bytes of the vectors, and decode from them") {
  REQUIRE(vectors().at("payloads").as_array().size() == 4);
  for (const json::value& entry : vectors().at("payloads").as_array()) {
    const json::object& vector = entry.as_object();
    CAPTURE(text_of(vector.at("name")));
    const KuraPayload expected = payload_of(vector);
    CHECK(to_hex(encode(expected)) == text_of(vector.at("hex")));
    CHECK(decode(hex(text_of(vector.at("hex")))).value() == expected);
    CHECK(decode(hex(text_of(vector.at("gzip_hex")))).value() == expected);
    CHECK(to_hex(encode_gzip(expected)) == text_of(vector.at("gzip_hex")));
  }
}

TEST_CASE("the malformed vectors are malformed") {
  REQUIRE(vectors().at("malformed_hex").as_array().size() == 5);
  for (const json::value& entry : vectors().at("malformed_hex").as_array()) {
    CAPTURE(text_of(entry));
    const auto payload = decode(hex(text_of(entry)));
    REQUIRE_FALSE(payload);
    CHECK(payload.error().code == ErrorCode::kMalformed);
  }
}

TEST_CASE("signing inputs are byte for byte those of the vectors") {
  std::size_t checked = 0;
  for (const json::value& entry : vectors().at("signatures").as_array()) {
    const json::object& vector = entry.as_object();
    const auto payload = decode(hex(text_of(vector.at("payload_hex"))));
    REQUIRE(payload);
    CHECK(to_hex(encode(*payload)) == text_of(vector.at("payload_hex")));
    CHECK(signature_of(*payload));
    const json::value* expected = vector.if_contains("signing_input_hex");
    if (expected == nullptr) continue;  // an invalid signature: the vectors give no input for it
    CHECK(to_hex(signing_input(text_of(vector.at("topic")), *payload)) == text_of(*expected));
    ++checked;
  }
  CHECK(checked == 6);
}
