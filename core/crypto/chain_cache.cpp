#include "core/crypto/chain_cache.hpp"

namespace fleet::crypto {
namespace {

constexpr std::size_t kMostChains = 64;
constexpr std::size_t kLongestText = 16 * 1024;

}  // namespace

std::optional<std::vector<Certificate>> ChainCache::find(std::string_view pem) {
  const std::lock_guard lock(mutex_);
  const auto found = by_pem_.find(pem);
  if (found == by_pem_.end()) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->chain;
}

void ChainCache::keep(std::string_view pem, const std::vector<Certificate>& chain) {
  if (pem.size() > kLongestText) return;
  const std::lock_guard lock(mutex_);
  if (by_pem_.contains(pem)) return;  // another thread was faster
  entries_.push_front({std::string(pem), chain});
  by_pem_.emplace(entries_.front().pem, entries_.begin());
  if (entries_.size() <= kMostChains) return;
  by_pem_.erase(entries_.back().pem);
  entries_.pop_back();
}

}  // namespace fleet::crypto
