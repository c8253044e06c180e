#include "provisioner/admission/lockout.hpp"

#include <vector>

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

namespace {

const SteadyTime kStart = SteadyTime() + Seconds(1'000'000);

// Wrong tries, each as soon as it is listened to; the pauses in seconds.
std::vector<std::int64_t> pauses_of(Lockout& lockout, const std::string& key, int tries) {
  std::vector<std::int64_t> pauses;
  SteadyTime now = kStart;
  for (int i = 0; i < tries; ++i) {
    const auto lock = lockout.wrong(key, now);
    pauses.push_back(lock ? lock->pause.count() : 0);
    if (lock) {
      CHECK(lock->wrong_tries == i + 1);
      CHECK(lockout.pause_of(key, now) == Millis(lock->pause));
      CHECK(lockout.pause_of(key, now + lock->pause - Millis(1)) == Millis(1));
      now += lock->pause;
    }
    CHECK_FALSE(lockout.pause_of(key, now));
  }
  return pauses;
}

}  // namespace

TEST_CASE("Four wrong tries are free, then the pauses double up to five minutes") {
  Lockout lockout;
  CHECK(pauses_of(lockout, "k", 16) ==
        std::vector<std::int64_t>{0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300});
}

TEST_CASE("A right try clears the count, and a pause holds for its own key only") {
  Lockout lockout;
  for (int i = 0; i < 5; ++i) lockout.wrong("a", kStart);
  CHECK(lockout.pause_of("a", kStart));
  CHECK_FALSE(lockout.pause_of("b", kStart));
  lockout.right("a");
  lockout.right("nobody");
  CHECK_FALSE(lockout.pause_of("a", kStart));
  CHECK(lockout.size() == 0);
  for (int i = 0; i < 4; ++i) CHECK_FALSE(lockout.wrong("a", kStart));
}

TEST_CASE("Who was not wrong for ten minutes begins anew") {
  Lockout lockout;
  for (int i = 0; i < 6; ++i) lockout.wrong("a", kStart);
  lockout.wrong("b", kStart + Seconds(1));
  CHECK(lockout.wrong("a", kStart + Seconds(600) - Millis(1)).has_value());
  CHECK(lockout.size() == 2);
  CHECK_FALSE(lockout.wrong("a", kStart + Seconds(1200)));
  CHECK(lockout.size() == 1);
}

TEST_CASE("A new secret opens the door that the old one had shut, a pause for the new one stays shut") {
  Lockout lockout;
  for (int i = 0; i < 9; ++i) lockout.wrong("a", kStart, 1);
  CHECK(lockout.pause_of("a", kStart, 1));
  CHECK_FALSE(lockout.pause_of("a", kStart, 2));
  CHECK(lockout.size() == 0);
  for (int i = 0; i < 4; ++i) lockout.wrong("a", kStart, 1);
  CHECK_FALSE(lockout.wrong("a", kStart, 2));
}

TEST_CASE("The table is bounded: the key that was wrong the longest time ago gives way") {
  Lockout lockout(100);
  for (int i = 0; i < 5; ++i) lockout.wrong("old", kStart);
  for (int i = 0; i < 5; ++i) lockout.wrong("busy", kStart);
  for (int i = 0; i < 98; ++i) lockout.wrong("k" + std::to_string(i), kStart);
  CHECK(lockout.pause_of("old", kStart));
  lockout.wrong("busy", kStart + Seconds(1));
  lockout.wrong("one more", kStart + Seconds(1));
  CHECK(lockout.size() == 100);
  CHECK_FALSE(lockout.pause_of("old", kStart));
  CHECK(lockout.pause_of("busy", kStart + Seconds(1)));
  for (int i = 0; i < 1'000'000; ++i) lockout.wrong(std::to_string(i), kStart + Seconds(2));
  CHECK(lockout.size() == 100);
}

TEST_CASE("An address counts as its place: IPv4 whole, IPv6 by its /64, mapped ones as IPv4") {
  CHECK(lockout_key("a", "192.0.2.1") != lockout_key("a", "192.0.2.2"));
  CHECK(lockout_key("a", "192.0.2.1") != lockout_key("b", "192.0.2.1"));
  CHECK(lockout_key("a", "::ffff:192.0.2.1") == lockout_key("a", "192.0.2.1"));
  CHECK(lockout_key("a", "2001:db8:1:2::1") == lockout_key("a", "2001:db8:1:2:ffff::7"));
  CHECK(lockout_key("a", "2001:db8:1:2::1") != lockout_key("a", "2001:db8:1:3::1"));
  CHECK(lockout_key("a", "") == lockout_key("a", ""));
}
