#include "core/protocol/kura_payload.hpp"

#include <algorithm>
#include <bit>

#include "core/protocol/gzip.hpp"
#include "core/protocol/proto_wire.hpp"

namespace fleet::protocol {
namespace {

using wire::Reader;
using wire::Tag;

// KuraPayload
constexpr std::uint32_t kTimestamp = 1;
constexpr std::uint32_t kPosition = 2;
constexpr std::uint32_t kMetric = 5000;
constexpr std::uint32_t kBody = 5001;
// KuraMetric
constexpr std::uint32_t kName = 1;
constexpr std::uint32_t kType = 2;
constexpr std::uint32_t kFirstValue = 3;  // the value of type t lies in field kFirstValue + t
constexpr std::uint32_t kDoubleValue = 3;
constexpr std::uint32_t kFloatValue = 4;
constexpr std::uint32_t kLongValue = 5;
constexpr std::uint32_t kIntValue = 6;
constexpr std::uint32_t kBoolValue = 7;
constexpr std::uint32_t kStringValue = 8;
constexpr std::uint32_t kBytesValue = 9;
// KuraPosition
constexpr std::uint32_t kLatitude = 1;
constexpr std::uint32_t kLongitude = 2;
constexpr std::uint32_t kSpeed = 6;
constexpr std::uint32_t kStatus = 9;

// Room made at the first metric; also where comparing all pairs is still cheap. Together just below the size from which on
// glibc's allocator takes a slower way.
constexpr std::size_t kUsualMetrics = 14;
static_assert(kUsualMetrics * sizeof(Metric) <= 1024);

Failure malformed(std::string_view why) {
  return fail(ErrorCode::kMalformed, "payload: {}", why);
}

// --- encoding

// protobuf sign-extends a negative int32 to ten bytes
std::uint64_t varint_of(std::int64_t value) {
  return static_cast<std::uint64_t>(value);
}

struct ValueSize {
  std::size_t operator()(double) const { return 1 + 8; }
  std::size_t operator()(float) const { return 1 + 4; }
  std::size_t operator()(std::int64_t v) const { return 1 + wire::varint_size(varint_of(v)); }
  std::size_t operator()(std::int32_t v) const { return 1 + wire::varint_size(varint_of(v)); }
  std::size_t operator()(bool) const { return 1 + 1; }
  std::size_t operator()(const std::string& v) const { return wire::bytes_field_size(kStringValue, v.size()); }
  std::size_t operator()(const Blob& v) const { return wire::bytes_field_size(kBytesValue, v.bytes.size()); }
};

struct AppendValue {
  Bytes& out;

  void varint(std::uint32_t field, std::uint64_t value) const {
    wire::append_tag(out, field, wire::Type::kVarint);
    wire::append_varint(out, value);
  }
  void operator()(double v) const {
    wire::append_tag(out, kDoubleValue, wire::Type::kFixed64);
    wire::append_fixed64(out, std::bit_cast<std::uint64_t>(v));
  }
  void operator()(float v) const {
    wire::append_tag(out, kFloatValue, wire::Type::kFixed32);
    wire::append_fixed32(out, std::bit_cast<std::uint32_t>(v));
  }
  void operator()(std::int64_t v) const { varint(kLongValue, varint_of(v)); }
  void operator()(std::int32_t v) const { varint(kIntValue, varint_of(v)); }
  void operator()(bool v) const { varint(kBoolValue, v ? 1 : 0); }
  void operator()(const std::string& v) const { wire::append_bytes_field(out, kStringValue, v); }
  void operator()(const Blob& v) const { wire::append_bytes_field(out, kBytesValue, v.bytes); }
};

std::size_t size_of(const Metric& metric) {
  const std::size_t type = 2;  // tag and value, a byte each
  return wire::bytes_field_size(kName, metric.name.size()) + type + std::visit(ValueSize{}, metric.value);
}

// --- decoding

// `name` of a metric, value fields and type as they come, in any order and perhaps repeatedly: the last one counts.
struct RawMetric {
  std::optional<std::string_view> name;
  std::optional<std::uint64_t> type;
  unsigned value_fields = 0;  // one bit for each that is there
  std::uint64_t number = 0;
  std::string_view text;
};

RawMetric read_metric(Reader& reader) {
  RawMetric raw;
  while (!reader.done()) {
    const Tag tag = reader.tag();
    if (tag.field >= kDoubleValue && tag.field <= kBytesValue) raw.value_fields |= 1U << (tag.field - kFirstValue);
    switch (tag.field) {
      case kName:
        raw.name = reader.bytes(tag);
        break;
      case kType:
        raw.type = reader.varint(tag);
        break;
      case kDoubleValue:
        raw.number = reader.fixed64(tag);
        break;
      case kFloatValue:
        raw.number = reader.fixed32(tag);
        break;
      case kLongValue:
      case kIntValue:
      case kBoolValue:
        raw.number = reader.varint(tag);
        break;
      case kStringValue:
      case kBytesValue:
        raw.text = reader.bytes(tag);
        break;
      default:
        reader.skip(tag);
    }
  }
  return raw;
}

MetricValue value_of(MetricType type, const RawMetric& raw) {
  switch (type) {
    case MetricType::kDouble:
      return std::bit_cast<double>(raw.number);
    case MetricType::kFloat:
      return std::bit_cast<float>(static_cast<std::uint32_t>(raw.number));
    case MetricType::kInt64:
      return static_cast<std::int64_t>(raw.number);
    case MetricType::kInt32:
      return static_cast<std::int32_t>(static_cast<std::uint32_t>(raw.number));
    case MetricType::kBool:
      return raw.number != 0;
    case MetricType::kString:
      return std::string(raw.text);
    case MetricType::kBytes:
      break;
  }
  return Blob{Bytes(raw.text)};
}

Result<Metric> decode_metric(std::string_view bytes) {
  Reader reader(bytes);
  const RawMetric raw = read_metric(reader);
  if (!reader.error().empty()) return malformed(reader.error());
  if (!raw.name) return malformed("a metric without a name");
  if (!raw.type) return malformed("a metric without a type");
  if (*raw.type > static_cast<std::uint64_t>(MetricType::kBytes)) return malformed("a metric of unknown type");
  if (raw.value_fields == 0) return malformed("a metric without a value");
  if (raw.value_fields != 1U << *raw.type) return malformed("a metric whose value is not of its type");
  const auto type = static_cast<MetricType>(*raw.type);
  if (!is_utf8(*raw.name) || (type == MetricType::kString && !is_utf8(raw.text))) return malformed("text not in UTF-8");
  return Metric{std::string(*raw.name), value_of(type, raw)};
}

// Positions are dropped, but a broken one still makes the message broken. Returns the bits of the fields that are
// there.
Result<unsigned> check_position(std::string_view bytes) {
  Reader reader(bytes);
  unsigned present = 0;
  while (!reader.done()) {
    const Tag tag = reader.tag();
    if (tag.field <= kStatus) present |= 1U << tag.field;
    if (tag.field >= kLatitude && tag.field <= kSpeed) {
      reader.fixed64(tag);
    } else if (tag.field > kSpeed && tag.field <= kStatus) {
      reader.varint(tag);
    } else {
      reader.skip(tag);
    }
  }
  if (!reader.error().empty()) return malformed(reader.error());
  return present;
}

bool names_are_unique(const std::vector<Metric>& metrics) {
  if (metrics.size() <= kUsualMetrics) {
    for (auto a = metrics.begin(); a != metrics.end(); ++a) {
      for (auto b = metrics.begin(); b != a; ++b) {
        if (a->name == b->name) return false;
      }
    }
    return true;
  }
  std::vector<std::string_view> names;
  names.reserve(metrics.size());
  for (const Metric& metric : metrics) names.emplace_back(metric.name);
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) == names.end();
}

Result<KuraPayload> decode_plain(std::string_view bytes, std::size_t max_metrics) {
  KuraPayload payload;
  std::optional<unsigned> position;
  std::optional<std::string_view> body;
  Reader reader(bytes);
  while (!reader.done()) {
    const Tag tag = reader.tag();
    switch (tag.field) {
      case kTimestamp:
        payload.timestamp = static_cast<std::int64_t>(reader.varint(tag));
        break;
      case kPosition: {
        TRY_ASSIGN(const unsigned fields, check_position(reader.bytes(tag)));
        position = position.value_or(0) | fields;  // protobuf merges a message that comes twice
        break;
      }
      case kMetric: {
        const std::string_view metric = reader.bytes(tag);
        if (!reader.error().empty()) break;
        if (payload.metrics.size() == max_metrics) {
          return fail(ErrorCode::kLimitExceeded, "payload: more than {} metrics", max_metrics);
        }
        if (payload.metrics.empty()) payload.metrics.reserve(std::min(max_metrics, kUsualMetrics));
        TRY_ASSIGN(payload.metrics.emplace_back(), decode_metric(metric));
        break;
      }
      case kBody:
        body = reader.bytes(tag);
        break;
      default:
        reader.skip(tag);
    }
  }
  if (!reader.error().empty()) return malformed(reader.error());
  constexpr unsigned kRequired = 1U << kLatitude | 1U << kLongitude;
  if (position && (*position & kRequired) != kRequired) return malformed("a position without latitude or longitude");
  if (!names_are_unique(payload.metrics)) return malformed("a metric name twice");
  if (body) payload.body.emplace(*body);
  return payload;
}

}  // namespace

const Metric* KuraPayload::find(std::string_view name) const {
  const auto at = std::find_if(metrics.begin(), metrics.end(), [&](const Metric& m) { return m.name == name; });
  return at == metrics.end() ? nullptr : &*at;
}

const std::string* KuraPayload::string(std::string_view name) const {
  const Metric* metric = find(name);
  return metric == nullptr ? nullptr : std::get_if<std::string>(&metric->value);
}

const Bytes* KuraPayload::blob(std::string_view name) const {
  const Metric* metric = find(name);
  const Blob* blob = metric == nullptr ? nullptr : std::get_if<Blob>(&metric->value);
  return blob == nullptr ? nullptr : &blob->bytes;
}

std::optional<std::int32_t> KuraPayload::int32(std::string_view name) const {
  const Metric* metric = find(name);
  const auto* value = metric == nullptr ? nullptr : std::get_if<std::int32_t>(&metric->value);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::int64_t> KuraPayload::int64(std::string_view name) const {
  const Metric* metric = find(name);
  const auto* value = metric == nullptr ? nullptr : std::get_if<std::int64_t>(&metric->value);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

Bytes encode(const KuraPayload& payload) {
  std::vector<std::size_t> sizes;
  sizes.reserve(payload.metrics.size());
  std::size_t total = payload.timestamp ? 1 + wire::varint_size(varint_of(*payload.timestamp)) : 0;
  for (const Metric& metric : payload.metrics) {
    sizes.push_back(size_of(metric));
    total += wire::bytes_field_size(kMetric, sizes.back());
  }
  if (payload.body) total += wire::bytes_field_size(kBody, payload.body->size());

  Bytes out;
  out.reserve(total);
  if (payload.timestamp) {
    wire::append_tag(out, kTimestamp, wire::Type::kVarint);
    wire::append_varint(out, varint_of(*payload.timestamp));
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Metric& metric = payload.metrics[i];
    wire::append_tag(out, kMetric, wire::Type::kLengthDelimited);
    wire::append_varint(out, sizes[i]);
    wire::append_bytes_field(out, kName, metric.name);
    wire::append_tag(out, kType, wire::Type::kVarint);
    wire::append_varint(out, metric.value.index());
    std::visit(AppendValue{out}, metric.value);
  }
  if (payload.body) wire::append_bytes_field(out, kBody, *payload.body);
  return out;
}

Bytes encode_gzip(const KuraPayload& payload) {
  return gzip(encode(payload));
}

Result<KuraPayload> decode(std::string_view bytes, const DecodeLimits& limits) {
  if (bytes.size() > limits.max_size) {
    return fail(ErrorCode::kLimitExceeded, "payload: {} bytes, more than {}", bytes.size(), limits.max_size);
  }
  if (!is_gzip(bytes)) return decode_plain(bytes, limits.max_metrics);
  TRY_ASSIGN(const Bytes inflated, gunzip(bytes, limits.max_inflated_size));
  return decode_plain(inflated, limits.max_metrics);
}

std::optional<MetricValue> salvage_metric(std::string_view bytes, std::string_view name) {
  Reader reader(bytes);
  while (!reader.done()) {
    const Tag tag = reader.tag();
    if (tag.field != kMetric) {
      reader.skip(tag);
      continue;
    }
    auto metric = decode_metric(reader.bytes(tag));
    if (metric && metric->name == name) return std::move(metric->value);
  }
  return std::nullopt;
}

}  // namespace fleet::protocol
