#include "provisioner/service/pressure.hpp"

#include <algorithm>
#include <cmath>

namespace fleet::provisioner {
namespace {

constexpr Millis kWindow{500};
constexpr double kWeightOfNew = 0.3;
// What any machine has done within kPatience: fewer pieces turn nobody away, however slow the last moment was.
constexpr std::size_t kFew = 1000;

}  // namespace

void Pressure::done(SteadyTime now) {
  if (!window_begin_) window_begin_ = now;
  ++in_window_;
  const auto passed = std::chrono::duration_cast<std::chrono::duration<double>>(now - *window_begin_);
  if (passed < kWindow) return;
  const double rate = static_cast<double>(in_window_) / passed.count();
  // a window that idle time has stretched says nothing of how fast work can be done
  if (passed < 2 * kWindow) per_second_ = per_second_ == 0 ? rate : per_second_ + kWeightOfNew * (rate - per_second_);
  window_begin_ = now;
  in_window_ = 0;
}

std::optional<Seconds> Pressure::turn_away(std::size_t backlog, std::uint64_t random) const {
  if (backlog < kFew || per_second_ == 0) return std::nullopt;
  const double wait = static_cast<double>(backlog) / per_second_;
  if (wait * 1000 < static_cast<double>(kPatience.count())) return std::nullopt;
  const double first = std::clamp(std::ceil(wait), static_cast<double>(kShortestPause.count()),
                                  static_cast<double>(kLongestPause.count()));
  const auto seconds = static_cast<std::uint64_t>(first);
  return Seconds(static_cast<std::int64_t>(seconds + random % (seconds + 1)));
}

}  // namespace fleet::provisioner
