#include "core/protocol/gzip.hpp"

#include <cstdlib>
#include <new>

#include <doctest/doctest.h>

#include "tests/unit/core/protocol/samples.hpp"

namespace {
std::size_t largest_allocation = 0;
}

// The whole test program counts, so that a bomb can be shown not to have been inflated.
void* operator new(std::size_t size) {
  largest_allocation = std::max(largest_allocation, size);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

using namespace fleet;
using namespace fleet::protocol;
using namespace fleet::protocol::test;

TEST_CASE("gzip of any length comes back, up to and including the limit") {
  Random random(1);
  for (const std::size_t size : {0U, 1U, 100U, 4095U, 4096U, 4097U, 70'000U, 300'000U}) {
    CAPTURE(size);
    for (const bool compressible : {true, false}) {
      Bytes bytes(size, 'x');
      if (!compressible) {
        for (char& byte : bytes) byte = static_cast<char>(random());
      }
      const Bytes packed = gzip(bytes);
      CHECK(is_gzip(packed));
      CHECK(gunzip(packed, size).value() == bytes);
      CHECK(gunzip(packed, 1 << 20).value() == bytes);
      if (size > 0) {
        const auto refused = gunzip(packed, size - 1);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == ErrorCode::kLimitExceeded);
      }
    }
  }
}

TEST_CASE("a gzip bomb stops at the limit and takes no memory beyond it") {
  const Bytes bomb = gzip(Bytes(64 << 20, '\0'));
  REQUIRE(bomb.size() < 100'000);
  constexpr std::size_t kLimit = 1 << 20;
  largest_allocation = 0;
  const auto result = gunzip(bomb, kLimit);
  CHECK(largest_allocation <= kLimit + 64);  // the string's own terminator
  CHECK(largest_allocation > 0);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kLimitExceeded);
}

TEST_CASE("damaged, cut or followed gzip is malformed") {
  const Bytes packed = gzip("the quick brown fox jumps over the lazy dog");
  for (std::size_t size = 0; size < packed.size(); ++size) {
    CAPTURE(size);
    const auto cut = gunzip(packed.substr(0, size), 1000);
    REQUIRE_FALSE(cut);
    CHECK(cut.error().code == ErrorCode::kMalformed);
  }
  for (const Bytes& bad : {packed + '\0', packed + packed, packed + "x"}) {
    const auto followed = gunzip(bad, 1000);
    REQUIRE_FALSE(followed);
    CHECK(followed.error().code == ErrorCode::kMalformed);
  }
  Bytes wrong_checksum = packed;
  wrong_checksum[packed.size() - 8] = static_cast<char>(wrong_checksum[packed.size() - 8] ^ 1);
  CHECK_FALSE(gunzip(wrong_checksum, 1000));
}
