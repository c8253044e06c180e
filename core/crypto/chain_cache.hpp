// Chains of certificates that were read before. Private to core/crypto.
#pragma once

#include <cstddef>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/crypto/certificate.hpp"

namespace fleet::crypto {

// The last chains by their PEM text: a service, and a simulator of many devices, meet the same few again and again, and to
// read one takes OpenSSL 3.0 longer than to verify a signature with it. Certificates are immutable, so they are shared.
// Thread-safe. Holds at most 64 chains of at most 16 KiB each.
class ChainCache {
 public:
  std::optional<std::vector<Certificate>> find(std::string_view pem);
  void keep(std::string_view pem, const std::vector<Certificate>& chain);

 private:
  struct Entry {
    std::string pem;
    std::vector<Certificate> chain;
  };
  std::mutex mutex_;
  std::list<Entry> entries_;  // the one used last in front
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_pem_;  // views into entries_
};

}  // namespace fleet::crypto
