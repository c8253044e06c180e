// KuraPayload (edc §2): the proto2 message, package kuradatatypes, that every MQTT message of provisioning carries,
// optionally as gzip. Hand-written rather than generated: it must refuse what protobuf lets pass (a name twice, a value
// in the wrong field, a type without a value), and it also runs on devices without libprotobuf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"

namespace fleet::protocol {

// KuraMetric.type, by wire value.
enum class MetricType : std::uint8_t {
  kDouble = 0,
  kFloat = 1,
  kInt64 = 2,
  kInt32 = 3,
  kBool = 4,
  kString = 5,
  kBytes = 6
};

// BYTES values, told apart from STRING values by type.
struct Blob {
  Bytes bytes;
  friend bool operator==(const Blob&, const Blob&) = default;
};

// The alternatives stand in the order of MetricType, so `index()` is the wire type.
using MetricValue = std::variant<double, float, std::int64_t, std::int32_t, bool, std::string, Blob>;

struct Metric {
  std::string name;
  MetricValue value;
  MetricType type() const { return static_cast<MetricType>(value.index()); }
  friend bool operator==(const Metric&, const Metric&) = default;
};

// One payload. Metrics keep their order; names are unique. `position` and unknown fields are read over and dropped:
// no signature covers them (edc §4.3).
struct KuraPayload {
  std::optional<std::int64_t> timestamp;  // ms since 1970
  std::vector<Metric> metrics;
  std::optional<Bytes> body;

  // Adds a metric. The name must not be there yet.
  void add(std::string name, MetricValue value) { metrics.push_back({std::move(name), std::move(value)}); }

  // The metric of that name, or nullptr.
  const Metric* find(std::string_view name) const;
  // The value if the metric is there and has that type; otherwise nullptr / nullopt.
  const std::string* string(std::string_view name) const;
  const Bytes* blob(std::string_view name) const;
  std::optional<std::int32_t> int32(std::string_view name) const;
  std::optional<std::int64_t> int64(std::string_view name) const;

  friend bool operator==(const KuraPayload&, const KuraPayload&) = default;
};

struct DecodeLimits {
  std::size_t max_size = 1024 * 1024;           // of the message as received
  std::size_t max_inflated_size = 1024 * 1024;  // after gzip
  std::size_t max_metrics = 1000;
};

// The canonical protobuf bytes: fields by number, metrics in their order.
Bytes encode(const KuraPayload& payload);

// The same as gzip.
Bytes encode_gzip(const KuraPayload& payload);

// Reads plain or gzip bytes (told apart by 1f 8b). kMalformed for whatever edc §2 calls malformed, for strings that are
// not UTF-8, and for bytes behind the gzip stream; kLimitExceeded above a limit, without having inflated more than it.
Result<KuraPayload> decode(std::string_view bytes, const DecodeLimits& limits = {});

// The first well-formed metric of that name in bytes (not gzip) that decode() may have refused, for whoever must tell
// their sender so. What lies behind damage is not reached.
std::optional<MetricValue> salvage_metric(std::string_view bytes, std::string_view name);

}  // namespace fleet::protocol
