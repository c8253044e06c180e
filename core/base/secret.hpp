// Secrets: held in memory that is wiped, never printed, compared in constant time.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"

namespace fleet {

// Overwrites `bytes` in a way that the compiler does not remove, then empties it.
void wipe(std::string& bytes);

// True if both are equal; takes the same time whatever they hold (their lengths may show).
bool constant_time_equal(std::string_view a, std::string_view b);

// A secret value. Wipes itself; has no operator<< and no fmt formatter, so it cannot slip into a log.
// Reading it is always visible in the code as `.reveal()`.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  Secret(const Secret&) = default;
  Secret& operator=(const Secret& other);
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  ~Secret() { wipe(value_); }

  std::string_view reveal() const { return value_; }
  bool empty() const { return value_.empty(); }
  friend bool operator==(const Secret& a, const Secret& b) { return constant_time_equal(a.value_, b.value_); }

 private:
  std::string value_;
};

// `count` bytes from the kernel's generator (getrandom). Never fails: aborts if the kernel has none, since nothing
// secret may be made without it.
Bytes random_bytes(std::size_t count);

// 128 random bits as 32 lower-case hex characters: request ids.
std::string random_id();

// 160 random bits as 32 characters of base32: generated passwords and activation keys.
Secret random_password();

}  // namespace fleet
