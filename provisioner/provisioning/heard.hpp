// What a device's word on a step is about. Internal to provisioner/provisioning.
#pragma once

#include <optional>

#include "provisioner/provisioning/executor.hpp"

namespace fleet::provisioner {

struct Executor::Heard {
  std::optional<ProvisionRequest> request;  // of the client id that spoke
  std::optional<Step> step;
  std::optional<Attempt> attempt;  // the step's
  bool own = false;                // the attempt is one of that request

  const Step* known_step() const { return step ? &*step : nullptr; }
  const Attempt* known_attempt() const { return attempt ? &*attempt : nullptr; }
};

}  // namespace fleet::provisioner
