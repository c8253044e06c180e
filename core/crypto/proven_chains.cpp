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
  const auto proof = find(chain, roots);
  if (proof == proofs_.end() || when < proof->not_before || when >= proof->not_after) return false;
  proofs_.splice(proofs_.begin(), proofs_, proof);
  return true;
}

std::list<ProvenChains::Proof>::iterator ProvenChains::find(const std::vector<Certificate>& chain,
                                                            const std::vector<Certificate>& roots) {
  return std::find_if(proofs_.begin(), proofs_.end(), [&](const Proof& proof) {
    return are_the_same(proof.chain, chain) && are_the_same(proof.roots, roots);
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
  if (proof.not_before >= proof.not_after) return;  // one of the roots is not valid any more, or not yet
  const std::lock_guard lock(mutex_);
  if (find(chain, roots) != proofs_.end()) return;  // another thread was faster
  proofs_.push_front(std::move(proof));
  if (proofs_.size() > kMostProofs) proofs_.pop_back();
}

}  // namespace fleet::crypto
