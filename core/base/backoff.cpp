#include "core/base/backoff.hpp"

namespace fleet {

Millis with_jitter(Millis base, std::uint64_t random) {
  constexpr std::int64_t kParts = 1 << 20;
  const std::int64_t part = static_cast<std::int64_t>(random % (2 * kParts + 1)) - kParts;  // -kParts..kParts
  // In double: base may be days long in milliseconds, and a jitter needs no exact arithmetic.
  const double spread = static_cast<double>(base.count()) * 0.2 * static_cast<double>(part) / kParts;
  return base + Millis(static_cast<std::int64_t>(spread));
}

Millis Backoff::next(std::uint64_t random) {
  Millis pause = first;
  for (std::uint32_t i = 0; i < tries && pause < limit; ++i) pause *= 2;
  if (tries < 64) ++tries;
  return with_jitter(std::min(pause, limit), random);
}

}  // namespace fleet
