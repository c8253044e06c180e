// Chains of certificates that were verified before. Private to core/crypto.
#pragma once

#include <list>
#include <mutex>
#include <vector>

#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"

namespace fleet::crypto {

// The last chains that were found to end in those roots, and for which times that holds: a process with thousands of devices
// is shown the same chain by each of them. A chain is known by its certificates themselves, not by what they say: the same
// text read again is (ChainCache). Failures are not kept. Thread-safe. Holds at most 16.
class ProvenChains {
 public:
  // True if `chain` was found to end in `roots`, the same ones in the same order, and all of them are valid at `when`.
  bool covers(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots, WallTime when);
  // `chain` was verified against `roots` at a time at which all of it was valid.
  void keep(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots);

 private:
  // Holds its certificates, so that no other one can come to stand where they do.
  struct Proof {
    std::vector<Certificate> chain, roots;
    WallTime not_before, not_after;  // all of them are valid from then, and until before then (as OpenSSL has it)
  };
  std::list<Proof>::iterator find(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots);

  std::mutex mutex_;
  std::list<Proof> proofs_;  // the one used last in front
};

}  // namespace fleet::crypto
