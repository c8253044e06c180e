#include "core/base/backoff.hpp"

#include <doctest/doctest.h>

using namespace fleet;

namespace {

constexpr std::uint64_t kLowest = 0;
constexpr std::uint64_t kMiddle = 1 << 20;
constexpr std::uint64_t kHighest = 2 << 20;

}  // namespace

TEST_CASE("jitter stays within a fifth on both sides and reaches both ends") {
  CHECK(with_jitter(Millis(1000), kLowest) == Millis(800));
  CHECK(with_jitter(Millis(1000), kMiddle) == Millis(1000));
  CHECK(with_jitter(Millis(1000), kHighest) == Millis(1200));
  CHECK(with_jitter(Millis(0), kHighest) == Millis(0));
  std::uint64_t random = 1;
  for (int i = 0; i < 1000; ++i) {
    random = random * 6364136223846793005U + 1442695040888963407U;
    const auto pause = with_jitter(Millis(10'000), random);
    CHECK(pause >= Millis(8'000));
    CHECK(pause <= Millis(12'000));
  }
}

TEST_CASE("pauses double up to the limit, however long it goes on, and start again after a reset") {
  Backoff backoff{Millis(1000), Millis(5000)};
  for (const int expected : {1000, 2000, 4000, 5000, 5000}) CHECK(backoff.next(kMiddle) == Millis(expected));
  for (int i = 0; i < 10'000; ++i) CHECK(backoff.next(kMiddle) == Millis(5000));
  backoff.reset();
  CHECK(backoff.next(kMiddle) == Millis(1000));
  CHECK(backoff.next(kHighest) == Millis(2400));
}
