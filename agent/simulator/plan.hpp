// What the devices of a simulated fleet do, and when they come: pure, and the same for the same seed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/time.hpp"

namespace fleet::agent {

// How a fleet arrives.
struct Arrival {
  enum class Kind {
    kAtOnce,
    kConstant,  // one every 1/rate
    kPoisson,   // independent of one another, `rate` a second on average
    kPowerCut,  // all get their power back together and come when they have started: most in the first half of `window`
  };
  Kind kind = Kind::kAtOnce;
  double rate = 0;   // devices a second
  Millis window{0};  // within which all have come
};

// "at-once", "constant:500", "poisson:500" (devices a second), "power-cut:30s" (see parse_duration). kInvalidArgument says
// what a good one looks like.
Result<Arrival> parse_arrival(std::string_view text);

// When each of `devices` devices comes, from the start on; ascending.
std::vector<Millis> arrival_times(const Arrival& arrival, std::size_t devices, std::uint64_t seed);

// What a device does. All but the proper one are there to see that the others do not suffer from it.
enum class Behaviour : std::size_t {
  kProper,
  kWrongPassword,  // is not let in
  kWrongKey,       // has another activation key: 401
  kDisconnect,     // loses its connection in the middle of its first attempt, and goes on
  kSlow,           // takes its time over every message
  kDuplicate,      // sends everything twice
  kSilent,         // says hello and never answers
};
inline constexpr std::size_t kBehaviours = 7;
std::string_view to_string(Behaviour behaviour);
// Whether a device that does this ends up provisioned.
bool arrives(Behaviour behaviour);

// Percent of the fleet by behaviour; what is left is proper.
struct Mix {
  std::array<double, kBehaviours> percent{};

  double& operator[](Behaviour behaviour) { return percent[static_cast<std::size_t>(behaviour)]; }
  // kInvalidArgument: below 0, or above 100 together.
  Result<void> check() const;
};

// Exactly as many of each as the percentage says (rounded down), in random places.
std::vector<Behaviour> assign(const Mix& mix, std::size_t devices, std::uint64_t seed);

}  // namespace fleet::agent
