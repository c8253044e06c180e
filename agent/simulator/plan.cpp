#include "agent/simulator/plan.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <random>

namespace fleet::agent {
namespace {

constexpr std::string_view kForms = "at-once, constant:RATE, poisson:RATE (devices a second) or power-cut:TIME, e.g. power-cut:30s";
// A device that starts goes through some stages of about the same length, of which each varies.
constexpr int kBootStages = 3;

constexpr std::array<std::string_view, kBehaviours> kNames{"proper", "wrong-password", "wrong-key", "disconnect",
                                                           "slow",   "duplicate",      "silent"};

Result<double> parse_rate(std::string_view text) {
  double rate = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
  if (error != std::errc() || end != text.data() + text.size() || !(rate > 0) || rate > 1e6) {
    return fail(ErrorCode::kInvalidArgument, "'{}' is no rate: devices a second, more than 0, at most 1000000", text);
  }
  return rate;
}

}  // namespace

Result<Arrival> parse_arrival(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  const std::string_view value = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  Arrival arrival;
  if (text == "at-once") return arrival;
  if (kind == "constant" || kind == "poisson") {
    arrival.kind = kind == "constant" ? Arrival::Kind::kConstant : Arrival::Kind::kPoisson;
    TRY_ASSIGN(arrival.rate, parse_rate(value));
    return arrival;
  }
  if (kind == "power-cut") {
    arrival.kind = Arrival::Kind::kPowerCut;
    TRY_ASSIGN(arrival.window, parse_duration(value));
    return arrival;
  }
  return fail(ErrorCode::kInvalidArgument, "'{}' is no arrival: {}", text, kForms);
}

std::vector<Millis> arrival_times(const Arrival& arrival, std::size_t devices, std::uint64_t seed) {
  std::vector<Millis> times(devices, Millis(0));
  std::mt19937_64 random(seed);
  const auto after_seconds = [](double seconds) { return Millis(static_cast<std::int64_t>(seconds * 1000)); };
  if (arrival.kind == Arrival::Kind::kConstant) {
    for (std::size_t i = 0; i < devices; ++i) times[i] = after_seconds(static_cast<double>(i) / arrival.rate);
  } else if (arrival.kind == Arrival::Kind::kPoisson) {
    std::exponential_distribution<double> pause(arrival.rate);
    double at = 0;
    for (Millis& time : times) {
      time = after_seconds(at);
      at += pause(random);
    }
  } else if (arrival.kind == Arrival::Kind::kPowerCut) {
    const double window = std::chrono::duration<double>(arrival.window).count();
    std::gamma_distribution<double> boot(kBootStages, window / 3 / kBootStages);
    for (Millis& time : times) time = after_seconds(std::min(boot(random), window));
    std::sort(times.begin(), times.end());
  }
  return times;
}

std::string_view to_string(Behaviour behaviour) {
  return kNames[static_cast<std::size_t>(behaviour)];
}

bool arrives(Behaviour behaviour) {
  return behaviour != Behaviour::kWrongPassword && behaviour != Behaviour::kWrongKey && behaviour != Behaviour::kSilent;
}

Result<void> Mix::check() const {
  for (std::size_t i = 0; i < kBehaviours; ++i) {
    if (!(percent[i] >= 0)) return fail(ErrorCode::kInvalidArgument, "--{}: a percentage is not below 0", kNames[i]);
  }
  const double all = std::accumulate(percent.begin(), percent.end(), 0.0);
  if (all > 100) {
    return fail(ErrorCode::kInvalidArgument, "the percentages of behaviours are {} together: at most 100", all);
  }
  return {};
}

std::vector<Behaviour> assign(const Mix& mix, std::size_t devices, std::uint64_t seed) {
  std::vector<Behaviour> behaviours(devices, Behaviour::kProper);
  std::size_t next = 0;
  for (std::size_t i = 1; i < kBehaviours; ++i) {
    const auto count = static_cast<std::size_t>(static_cast<double>(devices) * mix.percent[i] / 100);
    for (std::size_t n = 0; n < count && next < devices; ++n) behaviours[next++] = static_cast<Behaviour>(i);
  }
  std::mt19937_64 random(seed);
  std::shuffle(behaviours.begin(), behaviours.end(), random);
  return behaviours;
}

}  // namespace fleet::agent
