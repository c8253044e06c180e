#include "provisioner/broker/kicks.hpp"

#include <doctest/doctest.h>

using namespace fleet::provisioner;

TEST_CASE("A kick is owed until the broker has acknowledged it") {
  Kicks kicks;
  CHECK_FALSE(kicks.next());
  CHECK(kicks.want("GW1"));
  CHECK(kicks.want("GW1"));
  CHECK(kicks.next() == "GW1");
  CHECK(kicks.next() == "GW1");  // not sent yet
  kicks.sent("GW1", 7);
  CHECK_FALSE(kicks.next());
  kicks.lost();
  CHECK(kicks.next() == "GW1");
  kicks.sent("GW1", 1);
  kicks.acknowledged(1);
  kicks.lost();
  CHECK_FALSE(kicks.next());
}

TEST_CASE("Kicks that are owed for long are bounded") {
  Kicks kicks;
  for (std::size_t i = 0; i < Kicks::kMost; ++i) REQUIRE(kicks.want(std::to_string(i)));
  CHECK_FALSE(kicks.want("one more"));
  const std::string first = *kicks.next();
  kicks.sent(first, 1);
  CHECK(kicks.want("one more"));
}
