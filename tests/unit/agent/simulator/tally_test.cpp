#include "agent/simulator/tally.hpp"

#include <unistd.h>

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::agent;

namespace {

SteadyTime at(int millis) {
  return SteadyTime(Millis(millis));
}

}  // namespace

TEST_CASE("A percentile is the value that so large a share does not exceed") {
  Samples samples;
  CHECK(samples.percentile(0.5) == 0);
  for (int i = 100; i >= 0; --i) samples.add(Millis(i));
  CHECK(samples.percentile(0) == 0);
  CHECK(samples.percentile(0.5) == 50);
  CHECK(samples.percentile(0.99) == 99);
  CHECK(samples.percentile(1) == 100);
  samples.add(Seconds(1));
  CHECK(samples.percentile(1) == 1000);
}

TEST_CASE("The stretches of a device's way are told one by one and as a whole") {
  Tally tally;
  Times times{};
  times[static_cast<std::size_t>(Stretch::kTotal)] = at(1'000);
  times[static_cast<std::size_t>(Stretch::kConnect)] = at(1'010);
  times[static_cast<std::size_t>(Stretch::kHello)] = at(1'030);
  times[static_cast<std::size_t>(Stretch::kInstall)] = at(1'060);
  times[static_cast<std::size_t>(Stretch::kRecord)] = at(1'100);
  times[static_cast<std::size_t>(Stretch::kOwner)] = at(1'150);
  tally.add_provisioned(times, Behaviour::kProper, at(1'150));
  const auto of = [&](Stretch stretch) { return tally.stretches[static_cast<std::size_t>(stretch)].percentile(0.5); };
  CHECK(of(Stretch::kConnect) == 10);
  CHECK(of(Stretch::kHello) == 20);
  CHECK(of(Stretch::kInstall) == 30);
  CHECK(of(Stretch::kRecord) == 40);
  CHECK(of(Stretch::kOwner) == 50);
  CHECK(of(Stretch::kTotal) == 150);
}

TEST_CASE("A device that ends otherwise than its behaviour has it is told") {
  Tally tally;
  tally.add_stopped(Behaviour::kSilent);
  tally.add_provisioned({}, Behaviour::kDuplicate, at(1));
  CHECK(tally.unexpected == 0);
  tally.add_stopped(Behaviour::kSlow);
  tally.add_provisioned({}, Behaviour::kWrongKey, at(2));
  CHECK(tally.unexpected == 2);
  CHECK(tally.provisioned == 2);
  CHECK(tally.stopped == 2);
}

TEST_CASE("The rates of both halves tell whether it becomes slower") {
  Tally tally;
  for (const int done : {250, 500, 1'500, 2'500}) tally.done_at.push_back(at(done));
  const auto [first, last] = tally.half_rates(at(0));
  CHECK(first == doctest::Approx(4));
  CHECK(last == doctest::Approx(1));
  CHECK(Tally().half_rates(at(0)) == std::pair<double, double>(0, 0));
}

TEST_CASE("The tally of a fleet is that of its parts, in the order of time") {
  Tally whole, part;
  whole.devices = 3;
  part.devices = 2;
  Times times{};
  times[static_cast<std::size_t>(Stretch::kTotal)] = at(0);
  for (const int done : {1'000, 3'000}) whole.add_provisioned(times, Behaviour::kProper, at(done));
  whole.add_failure("timeout");
  part.add_provisioned(times, Behaviour::kWrongKey, at(2'000));
  part.add_stopped(Behaviour::kSilent);
  part.add_failure("timeout");
  part.add_failure("refused");
  part.add_setback("lost");
  part.by_behaviour[static_cast<std::size_t>(Behaviour::kSilent)] = 1;
  part.arrived = 2;
  part.sent = 7;
  part.received = 9;
  whole.add(part);
  CHECK(whole.devices == 5);
  CHECK(whole.arrived == 2);
  CHECK(whole.provisioned == 3);
  CHECK(whole.stopped == 1);
  CHECK(whole.unexpected == 1);
  CHECK(whole.attempts_failed == 3);
  CHECK(whole.sent == 7);
  CHECK(whole.received == 9);
  CHECK(whole.by_behaviour[static_cast<std::size_t>(Behaviour::kSilent)] == 1);
  CHECK(whole.provisioned_by_behaviour[static_cast<std::size_t>(Behaviour::kWrongKey)] == 1);
  CHECK(whole.done_at == std::vector{at(1'000), at(2'000), at(3'000)});
  CHECK(whole.stretches[static_cast<std::size_t>(Stretch::kTotal)].count() == 3);
  CHECK(whole.stretches[static_cast<std::size_t>(Stretch::kTotal)].percentile(0.5) == 2'000);
  CHECK(whole.reasons == std::map<std::string, std::size_t>{{"timeout", 2}, {"refused", 1}});
  CHECK(whole.setbacks == std::map<std::string, std::size_t>{{"lost", 1}});
}

TEST_CASE("Reasons without number do not fill the memory") {
  Tally tally;
  for (int i = 0; i < 1'000; ++i) tally.add_failure("reason " + std::to_string(i));
  CHECK(tally.reasons.size() == 51);
  CHECK(tally.reasons.at("other reasons") == 950);
  CHECK(tally.attempts_failed == 1'000);
  for (int i = 0; i < 1'000; ++i) tally.add_setback("setback " + std::to_string(i));
  CHECK(tally.setbacks.size() == 51);
  CHECK(tally.attempts_failed == 1'000);
}

TEST_CASE("The CPU time of a process is told while it runs") {
  CHECK(cpu_time_of(::getpid()).has_value());
  CHECK_FALSE(cpu_time_of(0x3fffffff).has_value());
}
