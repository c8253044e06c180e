#include "provisioner/packages/range.hpp"

#include <doctest/doctest.h>

using fleet::provisioner::ByteRange;
using fleet::provisioner::choose_range;

TEST_CASE("One range of a file is what it asks for, cut at the file's end") {
  CHECK(choose_range("bytes=0-0", 10) == ByteRange{0, 1, true});
  CHECK(choose_range("bytes=2-5", 10) == ByteRange{2, 4, true});
  CHECK(choose_range("bytes=9-", 10) == ByteRange{9, 1, true});
  CHECK(choose_range("bytes=0-", 10) == ByteRange{0, 10, true});
  CHECK(choose_range("bytes=5-1000", 10) == ByteRange{5, 5, true});
  CHECK(choose_range("bytes=-3", 10) == ByteRange{7, 3, true});
  CHECK(choose_range("bytes=-30", 10) == ByteRange{0, 10, true});
}

TEST_CASE("A range behind the end cannot be had") {
  CHECK(choose_range("bytes=10-", 10) == std::nullopt);
  CHECK(choose_range("bytes=10-20", 10) == std::nullopt);
  CHECK(choose_range("bytes=-0", 10) == std::nullopt);
  CHECK(choose_range("bytes=0-", 0) == std::nullopt);
  CHECK(choose_range("bytes=-1", 0) == std::nullopt);
}

TEST_CASE("What is no range, or several, gets the whole file") {
  const ByteRange whole{0, 10, false};
  for (const char* const header :
       {"", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=1-2,4-5", "items=0-1", "bytes=1", "bytes= 1-2",
        "bytes=99999999999999999999-", "bytes=+1-2", "bytes=--2"}) {
    CAPTURE(header);
    CHECK(choose_range(header, 10) == whole);
  }
}
