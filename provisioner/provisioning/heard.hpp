// What a device's word on its steps is about. Internal to provisioner/provisioning.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "provisioner/provisioning/executor.hpp"

namespace fleet::provisioner {

// A device and the attempt that it speaks of, as read, and what has come of it that is not written yet: words that come
// together are written together.
struct Executor::Heard {
  std::optional<ProvisionRequest> request;  // of the client id that spoke
  std::optional<Attempt> attempt;           // of that request, that it spoke of
  std::vector<Step> steps;                  // of the attempt; their messages may not have been read

  std::set<std::size_t> changed{};      // places in `steps`
  std::vector<std::string> accepted{};  // what the device said 200 to, for the timeline
  bool moved = false;                   // the attempt is open, and what follows from its steps is to be seen to

  const Attempt* known_attempt() const { return attempt ? &*attempt : nullptr; }
  // The step for which `is` holds; nullptr: none.
  template <typename Is>
  Step* find(Is is) {
    const auto found = std::find_if(steps.begin(), steps.end(), is);
    return found == steps.end() ? nullptr : &*found;
  }
  void note_change(const Step& step) { changed.insert(static_cast<std::size_t>(&step - steps.data())); }
};

}  // namespace fleet::provisioner
