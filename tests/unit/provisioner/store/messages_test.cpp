#include "provisioner/store/messages.hpp"

#include <doctest/doctest.h>

#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

Step step_with(int ordinal, std::string topic, Bytes payload) {
  Step step = sample_step(1, ordinal);
  step.topic = std::move(topic);
  step.payload = std::move(payload);
  return step;
}

TEST_CASE("packed messages come back to their steps, byte for byte, in several goes") {
  const std::vector<Step> first{step_with(0, "a/b", Bytes("1 2 3\n\0\xff", 8)), step_with(1, "", ""), step_with(2, "c d\n", "")};
  const std::vector<Step> second{step_with(10, "e", Bytes(100'000, 'x'))};
  Bytes packed;
  append_messages(packed, first);
  append_messages(packed, second);
  std::vector<Step> steps{step_with(0, "", ""), step_with(1, "", ""), step_with(2, "", ""), step_with(10, "", "")};
  REQUIRE(give_messages(packed, steps));
  CHECK(steps[0].topic == "a/b");
  CHECK(steps[0].payload == first[0].payload);
  CHECK(steps[1].topic.empty());
  CHECK(steps[2].topic == "c d\n");
  CHECK(steps[2].payload.empty());
  CHECK(steps[3].payload == second[0].payload);
  CHECK(give_messages("", steps));
}

TEST_CASE("what is not packed messages is corrupt, and read no further than it goes") {
  std::vector<Step> steps{step_with(0, "", "")};
  for (const char* const packed : {"x", "0", "0 1", "0 1 1", "0 1 1\n", "0 1 1\na", "0 1 1\nabx", "1 1 1\nab", "-1 1 1\nab", "0  1 1\nab",
                                   "0 18446744073709551615 1\nab", "0 1 18446744073709551615\nab", "0 99999999999999999999 1\nab"}) {
    CAPTURE(packed);
    const auto given = give_messages(packed, steps);
    REQUIRE_FALSE(given);
    CHECK(given.error().code == ErrorCode::kCorrupt);
  }
}

}  // namespace
}  // namespace fleet::provisioner
