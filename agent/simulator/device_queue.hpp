// The devices of a fleet that have yet to come, in the order in which they do.
#pragma once

#include <atomic>
#include <cstddef>
#include <optional>

namespace fleet::agent {

// The numbers from 0 on; each goes to one taker. From any thread, without waiting. A thread that is faster than another takes
// more of them.
class DeviceQueue {
 public:
  explicit DeviceQueue(std::size_t devices) : devices_(devices) {}

  // The next number; nullopt: there is none any more.
  std::optional<std::size_t> take() {
    return take_if([](std::size_t) { return true; });
  }
  // The same, but it stays if `ready` does not hold for it.
  template <typename Ready>
  std::optional<std::size_t> take_if(Ready ready) {
    std::size_t number = next_.load(std::memory_order_relaxed);
    while (number < devices_ && ready(number)) {
      if (next_.compare_exchange_weak(number, number + 1, std::memory_order_relaxed)) return number;
    }
    return std::nullopt;
  }
  // Who is next; another may take it meanwhile.
  std::optional<std::size_t> next() const {
    const std::size_t number = next_.load(std::memory_order_relaxed);
    return number < devices_ ? std::optional(number) : std::nullopt;
  }

 private:
  const std::size_t devices_;
  std::atomic<std::size_t> next_ = 0;
};

}  // namespace fleet::agent
