#include "provisioner/provisioning/dialect.hpp"

#include <array>

namespace fleet::provisioner {

namespace {
// In the order of Answer.
constexpr std::array<std::string_view, 9> kAnswerNames{
    "recorded", "accepted", "malformed", "wrong-credentials", "forbidden", "already-provisioned",
    "gone",     "too-many", "not-now"};
static_assert(static_cast<std::size_t>(Answer::kNotNow) + 1 == kAnswerNames.size());
}  // namespace

std::string_view to_string(Answer answer) {
  return kAnswerNames.at(static_cast<std::size_t>(answer));
}

}  // namespace fleet::provisioner
