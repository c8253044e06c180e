// Growing pauses between tries, spread so that a fleet does not knock in step.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/base/time.hpp"

namespace fleet {

// Doubles from `first` up to `limit`. `random` is any uniformly distributed 64-bit number; the pause is spread by ±20 %.
// Value type, no clock and no generator of its own: state machines keep and persist it.
struct Backoff {
  Millis first{1000};
  Millis limit{60000};
  std::uint32_t tries = 0;

  // The pause before the next try; counts it.
  Millis next(std::uint64_t random);
  void reset() { tries = 0; }
};

// `base` spread by ±20 % (edc §7, retry-interval).
Millis with_jitter(Millis base, std::uint64_t random);

}  // namespace fleet
