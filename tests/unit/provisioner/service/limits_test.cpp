#include "provisioner/service/limits.hpp"

#include <vector>

#include <doctest/doctest.h>

using namespace fleet::provisioner;

TEST_CASE("What happens a thousand times is worth ten lines") {
  Occurrences occurrences;
  std::vector<std::uint64_t> lines;
  for (int i = 0; i < 1000; ++i) {
    if (occurrences.add()) lines.push_back(occurrences.so_far());
  }
  CHECK(lines == std::vector<std::uint64_t>{1, 2, 4, 8, 16, 32, 64, 128, 256, 512});
}

TEST_CASE("A device has so many pieces of work in hand and no more, whatever others have") {
  DeviceShares shares;
  for (std::size_t i = 0; i < DeviceShares::kPiecesInHand; ++i) CHECK(shares.take("GW1"));
  CHECK_FALSE(shares.take("GW1"));
  CHECK(shares.take("GW2"));
  shares.give_back("GW1");
  CHECK(shares.take("GW1"));
  CHECK_FALSE(shares.take("GW1"));
}

TEST_CASE("Devices without work leave nothing behind") {
  DeviceShares shares;
  for (int i = 0; i < 1000; ++i) {
    const std::string client_id = "GW" + std::to_string(i);
    CHECK(shares.take(client_id));
    shares.give_back(client_id);
  }
  shares.give_back("GW1");
  CHECK(shares.devices() == 0);
}
