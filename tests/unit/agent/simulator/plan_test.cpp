#include "agent/simulator/plan.hpp"

#include <algorithm>

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::agent;

TEST_CASE("An arrival is read from its name, its rate or its window") {
  CHECK(parse_arrival("at-once")->kind == Arrival::Kind::kAtOnce);
  CHECK(parse_arrival("constant:2.5")->rate == 2.5);
  CHECK(parse_arrival("poisson:500")->kind == Arrival::Kind::kPoisson);
  CHECK(parse_arrival("power-cut:2m")->window == Seconds(120));
}

TEST_CASE("An arrival that cannot be is refused and told what a good one looks like") {
  for (const char* text : {"", "now", "at-once:1", "constant", "constant:", "constant:0", "constant:-1", "constant:nan",
                           "constant:inf", "constant:1x", "poisson:1e9", "power-cut", "power-cut:soon"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_arrival(text).has_value());
  }
  CHECK(parse_arrival("now").error().message.find("power-cut:TIME") != std::string::npos);
}

TEST_CASE("A constant arrival lets one device come after the other") {
  const auto times = arrival_times(*parse_arrival("constant:4"), 5, 1);
  CHECK(times == std::vector<Millis>{Millis(0), Millis(250), Millis(500), Millis(750), Millis(1000)});
}

TEST_CASE("A Poisson arrival keeps its rate, and is the same for the same seed only") {
  const Arrival arrival = *parse_arrival("poisson:100");
  const auto times = arrival_times(arrival, 10'000, 7);
  CHECK(std::is_sorted(times.begin(), times.end()));
  CHECK(times.back() > Seconds(95));
  CHECK(times.back() < Seconds(105));
  CHECK(times == arrival_times(arrival, 10'000, 7));
  CHECK(times != arrival_times(arrival, 10'000, 8));
}

TEST_CASE("After a power cut all have come within the window, most in its first half") {
  const auto times = arrival_times(*parse_arrival("power-cut:60s"), 10'000, 1);
  CHECK(std::is_sorted(times.begin(), times.end()));
  CHECK(times.front() < Seconds(5));
  CHECK(times.back() <= Seconds(60));
  const auto middle = std::lower_bound(times.begin(), times.end(), Seconds(30)) - times.begin();
  CHECK(middle > 8'000);
  CHECK(middle < 9'900);
}

TEST_CASE("Behaviours are dealt out as the percentages say, in random places") {
  Mix mix;
  mix[Behaviour::kWrongPassword] = 10;
  mix[Behaviour::kSilent] = 0.5;
  const auto behaviours = assign(mix, 1'000, 3);
  const auto count = [&](Behaviour one) { return std::count(behaviours.begin(), behaviours.end(), one); };
  CHECK(count(Behaviour::kWrongPassword) == 100);
  CHECK(count(Behaviour::kSilent) == 5);
  CHECK(count(Behaviour::kProper) == 895);
  CHECK(behaviours == assign(mix, 1'000, 3));
  CHECK(behaviours != assign(mix, 1'000, 4));
  CHECK(std::count(behaviours.begin(), behaviours.begin() + 500, Behaviour::kWrongPassword) > 20);
}

TEST_CASE("Percentages are from 0 to 100 together") {
  Mix mix;
  mix[Behaviour::kSlow] = 60;
  mix[Behaviour::kDuplicate] = 40;
  CHECK(mix.check().has_value());
  mix[Behaviour::kSilent] = 0.1;
  CHECK(mix.check().error().code == ErrorCode::kInvalidArgument);
  Mix negative;
  negative[Behaviour::kWrongKey] = -1;
  CHECK(negative.check().error().message.find("--wrong-key") == 0);
}
