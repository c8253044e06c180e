#include "provisioner/admission/outbound.hpp"

#include <string>

#include <doctest/doctest.h>

namespace fleet::provisioner {
namespace {

TEST_CASE("messages come out of a parcel as they went in, empty and binary ones too") {
  const std::string large(300'000, 'x');
  const std::string_view binary("\0\xff\0", 3);
  const std::vector<std::pair<std::string_view, std::string_view>> messages{{"a/b", "one"}, {"a/c", ""}, {"a/d", binary}, {"a/e", large}};
  Bytes parcel;
  for (const auto& [topic, payload] : messages) append_outbound(parcel, topic, payload);
  const auto parsed = parse_outbound(parcel);
  REQUIRE(parsed);
  REQUIRE(parsed->size() == messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    CHECK((*parsed)[i].topic == messages[i].first);
    CHECK((*parsed)[i].payload == messages[i].second);
  }
  CHECK(parse_outbound("")->empty());
}

TEST_CASE("the form of a parcel is fixed: plugin and provisioner may be of two versions for a moment") {
  Bytes parcel;
  append_outbound(parcel, "t", "pq");
  CHECK(parcel == Bytes("\0\0\0\1t\0\0\0\2pq", 11));
}

TEST_CASE("a parcel that is cut short anywhere but between messages is malformed") {
  Bytes parcel;
  append_outbound(parcel, "$EDC/acme/gw/X", "first");
  const std::size_t between = parcel.size();
  append_outbound(parcel, "$EDC/acme/gw/Y", "second");
  for (std::size_t size = 1; size < parcel.size(); ++size) {
    CAPTURE(size);
    CHECK(parse_outbound(std::string_view(parcel).substr(0, size)).has_value() == (size == between));
  }
  CHECK_FALSE(parse_outbound("\xff\xff\xff\xff"));
  CHECK_FALSE(parse_outbound("hello"));
}

}  // namespace
}  // namespace fleet::provisioner
