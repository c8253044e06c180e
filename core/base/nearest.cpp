#include "core/base/nearest.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace fleet {
namespace {

// Levenshtein distance in bytes.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

// The only candidate whose last words are `word`: "password" for "provisionUserPassword"; else "".
std::string only_one_ending_with(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kShortest = 4;
  if (word.size() < kShortest) return {};
  const auto same_letter = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
  const std::string* found = nullptr;
  for (const std::string& candidate : candidates) {
    if (candidate.size() < word.size()) continue;
    if (!std::equal(word.rbegin(), word.rend(), candidate.rbegin(), same_letter)) continue;
    if (found != nullptr) return {};
    found = &candidate;
  }
  return found == nullptr ? std::string() : *found;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const std::size_t limit = std::max<std::size_t>(word.size() / 3, 1);
  std::string best;
  std::size_t best_distance = limit + 1;
  for (const std::string& candidate : candidates) {
    if (candidate.size() > word.size() + limit || word.size() > candidate.size() + limit) continue;
    const std::size_t away = distance(word, candidate);
    if (away >= best_distance) continue;
    best_distance = away;
    best = candidate;
  }
  return best.empty() ? only_one_ending_with(word, candidates) : best;
}

}  // namespace fleet
