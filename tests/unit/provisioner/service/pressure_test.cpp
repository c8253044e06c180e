#include <set>

#include <doctest/doctest.h>

#include "provisioner/service/pressure.hpp"

namespace fleet::provisioner {
namespace {

// Work is done at that rate for a few seconds.
Pressure at_rate(int per_second) {
  Pressure pressure;
  const SteadyTime begin{};
  for (int i = 0; i < 5 * per_second; ++i) pressure.done(begin + std::chrono::microseconds(i * 1'000'000LL / per_second));
  return pressure;
}

TEST_CASE("Nobody is turned away before it is known how fast work is done, nor by a short queue") {
  CHECK_FALSE(Pressure().turn_away(1'000'000, 0));
  const Pressure slow = at_rate(10);
  CHECK_FALSE(slow.turn_away(999, 0));
  CHECK(slow.turn_away(1000, 0));
}

TEST_CASE("Who would wait for less than the patience waits; who would wait longer is told to come when the queue is done") {
  const Pressure pressure = at_rate(1000);
  CHECK_FALSE(pressure.turn_away(7'500, 0));
  const auto pause = pressure.turn_away(20'000, 0);
  REQUIRE(pause);
  CHECK(*pause >= Seconds(19));
  CHECK(*pause <= Seconds(21));
}

TEST_CASE("Those who are turned away come back spread over as long again as the queue takes") {
  const Pressure pressure = at_rate(1000);
  std::set<std::int64_t> pauses;
  for (std::uint64_t random = 0; random < 1000; ++random) pauses.insert(pressure.turn_away(20'000, random)->count());
  CHECK(pauses.size() >= 20);
  CHECK(*pauses.rbegin() >= 2 * *pauses.begin() - 1);
  CHECK(pressure.turn_away(1'000'000'000, 0) == Pressure::kLongestPause);
}

TEST_CASE("A pause in which nothing was to be done does not look like slowness") {
  Pressure pressure = at_rate(1000);
  const SteadyTime later = SteadyTime{} + std::chrono::hours(1);
  for (int i = 0; i < 100; ++i) pressure.done(later + Millis(i));
  CHECK_FALSE(pressure.turn_away(7'500, 0));
}

}  // namespace
}  // namespace fleet::provisioner
