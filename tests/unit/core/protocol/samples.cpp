#include "tests/unit/core/protocol/samples.hpp"

#include <bit>
#include <limits>

#include <doctest/doctest.h>

#include "core/protocol/proto_wire.hpp"

namespace fleet::protocol::test {
namespace {

Bytes random_bytes_of(Random& random, std::size_t count) {
  Bytes bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += static_cast<char>(random() & 0xff);
  return bytes;
}

std::string random_text(Random& random) {
  static constexpr std::string_view kPieces[] = {"a", "Z", "0", " ", "\n", "\"", "\\", "ü", "☃", "😀", "\x7f"};
  std::string text;
  for (std::size_t i = pick(random, 12); i > 0; --i) text += kPieces[pick(random, std::size(kPieces))];
  return text;
}

MetricValue random_value(Random& random) {
  switch (static_cast<MetricType>(pick(random, 7))) {
    case MetricType::kDouble:
      return std::bit_cast<double>(random());
    case MetricType::kFloat:
      return std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    case MetricType::kInt64:
      return static_cast<std::int64_t>(random());
    case MetricType::kInt32:
      return static_cast<std::int32_t>(static_cast<std::uint32_t>(random()));
    case MetricType::kBool:
      return random() % 2 == 0;
    case MetricType::kString:
      return random_text(random);
    case MetricType::kBytes:
      break;
  }
  return Blob{random_bytes_of(random, pick(random, 40))};
}

}  // namespace

std::size_t pick(Random& random, std::size_t bound) {
  return static_cast<std::size_t>(random() % bound);
}

KuraPayload every_type() {
  KuraPayload payload;
  payload.timestamp = -1;
  payload.add("double", std::numeric_limits<double>::denorm_min());
  payload.add("negative zero", -0.0);
  payload.add("float", 1.5F);
  payload.add("smallest int64", std::numeric_limits<std::int64_t>::min());
  payload.add("largest int64", std::numeric_limits<std::int64_t>::max());
  payload.add("smallest int32", std::numeric_limits<std::int32_t>::min());
  payload.add("largest int32", std::numeric_limits<std::int32_t>::max());
  payload.add("true", true);
  payload.add("false", false);
  payload.add("Zürich ☃ 😀", std::string("snow ☃ \"quoted\" \\ \n"));
  payload.add("", std::string());
  payload.add("bytes", Blob{Bytes("\x00\xff\x80", 3)});
  payload.body.emplace();
  for (int byte = 0; byte < 256; ++byte) *payload.body += static_cast<char>(byte);
  return payload;
}

KuraPayload random_payload(Random& random) {
  KuraPayload payload;
  if (random() % 2 == 0) payload.timestamp = static_cast<std::int64_t>(random());
  // beyond the count at which the duplicate check changes its way
  const std::size_t count = pick(random, 4) == 0 ? pick(random, 60) : pick(random, 6);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name = random_text(random) + std::to_string(i);
    payload.add(i == 0 ? "" : name, random_value(random));
  }
  if (random() % 2 == 0) payload.body = random_bytes_of(random, pick(random, 300));
  return payload;
}

std::string mutate(Random& random, std::string text) {
  for (std::size_t damage = 1 + pick(random, 4); damage > 0; --damage) {
    if (text.empty()) return text;
    const std::size_t at = pick(random, text.size());
    const std::size_t count = 1 + pick(random, 8);
    switch (pick(random, 6)) {
      case 0:
        text[at] = static_cast<char>(random() & 0xff);
        break;
      case 1:
        text[at] = static_cast<char>(text[at] ^ (1 << pick(random, 8)));
        break;
      case 2:
        text.erase(at, count);
        break;
      case 3:
        text.insert(at, random_bytes_of(random, count));
        break;
      case 4:
        text.insert(pick(random, text.size()), text.substr(at, 4 * count));
        break;
      default:
        text.resize(at);
    }
  }
  return text;
}

Bytes hex(std::string_view text) {
  std::string digits(text);
  std::erase(digits, ' ');
  auto bytes = from_hex(digits);
  REQUIRE(bytes);
  return std::move(*bytes);
}

Bytes with_metric(std::string_view content) {
  Bytes bytes;
  wire::append_bytes_field(bytes, 5000, content);
  return bytes;
}

KuraPayload changed(KuraPayload payload, std::string_view name, std::optional<MetricValue> value) {
  std::erase_if(payload.metrics, [&](const Metric& m) { return m.name == name; });
  if (value) payload.add(std::string(name), std::move(*value));
  return payload;
}

}  // namespace fleet::protocol::test
