#include "agent/simulator/report.hpp"

#include <algorithm>
#include <vector>

#include <boost/json.hpp>
#include <fmt/format.h>

namespace fleet::agent {
namespace {

namespace json = boost::json;

double seconds(Millis time) {
  return std::chrono::duration<double>(time).count();
}

// Until the last device was provisioned: those that time out behind it do not make the others slower.
double devices_per_second(const FleetOutcome& outcome) {
  const Tally& tally = outcome.tally;
  if (tally.done_at.empty()) return 0;
  const double time = std::chrono::duration<double>(tally.done_at.back() - outcome.begun).count();
  return time > 0 ? static_cast<double>(tally.provisioned) / time : 0;
}

double micros_per_device(const FleetOutcome& outcome, std::chrono::microseconds used) {
  const std::size_t devices = std::max<std::size_t>(outcome.tally.provisioned, 1);
  return static_cast<double>(used.count()) / static_cast<double>(devices);
}

double tenth(double value) {
  return static_cast<double>(static_cast<std::int64_t>(value * 10 + 0.5)) / 10;
}

// The most frequent one first.
std::string table_of(const std::map<std::string, std::size_t>& counts, std::string_view what) {
  if (counts.empty()) return {};
  std::vector<std::pair<std::string, std::size_t>> reasons(counts.begin(), counts.end());
  std::stable_sort(reasons.begin(), reasons.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text = fmt::format("\n{:>8}  {}\n", "TIMES", what);
  for (const auto& [reason, count] : reasons) text += fmt::format("{:>8}  {}\n", count, reason);
  return text;
}

json::object object_of(const std::map<std::string, std::size_t>& counts) {
  json::object object;
  for (const auto& [reason, count] : counts) object[reason] = count;
  return object;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<std::size_t>(at), 1, ',');
  return text;
}

}  // namespace

std::string summary(const FleetOutcome& outcome) {
  const Tally& tally = outcome.tally;
  const auto [first, last] = tally.half_rates(outcome.begun);
  std::string text = fmt::format("{} of {} devices provisioned in {:.1f} s: {:.0f} a second ({:.0f} in the first half, {:.0f} in the last)\n",
                                 grouped(tally.provisioned), grouped(tally.devices), seconds(outcome.took),
                                 devices_per_second(outcome), first, last);
  if (tally.stopped > 0) text += fmt::format("{} gave up\n", grouped(tally.stopped));
  if (tally.unexpected > 0) text += fmt::format("{} ended otherwise than their behaviour has it\n", grouped(tally.unexpected));
  const std::size_t open = tally.devices - tally.provisioned - tally.stopped;
  if (open > 0) text += fmt::format("{} had not ended yet\n", grouped(open));
  if (tally.provisioned > 0) {
    text += fmt::format("\n{:<10}{:>10}{:>10}{:>10}{:>10}   (ms)\n", "STRETCH", "P50", "P90", "P99", "MAX");
    for (std::size_t i = 0; i < kStretches; ++i) {
      const Samples& samples = tally.stretches[i];
      text += fmt::format("{:<10}{:>10.1f}{:>10.1f}{:>10.1f}{:>10.1f}\n", to_string(static_cast<Stretch>(i)),
                          samples.percentile(0.5), samples.percentile(0.9), samples.percentile(0.99), samples.percentile(1));
    }
  }
  text += fmt::format("\n{:<20}{:>14}\n", "CPU OF", "US A DEVICE");
  for (const auto& one : outcome.cpu) text += fmt::format("{:<20}{:>14.0f}\n", one.name, micros_per_device(outcome, one.used));
  bool mixed = false;
  for (std::size_t i = 1; i < kBehaviours; ++i) mixed = mixed || tally.by_behaviour[i] > 0;
  if (mixed) {
    text += fmt::format("\n{:<16}{:>10}{:>13}\n", "BEHAVIOUR", "DEVICES", "PROVISIONED");
    for (std::size_t i = 0; i < kBehaviours; ++i) {
      if (tally.by_behaviour[i] == 0) continue;
      text += fmt::format("{:<16}{:>10}{:>13}\n", to_string(static_cast<Behaviour>(i)), tally.by_behaviour[i],
                          tally.provisioned_by_behaviour[i]);
    }
  }
  text += table_of(tally.reasons, "AN ATTEMPT FAILED BECAUSE");
  return text + table_of(tally.setbacks, "A DEVICE WAS HELD UP BECAUSE");
}

std::string to_json(const FleetOutcome& outcome) {
  const Tally& tally = outcome.tally;
  const auto [first, last] = tally.half_rates(outcome.begun);
  json::object latency, cpu, behaviours;
  for (std::size_t i = 0; i < kStretches && tally.provisioned > 0; ++i) {
    const Samples& samples = tally.stretches[i];
    latency[to_string(static_cast<Stretch>(i))] = json::object{{"p50", samples.percentile(0.5)},
                                                               {"p90", samples.percentile(0.9)},
                                                               {"p99", samples.percentile(0.99)},
                                                               {"max", samples.percentile(1)}};
  }
  for (const auto& one : outcome.cpu) cpu[one.name] = tenth(micros_per_device(outcome, one.used));
  for (std::size_t i = 0; i < kBehaviours; ++i) {
    if (tally.by_behaviour[i] == 0) continue;
    behaviours[to_string(static_cast<Behaviour>(i))] =
        json::object{{"devices", tally.by_behaviour[i]}, {"provisioned", tally.provisioned_by_behaviour[i]}};
  }
  return json::serialize(json::object{{"devices", tally.devices},
                                      {"provisioned", tally.provisioned},
                                      {"stopped", tally.stopped},
                                      {"unexpected", tally.unexpected},
                                      {"attemptsFailed", tally.attempts_failed},
                                      {"seconds", seconds(outcome.took)},
                                      {"devicesPerSecond", tenth(devices_per_second(outcome))},
                                      {"firstHalfPerSecond", tenth(first)},
                                      {"lastHalfPerSecond", tenth(last)},
                                      {"messagesSent", tally.sent},
                                      {"messagesReceived", tally.received},
                                      {"latencyMs", std::move(latency)},
                                      {"cpuMicrosPerDevice", std::move(cpu)},
                                      {"behaviours", std::move(behaviours)},
                                      {"reasons", object_of(tally.reasons)},
                                      {"setbacks", object_of(tally.setbacks)},
                                      {"interrupted", outcome.interrupted}});
}

std::string progress_line(const FleetProgress& progress, std::size_t width) {
  const std::size_t ended = progress.provisioned + progress.stopped;
  const double time = seconds(progress.elapsed);
  const double rate = time > 0 ? static_cast<double>(progress.provisioned) / time : 0;
  const std::string text =
      fmt::format(" {} of {} provisioned  {:.0f}/s  on their way {}  gave up {}  failed attempts {}", grouped(progress.provisioned),
                  grouped(progress.devices), rate, grouped(progress.arrived - ended), grouped(progress.stopped),
                  grouped(progress.attempts_failed));
  if (width < text.size() + 12) return text.substr(0, width);
  const std::size_t cells = std::min<std::size_t>(width - text.size() - 2, 30);
  const std::size_t full = progress.devices > 0 ? cells * ended / progress.devices : 0;
  return "[" + std::string(full, '#') + std::string(cells - full, '.') + "]" + text;
}

}  // namespace fleet::agent
