#include "provisioner/plugin/event_batch.hpp"

#include <utility>

namespace fleet::provisioner::plugin {
namespace {

// At most `limit` bytes, not ending inside a UTF-8 character.
std::string_view cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0U) == 0x80U) --limit;
  return text.substr(0, limit);
}

std::string key_of(std::string_view client_id, std::string_view reason) {
  std::string key(client_id);
  key += '\0';  // in neither of them: both come from C strings
  key += reason;
  return key;
}

}  // namespace

void EventBatch::add(std::string_view client_id, std::string_view reason, std::string_view address) {
  client_id = cut(client_id, kMaxClientId);
  reason = cut(reason, kMaxReason);
  std::string key = key_of(client_id, reason);
  if (const auto found = events_.find(key); found != events_.end()) {
    ++found->second.count;
    found->second.address = address;
  } else if (events_.size() < limit_) {
    events_.emplace(std::move(key), BrokerEvent{std::string(client_id), std::string(reason), 1, std::string(address)});
  } else {
    ++overflow_;
  }
}

void EventBatch::drop(std::string_view client_id, std::string_view reason) {
  events_.erase(key_of(client_id, reason));
}

std::vector<BrokerEvent> EventBatch::take() {
  std::vector<BrokerEvent> events;
  events.reserve(events_.size() + 1);
  for (auto& [key, event] : events_) events.push_back(std::move(event));
  events_.clear();
  if (const std::uint32_t overflow = std::exchange(overflow_, 0); overflow > 0) {
    events.push_back(BrokerEvent{"*", "overflow", overflow, ""});
  }
  return events;
}

}  // namespace fleet::provisioner::plugin
