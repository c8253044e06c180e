#include "provisioner/store/messages.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace fleet::provisioner {
namespace {

// Takes "NUMBER" and the character behind it from the front; false if they are not there.
bool take_number(std::string_view& text, char behind, std::size_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const auto size = static_cast<std::size_t>(end - text.data());
  if (error != std::errc() || size >= text.size() || text[size] != behind) return false;
  text.remove_prefix(size + 1);
  return true;
}

std::string_view take(std::string_view& text, std::size_t size) {
  const std::string_view taken = text.substr(0, size);
  text.remove_prefix(size);
  return taken;
}

}  // namespace

void append_messages(Bytes& packed, const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    if (step.topic.empty()) continue;
    packed += fmt::format("{} {} {}\n", step.ordinal, step.topic.size(), step.payload.size());
    packed += step.topic;
    packed += step.payload;
  }
}

Result<void> give_messages(std::string_view packed, std::vector<Step>& steps) {
  while (!packed.empty()) {
    std::size_t ordinal = 0, topic_size = 0, payload_size = 0;
    if (!take_number(packed, ' ', ordinal) || !take_number(packed, ' ', topic_size) || !take_number(packed, '\n', payload_size) ||
        topic_size > packed.size() || payload_size > packed.size() - topic_size) {
      return fail(ErrorCode::kCorrupt, "stored messages: not in their form");
    }
    const std::string_view topic = take(packed, topic_size), payload = take(packed, payload_size);
    const auto step = std::find_if(steps.begin(), steps.end(), [&](const Step& one) { return static_cast<std::size_t>(one.ordinal) == ordinal; });
    if (step == steps.end()) return fail(ErrorCode::kCorrupt, "stored messages: one is of no step");
    step->topic = topic;
    step->payload = payload;
  }
  return {};
}

}  // namespace fleet::provisioner
