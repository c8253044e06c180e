// Who has been wrong so often that nobody listens to him for a while. Pure: the caller brings the time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/base/time.hpp"

namespace fleet::provisioner {

// Counts wrong tries in a row by a key (whoever tries). The fifth brings a pause of 1 s, and each after it one twice as
// long, up to 5 minutes; a right try clears it, and so do 10 minutes without a wrong one. Holds a bounded number of keys:
// for a new one the key goes that was wrong the longest time ago. Some microseconds a call. Not thread-safe.
class Lockout {
 public:
  static constexpr int kFreeTries = 4;  // wrong ones without a pause
  static constexpr Seconds kFirstPause{1};
  static constexpr Seconds kLongestPause{300};
  static constexpr Seconds kForgottenAfter{600};  // since the last wrong try; more than the longest pause
  static constexpr std::size_t kMostKeys = 65'536;

  explicit Lockout(std::size_t most_keys = kMostKeys) : most_keys_(most_keys) {}

  // How long `key` is still not to be listened to; nullopt: it may try. Tries during a pause are no tries: they make it
  // no longer. `secret` names what is tried against (0 if there is nothing): once it is another one, the key is
  // forgotten, so that whom an operator has given a new secret need not wait.
  std::optional<Millis> pause_of(std::string_view key, SteadyTime now, std::uint64_t secret = 0);

  struct Lock {
    int wrong_tries = 0;  // in a row
    Seconds pause{};
  };
  // A wrong try; the pause that follows it, if any.
  std::optional<Lock> wrong(std::string_view key, SteadyTime now, std::uint64_t secret = 0);
  void right(std::string_view key);

  std::size_t size() const { return by_key_.size(); }

 private:
  struct Entry {
    std::string key;
    std::uint64_t secret = 0;
    int wrong_tries = 0;
    SteadyTime last_wrong{}, locked_until{};
  };
  using Entries = std::list<Entry>;  // the longest not wrong first

  void erase(Entries::iterator entry);

  std::size_t most_keys_;
  Entries entries_;
  std::unordered_map<std::string_view, Entries::iterator> by_key_;  // the views are the entries' own
};

// The key of a device's tries to connect: its client id and where it comes from, so that nobody elsewhere can lock it
// out. An IPv6 address counts by its /64, which is what one line is given; IPv4-mapped ones as IPv4.
std::string lockout_key(std::string_view client_id, std::string_view address);

}  // namespace fleet::provisioner
