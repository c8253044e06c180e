// Replies of one device that wait for the store together: a device answers its whole plan at once, and one piece of work
// takes in all that has come by its turn.
#pragma once

#include <cstddef>
#include <mutex>
#include <utility>
#include <vector>

#include "provisioner/provisioning/dialect.hpp"

namespace fleet::provisioner {

// One thread adds, another takes.
class ReplyBatch {
 public:
  // A plan of all that there is, and some of it twice.
  static constexpr std::size_t kMost = 32;

  explicit ReplyBatch(StepReply first) { replies_.push_back(std::move(first)); }

  // False if it was taken, or is full: that reply needs another batch, and is left as it was.
  bool add(StepReply& reply) {
    const std::lock_guard lock(mutex_);
    if (taken_ || replies_.size() >= kMost) return false;
    replies_.push_back(std::move(reply));
    return true;
  }
  // All of them, in the order in which they came. It may be taken again, by work that is run again: none was added since.
  const std::vector<StepReply>& take() {
    const std::lock_guard lock(mutex_);
    taken_ = true;
    return replies_;
  }

 private:
  std::mutex mutex_;
  std::vector<StepReply> replies_;
  bool taken_ = false;
};

}  // namespace fleet::provisioner
