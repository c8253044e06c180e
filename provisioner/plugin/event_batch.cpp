#include "provisioner/plugin/event_batch.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace fleet::provisioner::plugin {
namespace {

// At most `limit` bytes, not ending inside a UTF-8 character.
std::string_view cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0U) == 0x80U) --limit;
  return text.substr(0, limit);
}

BrokerEvent* find(std::vector<BrokerEvent>& events, std::string_view reason) {
  const auto found =
      std::find_if(events.begin(), events.end(), [&](const BrokerEvent& event) { return event.reason == reason; });
  return found == events.end() ? nullptr : &*found;
}

}  // namespace

void EventBatch::add(std::string_view client_id, std::string_view reason, std::string_view address) {
  client_id = cut(client_id, kMaxClientId);
  reason = cut(reason, kMaxReason);
  const auto known = by_client_.find(std::string(client_id));
  if (known != by_client_.end() && known->second.size() >= kMaxReasons && !find(known->second, reason)) {
    reason = kOtherReasons;
  }
  if (BrokerEvent* const same = known == by_client_.end() ? nullptr : find(known->second, reason)) {
    ++same->count;
    same->address = address;
  } else if (size_ < limit_) {
    by_client_[std::string(client_id)].push_back({std::string(client_id), std::string(reason), 1, std::string(address)});
    ++size_;
  } else {
    ++overflow_;
  }
}

void EventBatch::drop(std::string_view client_id, std::string_view reason) {
  const auto known = by_client_.find(std::string(client_id));
  if (known == by_client_.end()) return;
  size_ -= std::erase_if(known->second, [&](const BrokerEvent& event) { return event.reason == reason; });
  if (known->second.empty()) by_client_.erase(known);
}

std::vector<BrokerEvent> EventBatch::take() {
  std::vector<BrokerEvent> events;
  events.reserve(size_ + 1);
  for (auto& [client_id, of_client] : by_client_) {
    std::move(of_client.begin(), of_client.end(), std::back_inserter(events));
  }
  by_client_.clear();
  size_ = 0;
  if (const std::uint32_t overflow = std::exchange(overflow_, 0); overflow > 0) {
    events.push_back(BrokerEvent{std::string(kEverybody), std::string(kOverflow), overflow, ""});
  }
  return events;
}

}  // namespace fleet::provisioner::plugin
