#include "agent/simulator/floor.hpp"

#include <fstream>

#include <doctest/doctest.h>

#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::agent;

TEST_CASE("A trace is read back as it was written") {
  const test::TempFolder folder;
  const std::vector<TracedMessage> trace{{true, 40, 900}, {false, 60, 3'000}, {true, 50, 40}, {false, 45, 30}};
  REQUIRE(write_trace(folder / "trace.json", trace).has_value());
  const auto read = read_trace(folder / "trace.json");
  REQUIRE(read.has_value());
  REQUIRE(read->size() == 4);
  CHECK(read->at(1).from_device == false);
  CHECK(read->at(1).topic_size == 60);
  CHECK(read->at(1).payload_size == 3'000);
}

TEST_CASE("What is no whole conversation is neither written nor played") {
  const test::TempFolder folder;
  CHECK_FALSE(write_trace(folder / "trace.json", {}).has_value());
  CHECK_FALSE(write_trace(folder / "trace.json", {{false, 1, 1}, {true, 1, 1}}).has_value());
  for (const char* text :
       {"", "[]", "{}", R"({"messages":[]})", R"({"messages":[1]})", R"({"messages":[{"from":"device"}]})",
        R"({"messages":[{"from":"device","topic":1,"payload":99999999},{"from":"platform","topic":1,"payload":1},{"from":"platform","topic":1,"payload":1}]})"}) {
    CAPTURE(text);
    std::ofstream(folder / "bad.json") << text;
    CHECK(read_trace(folder / "bad.json").error().code == ErrorCode::kMalformed);
  }
}
