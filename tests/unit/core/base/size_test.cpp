#include "core/base/size.hpp"

#include <doctest/doctest.h>

namespace fleet {
namespace {

TEST_CASE("a size is a whole number of bytes or of a binary unit") {
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("1500") == 1500);
  CHECK(parse_size("512KiB") == 512 * 1024);
  CHECK(parse_size("64MiB") == 64 * 1024 * 1024);
  CHECK(parse_size("2GiB") == std::uint64_t{2} << 30);
  CHECK(parse_size("16777215TiB") == std::uint64_t{16777215} << 40);
}

TEST_CASE("what is no size is refused with what one looks like") {
  for (const std::string_view bad : {"", " 1", "1 MiB", "-1", "+1", "1.5GiB", "MiB", "1MB", "1mib", "1M", "16777216TiB",
                                     "99999999999999999999", "1KiBs"}) {
    CAPTURE(bad);
    const auto size = parse_size(bad);
    REQUIRE_FALSE(size);
    CHECK(size.error().code == ErrorCode::kMalformed);
    CHECK(size.error().message.find("64MiB") != std::string::npos);
  }
}

TEST_CASE("a size is written in the largest unit that is exact") {
  CHECK(format_size(0) == "0");
  CHECK(format_size(1500) == "1500");
  CHECK(format_size(1024) == "1KiB");
  CHECK(format_size(1025 * 1024) == "1025KiB");
  CHECK(format_size(256 << 20) == "256MiB");
  CHECK(format_size(std::uint64_t{1} << 30) == "1GiB");
  for (const std::uint64_t size : {std::uint64_t{1}, std::uint64_t{12345}, std::uint64_t{3} << 40}) {
    CHECK(parse_size(format_size(size)) == size);
  }
}

}  // namespace
}  // namespace fleet
