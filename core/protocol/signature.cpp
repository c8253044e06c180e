#include "core/protocol/signature.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace fleet::protocol {
namespace {

constexpr std::string_view kMagic{"KURA-SIGNED-V1\0", 15};

void append_big_endian(Bytes& out, std::uint64_t value, unsigned count) {
  for (unsigned i = count; i-- > 0;) out += static_cast<char>(value >> (8 * i) & 0xff);
}

void append_text(Bytes& out, std::string_view text) {
  append_big_endian(out, text.size(), 4);
  out += text;
}

struct AppendValue {
  Bytes& out;

  void number(std::uint64_t value, unsigned size) const {
    append_big_endian(out, size, 4);
    append_big_endian(out, value, size);
  }
  void operator()(double v) const { number(std::bit_cast<std::uint64_t>(v), 8); }
  void operator()(float v) const { number(std::bit_cast<std::uint32_t>(v), 4); }
  void operator()(std::int64_t v) const { number(static_cast<std::uint64_t>(v), 8); }
  void operator()(std::int32_t v) const { number(static_cast<std::uint32_t>(v), 4); }
  void operator()(bool v) const { number(v ? 1 : 0, 1); }
  void operator()(const std::string& v) const { append_text(out, v); }
  void operator()(const Blob& v) const { append_text(out, v.bytes); }
};

}  // namespace

Bytes signing_input(std::string_view topic, const KuraPayload& payload) {
  std::vector<const Metric*> covered;
  covered.reserve(payload.metrics.size());
  for (const Metric& metric : payload.metrics) {
    if (metric.name != kSignatureMetric) covered.push_back(&metric);
  }
  // std::string compares as unsigned bytes, which is the order that edc §4.3 wants
  std::sort(covered.begin(), covered.end(), [](const Metric* a, const Metric* b) { return a->name < b->name; });

  Bytes out(kMagic);
  append_text(out, topic);
  append_big_endian(out, static_cast<std::uint64_t>(payload.timestamp.value_or(0)), 8);
  append_big_endian(out, covered.size(), 4);
  for (const Metric* metric : covered) {
    append_text(out, metric->name);
    append_big_endian(out, metric->value.index(), 1);
    std::visit(AppendValue{out}, metric->value);
  }
  append_text(out, payload.body ? std::string_view(*payload.body) : std::string_view());
  return out;
}

Result<SignatureParts> signature_of(const KuraPayload& payload) {
  const std::string* algorithm = payload.string(kAlgorithmMetric);
  const Bytes* signature = payload.blob(kSignatureMetric);
  if (algorithm == nullptr || signature == nullptr) {
    return fail(ErrorCode::kUnauthenticated, "message is not signed: {} is missing",
                algorithm == nullptr ? kAlgorithmMetric : kSignatureMetric);
  }
  return SignatureParts{*algorithm, *signature};
}

}  // namespace fleet::protocol
