// What watch shows, without a terminal and without a clock.
#include "provisioner/cli/progress.hpp"

#include <algorithm>

#include <boost/json.hpp>
#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

namespace {

const SteadyTime kStart{};

Progress progress_of(const char* json) {
  return read_progress(boost::json::parse(json).as_object());
}

const char* const kHalfDone = R"({"total":2000,"statuses":{"CREATED":700,"RUNNING":90,"COMPLETED":1200,"ABANDONED":10},
  "disabled":5,"expired":3,"notYet":2,"stuck":18,"gone":1,
  "reasons":[{"cause":"the device refused the configuration (500): no space left on the device, twice over","requests":10,
              "example":"gw-0017"}]})";

std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

TEST_CASE("the rate is what was completed over the last minute, and the rest follows from it") {
  RateMeter rate;
  rate.add(kStart, 100);
  CHECK_FALSE(rate.per_minute());
  rate.add(kStart + Seconds(1), 110);
  CHECK_FALSE(rate.per_minute());
  rate.add(kStart + Seconds(10), 200);
  CHECK(rate.per_minute().value() == doctest::Approx(600));
  CHECK(rate.time_for(300).value() == Seconds(30));
  // a minute later the burst is forgotten
  for (int second = 11; second <= 80; ++second) rate.add(kStart + Seconds(second), 200);
  CHECK(rate.per_minute().value() == doctest::Approx(0));
  CHECK_FALSE(rate.time_for(300));
}

TEST_CASE("requests that are armed again do not make a negative rate") {
  RateMeter rate;
  rate.add(kStart, 100);
  rate.add(kStart + Seconds(5), 200);
  rate.add(kStart + Seconds(6), 150);
  CHECK_FALSE(rate.per_minute());
  rate.add(kStart + Seconds(16), 160);
  CHECK(rate.per_minute().value() == doctest::Approx(60));
}

TEST_CASE("the page fits its width, in characters, and says all there is to say") {
  const Progress progress = progress_of(kHalfDone);
  CHECK(progress.open() == 782);
  for (const std::size_t width : {40U, 80U, 200U}) {
    for (const std::string& line : progress_page("all requests", progress, RateMeter(), width)) {
      CHECK_MESSAGE(characters(line) <= width, line);
    }
  }
  std::string page;
  for (const std::string& line : progress_page("all requests", progress, RateMeter(), 200)) page += line + "\n";
  for (const char* part : {"all requests\n", " 60 %  1,200 of 2,000 completed\n", "CREATED", "700  waiting for their devices",
                           "shut out: 5 disabled, 3 expired, 2 not yet active, 1 deleted", "10  the device refused",
                           "describe request gw-0017"}) {
    CHECK_MESSAGE(page.find(part) != std::string::npos, part);
  }
}

TEST_CASE("the bar is full only when all is done, and marks what is stuck") {
  const auto bar_of = [](const char* json) { return progress_page("", progress_of(json), RateMeter(), 60)[1]; };
  CHECK(bar_of(R"({"total":0})").starts_with("[."));
  CHECK(bar_of(R"({"total":1000,"statuses":{"COMPLETED":999}})").find(".]  99 %") != std::string::npos);
  CHECK(bar_of(R"({"total":1000,"statuses":{"COMPLETED":999},"stuck":1})").find("#x]  99 %") != std::string::npos);
  CHECK(bar_of(R"({"total":3,"statuses":{"COMPLETED":3}})").find("#] 100 %") != std::string::npos);
}

TEST_CASE("a long cause is broken at blanks, and cut after three lines") {
  Progress progress;
  progress.reasons.push_back({"one two three four five six seven eight nine ten eleven twelve thirteen fourteen", 3, "gw"});
  std::string page;
  for (const std::string& line : progress_page("", progress, RateMeter(), 40)) page += line + "\n";
  CHECK_MESSAGE(page.find("          3  one two three four five\n             six seven eight nine ten\n"
                          "             eleven twelve thirteen fou…\n             for one:") != std::string::npos,
                page);
}

TEST_CASE("a line for files has it all, and JSON is for programs") {
  const Progress progress = progress_of(kHalfDone);
  RateMeter rate;
  rate.add(kStart, 1080);
  rate.add(kStart + Seconds(60), 1200);
  const std::string line = progress_line(progress, rate);
  CHECK(line.starts_with("1200 of 2000 completed, 60 %; CREATED 700, RUNNING 90, COMPLETED 1200, ABANDONED 10; shut out: 5"));
  CHECK(line.find("; 120 a minute, about 6 min left; most fail for: the device refused") != std::string::npos);
  const auto json = progress_json(boost::json::parse(kHalfDone).as_object(), progress, rate, from_unix_millis(0));
  CHECK(json.at("at") == "1970-01-01T00:00:00Z");
  CHECK(json.at("completed") == 1200);
  CHECK(json.at("perMinute") == 120);
  CHECK(json.at("secondsLeft") == 391);
}

TEST_CASE("numbers are grouped and texts cut between characters") {
  CHECK(grouped(7) == "7");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(grouped(-1000) == "-1,000");
  CHECK(cut("short", 5) == "short");
  CHECK(cut("longer", 5) == "long…");
  CHECK(cut("äöüäö", 5) == "äöüäö");
  CHECK(cut("äöüäöü", 5) == "äöüä…");
}

TEST_CASE("what devices said cannot steer the terminal") {
  const Progress progress = progress_of(R"({"total":1,"reasons":[{"cause":"\u001b[2J","requests":1,"example":"a\u0007"}]})");
  for (const std::string& line : progress_page("", progress, RateMeter(), 80)) CHECK(line.find('\x1b') == std::string::npos);
}
