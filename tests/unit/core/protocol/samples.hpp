// Payloads and generators that several tests of core/protocol share.
#pragma once

#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/protocol/kura_payload.hpp"

namespace fleet::protocol::test {

using Random = std::mt19937_64;

// Uniform in 0..bound-1.
std::size_t pick(Random& random, std::size_t bound);

// Every metric type at its edges, names and values beyond ASCII, a negative timestamp, a body with every byte.
KuraPayload every_type();

// Any payload that encode() may be given, NaN and empty names included; metric names are unique.
KuraPayload random_payload(Random& random);

// One to four small damages: bytes changed, removed, inserted, repeated, or the end cut off.
std::string mutate(Random& random, std::string text);

// from_hex for literals that are known to be hex; blanks between digits are for the eye.
Bytes hex(std::string_view text);

// The wire bytes of a payload with one metric that has this content.
Bytes with_metric(std::string_view content);

// `payload` with one metric set, added or (nullopt) removed.
KuraPayload changed(KuraPayload payload, std::string_view name, std::optional<MetricValue> value);

}  // namespace fleet::protocol::test
