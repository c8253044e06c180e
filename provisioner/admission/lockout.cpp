#include "provisioner/admission/lockout.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <netinet/in.h>
#include <utility>

#include "core/base/bytes.hpp"

namespace fleet::provisioner {
namespace {

std::optional<Seconds> pause_after(int wrong_tries) {
  if (wrong_tries <= Lockout::kFreeTries) return std::nullopt;
  const int doublings = std::min(wrong_tries - Lockout::kFreeTries - 1, 16);
  return std::min(Lockout::kLongestPause, Lockout::kFirstPause * (1 << doublings));
}

// Its address without what is at the disposal of whoever sits there.
std::string place_of(std::string_view address) {
  const std::string text(address);
  in6_addr parsed{};
  if (::inet_pton(AF_INET6, text.c_str(), &parsed) != 1) return text;
  if (IN6_IS_ADDR_V4MAPPED(&parsed)) {
    std::array<char, INET_ADDRSTRLEN> v4{};
    ::inet_ntop(AF_INET, &parsed.s6_addr[12], v4.data(), v4.size());
    return v4.data();
  }
  return to_hex(std::string_view(reinterpret_cast<const char*>(parsed.s6_addr), 8)) + "/64";
}

}  // namespace

std::optional<Millis> Lockout::pause_of(std::string_view key, SteadyTime now, std::uint64_t secret) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return std::nullopt;
  const Entry& entry = *found->second;
  if (entry.secret != secret) {
    erase(found->second);
    return std::nullopt;
  }
  if (now >= entry.locked_until) return std::nullopt;
  return std::chrono::ceil<Millis>(entry.locked_until - now);
}

std::optional<Lockout::Lock> Lockout::wrong(std::string_view key, SteadyTime now, std::uint64_t secret) {
  while (!entries_.empty() && now - entries_.front().last_wrong >= kForgottenAfter) erase(entries_.begin());
  auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    if (entries_.size() >= most_keys_) erase(entries_.begin());
    entries_.push_back({std::string(key), secret});
    found = by_key_.emplace(entries_.back().key, std::prev(entries_.end())).first;
  } else {
    entries_.splice(entries_.end(), entries_, found->second);
  }
  Entry& entry = *found->second;
  if (entry.secret != secret) {
    entry.secret = secret;
    entry.wrong_tries = 0;
  }
  entry.last_wrong = now;
  const auto pause = pause_after(++entry.wrong_tries);
  if (!pause) return std::nullopt;
  entry.locked_until = now + *pause;
  return Lock{entry.wrong_tries, *pause};
}

void Lockout::right(std::string_view key) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) erase(found->second);
}

void Lockout::erase(Entries::iterator entry) {
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

std::string lockout_key(std::string_view client_id, std::string_view address) {
  std::string key(client_id);
  key += '\0';  // in neither of them: both come from C strings
  return key + place_of(address);
}

}  // namespace fleet::provisioner
