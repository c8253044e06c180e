#include "agent/simulator/tally.hpp"

#include <algorithm>
#include <limits>
#include <sstream>
#include <utility>
#include <unistd.h>

#include "core/base/file.hpp"

namespace fleet::agent {
namespace {

constexpr std::array<std::string_view, kStretches> kNames{"connect", "hello", "install", "record", "owner", "total"};
// Reasons that hold something of their own, such as an id, do not fill the memory.
constexpr std::size_t kMaxReasons = 50;

void count(std::map<std::string, std::size_t>& counts, const std::string& reason, std::size_t times = 1) {
  const bool known = counts.contains(reason) || counts.size() < kMaxReasons;
  counts[known ? reason : "other reasons"] += times;
}

template <std::size_t N>
void add_each(std::array<std::size_t, N>& counts, const std::array<std::size_t, N>& others) {
  for (std::size_t i = 0; i < N; ++i) counts[i] += others[i];
}

double rate(std::size_t count, SteadyTime::duration time) {
  const double seconds = std::chrono::duration<double>(time).count();
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

}  // namespace

std::string_view to_string(Stretch stretch) {
  return kNames[static_cast<std::size_t>(stretch)];
}

void Samples::add(SteadyTime::duration duration) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  values_.push_back(static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(micros, 0, std::numeric_limits<std::uint32_t>::max())));
  sorted_ = false;
}

void Samples::add(const Samples& others) {
  values_.insert(values_.end(), others.values_.begin(), others.values_.end());
  sorted_ = false;
}

double Samples::percentile(double share) const {
  if (values_.empty()) return 0;
  if (!std::exchange(sorted_, true)) std::sort(values_.begin(), values_.end());
  const auto last = static_cast<double>(values_.size() - 1);
  return static_cast<double>(values_[static_cast<std::size_t>(last * share + 0.5)]) / 1000;
}

void Tally::add_provisioned(const Times& times, Behaviour behaviour, SteadyTime now) {
  ++provisioned;
  ++provisioned_by_behaviour[static_cast<std::size_t>(behaviour)];
  if (!arrives(behaviour)) ++unexpected;
  done_at.push_back(now);
  SteadyTime before = times[static_cast<std::size_t>(Stretch::kTotal)];
  stretches[static_cast<std::size_t>(Stretch::kTotal)].add(now - before);
  for (std::size_t i = 0; i < static_cast<std::size_t>(Stretch::kTotal); ++i) {
    // A stretch that was not seen, as by a device that resumes, took no time.
    const SteadyTime end = std::max(before, times[i]);
    stretches[i].add(end - before);
    before = end;
  }
}

void Tally::add_stopped(Behaviour behaviour) {
  ++stopped;
  if (arrives(behaviour)) ++unexpected;
}

void Tally::add_failure(const std::string& reason) {
  ++attempts_failed;
  count(reasons, reason);
}

void Tally::add_setback(const std::string& what) {
  count(setbacks, what);
}

void Tally::add(const Tally& part) {
  devices += part.devices;
  arrived += part.arrived;
  provisioned += part.provisioned;
  stopped += part.stopped;
  unexpected += part.unexpected;
  attempts_failed += part.attempts_failed;
  sent += part.sent;
  received += part.received;
  add_each(by_behaviour, part.by_behaviour);
  add_each(provisioned_by_behaviour, part.provisioned_by_behaviour);
  for (std::size_t i = 0; i < kStretches; ++i) stretches[i].add(part.stretches[i]);
  const auto middle = static_cast<std::ptrdiff_t>(done_at.size());
  done_at.insert(done_at.end(), part.done_at.begin(), part.done_at.end());
  std::inplace_merge(done_at.begin(), done_at.begin() + middle, done_at.end());
  for (const auto& [reason, times] : part.reasons) count(reasons, reason, times);
  for (const auto& [what, times] : part.setbacks) count(setbacks, what, times);
}

std::pair<double, double> Tally::half_rates(SteadyTime begun) const {
  const std::size_t half = done_at.size() / 2;
  if (half == 0) return {0, 0};
  return {rate(half, done_at[half - 1] - begun), rate(done_at.size() - half, done_at.back() - done_at[half - 1])};
}

std::optional<std::chrono::microseconds> cpu_time_of(int pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat");
  if (!text) return std::nullopt;
  // The fields behind the name, which may hold anything, in proc(5)'s order: state is the first, utime the 12th.
  std::istringstream fields(text->substr(text->rfind(')') + 1));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  std::int64_t user = 0, system = 0;
  if (!(fields >> user >> system)) return std::nullopt;
  return std::chrono::microseconds((user + system) * 1'000'000 / ::sysconf(_SC_CLK_TCK));
}

}  // namespace fleet::agent
