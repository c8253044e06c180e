#include "core/crypto/proven_chains.hpp"

#include <algorithm>
#include <utility>

namespace fleet::crypto {
namespace {

constexpr std::size_t kMostProofs = 16;

bool are_the_same(const std::vector<Certificate>& some, const std::vector<Certificate>& others) {
  return std::equal(some.begin(), some.end(), others.begin(), others.end(),
                    [](const Certificate& a, const Certificate& b) { return a.native() == b.native(); });
}

}  // namespace

bool ProvenChains::covers(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots, WallTime when) {
  const std::lock_guard lock(mutex_);
  return std::any_of(proofs_.begin(), proofs_.end(), [&](const Proof& proof) {
    return proof.not_before <= when && when <= proof.not_after && are_the_same(proof.chain, chain) &&
           are_the_same(proof.roots, roots);
  });
}

void ProvenChains::keep(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots) {
  Proof proof{chain, roots, chain.front().not_before(), chain.front().not_after()};
  for (const auto* const list : {&chain, &roots}) {
    for (const Certificate& certificate : *list) {
      proof.not_before = std::max(proof.not_before, certificate.not_before());
      proof.not_after = std::min(proof.not_after, certificate.not_after());
    }
  }
  const std::lock_guard lock(mutex_);
  proofs_.push_front(std::move(proof));
  if (proofs_.size() > kMostProofs) proofs_.pop_back();
}

}  // namespace fleet::crypto
