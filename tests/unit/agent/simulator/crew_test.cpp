#include "agent/simulator/crew.hpp"

#include <algorithm>
#include <array>
#include <thread>

#include <signal.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <doctest/doctest.h>

#include "agent/simulator/device_queue.hpp"
#include "agent/simulator/fleet.hpp"

using namespace fleet;
using namespace fleet::agent;

namespace {

CrewOptions crew_of(std::size_t threads) {
  CrewOptions options;
  options.threads = threads;
  return options;
}

void show_nothing(const FleetProgress&) {}

}  // namespace

TEST_CASE("Parts work on threads of their own, and their tallies are added up when all have ended") {
  std::vector<FleetProgress> shown;
  Crew crew(crew_of(3), [&](const FleetProgress& progress) { shown.push_back(progress); });
  for (std::size_t i = 0; i < 3; ++i) crew.tally(i).devices = i + 1;
  std::array<std::thread::id, 3> ids;
  const auto outcome = crew.run([&](std::size_t part) {
    ids[part] = std::this_thread::get_id();
    boost::asio::post(crew.io(part), [&crew, part] {
      crew.tally(part).provisioned = part + 1;
      crew.ended(part);
    });
  });
  REQUIRE(outcome.has_value());
  CHECK(outcome->tally.devices == 6);
  CHECK(outcome->tally.provisioned == 6);
  CHECK_FALSE(outcome->interrupted);
  for (const auto& id : ids) CHECK(id != std::this_thread::get_id());
  CHECK(ids[0] != ids[1]);
  CHECK(ids[1] != ids[2]);
  REQUIRE(shown.size() >= 2);
  CHECK(shown.front().devices == 6);
  CHECK(shown.front().provisioned == 0);
  CHECK(shown.back().provisioned == 6);
}

TEST_CASE("A part that tells its end twice does not end the others") {
  Crew crew(crew_of(2), show_nothing);
  boost::asio::steady_timer at_work(crew.io(1));
  const auto outcome = crew.run([&](std::size_t part) {
    if (part == 0) {
      crew.ended(0);
      crew.ended(0);
      return;
    }
    at_work.expires_after(Millis(300));
    at_work.async_wait([&](boost::system::error_code error) {
      if (error) return;
      ++crew.tally(1).provisioned;
      crew.ended(1);
    });
  });
  REQUIRE(outcome.has_value());
  CHECK(outcome->tally.provisioned == 1);
}

TEST_CASE("What goes wrong in one part ends the others, with the first reason") {
  Crew crew(crew_of(2), show_nothing);
  boost::asio::steady_timer never(crew.io(0));
  const auto outcome = crew.run([&](std::size_t part) {
    if (part == 0) {
      never.expires_after(std::chrono::hours(1));
      never.async_wait([](boost::system::error_code) {});
    } else {
      crew.stop({ErrorCode::kUnavailable, "first"});
      crew.stop({ErrorCode::kUnavailable, "second"});
    }
  });
  REQUIRE_FALSE(outcome.has_value());
  CHECK(outcome.error().message == "first");
}

TEST_CASE("An exception in a part is an error of the run") {
  Crew crew(crew_of(2), show_nothing);
  const auto outcome = crew.run([&](std::size_t part) {
    if (part == 1) throw std::runtime_error("thrown");
    crew.ended(part);
  });
  REQUIRE_FALSE(outcome.has_value());
  CHECK(outcome.error().message == "thrown");
}

TEST_CASE("A signal, and the end of the time, interrupt a run that has not ended") {
  CrewOptions options = crew_of(2);
  SUBCASE("SIGINT") {}
  SUBCASE("time limit") { options.time_limit = Seconds(1); }
  Crew crew(options, show_nothing);
  std::array timers{boost::asio::steady_timer(crew.io(0)), boost::asio::steady_timer(crew.io(1))};
  const auto outcome = crew.run([&](std::size_t part) {
    timers[part].expires_after(std::chrono::hours(1));
    timers[part].async_wait([](boost::system::error_code) {});
    if (part == 0 && options.time_limit == Seconds(0)) ::kill(::getpid(), SIGINT);
  });
  REQUIRE(outcome.has_value());
  CHECK(outcome->interrupted);
}

TEST_CASE("Every device is taken once, by whoever comes, and who is not ready stays") {
  DeviceQueue queue(10'000);
  CHECK_FALSE(queue.take_if([](std::size_t) { return false; }));
  CHECK(queue.next() == 0);
  std::array<std::vector<std::size_t>, 3> taken;
  std::vector<std::thread> threads;
  for (auto& mine : taken) {
    threads.emplace_back([&queue, &mine] {
      while (const auto number = queue.take()) mine.push_back(*number);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<int> times(10'000, 0);
  for (const auto& mine : taken) {
    for (const std::size_t number : mine) ++times[number];
  }
  CHECK(std::count(times.begin(), times.end(), 1) == 10'000);
  CHECK_FALSE(queue.next());
}

TEST_CASE("No thread is without a device, and every place is dealt out") {
  CHECK(with_use_for(crew_of(8), 100, 3).threads == 3);
  CHECK(with_use_for(crew_of(8), 2, 500).threads == 2);
  CHECK(with_use_for(crew_of(2), 100, 500).threads == 2);
  CHECK(with_use_for(crew_of(0), 0, 500).threads == 1);
  for (std::size_t whole = 0; whole < 20; ++whole) {
    for (std::size_t parts = 1; parts < 6; ++parts) {
      std::size_t sum = 0;
      for (std::size_t part = 0; part < parts; ++part) {
        sum += share_of(whole, part, parts);
        CHECK(share_of(whole, part, parts) <= share_of(whole, 0, parts));
      }
      CHECK(sum == whole);
    }
  }
}
