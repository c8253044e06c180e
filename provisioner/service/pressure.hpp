// When more devices knock than can be served soon: a region after a power cut. Pure; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/base/time.hpp"

namespace fleet::provisioner {

// Measures how fast work is done, and tells a newcomer when to come back. A device repeats its hello after 10 s without an
// answer, which is work once more: whoever would wait nearly that long is better off with a 503 and a time.
class Pressure {
 public:
  // So long a hello may wait for its turn.
  static constexpr Millis kPatience{8000};
  static constexpr Seconds kShortestPause{5};
  static constexpr Seconds kLongestPause{900};

  // A piece of work has been done.
  void done(SteadyTime now);

  // nullopt: a hello that comes now, behind `backlog` pieces of work, has its turn soon enough. Else the device is to come
  // back when those are done, at any time within as long again, so that those who are sent away do not come back together.
  // `random`: uniformly distributed.
  std::optional<Seconds> turn_away(std::size_t backlog, std::uint64_t random) const;

 private:
  double per_second_ = 0;  // smoothed; 0: not known yet
  std::optional<SteadyTime> window_begin_;
  std::size_t in_window_ = 0;
};

}  // namespace fleet::provisioner
