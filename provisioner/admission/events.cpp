#include "provisioner/admission/events.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/base/bytes.hpp"

namespace fleet::provisioner {
namespace {

struct KindTopic {
  EventKind kind;
  std::string_view topic;
};
constexpr std::array<KindTopic, 5> kTopics{{
    {EventKind::kConnected, "$PROVISIONER/connected"},
    {EventKind::kDisconnected, "$PROVISIONER/disconnected"},
    {EventKind::kRefused, "$PROVISIONER/refused"},
    {EventKind::kDenied, "$PROVISIONER/denied"},
    {EventKind::kLocked, "$PROVISIONER/locked"},
}};

// "-" stands for an empty field, so a field that really is "-" (a valid client id) is written as its escape.
std::string encode_field(std::string_view text) {
  if (text.empty()) return "-";
  return text == "-" ? "%2D" : percent_encode(text);
}

Result<std::string> decode_field(std::string_view field) {
  if (field == "-") return std::string();
  return percent_decode(field);
}

Result<BrokerEvent> parse_event(std::string_view line) {
  std::array<std::string_view, 4> fields;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::size_t end = line.find(' ');
    const bool last = i + 1 == fields.size();
    if ((end == std::string_view::npos) != last) {
      return fail(ErrorCode::kMalformed, "broker event: a line must have {} fields", fields.size());
    }
    fields[i] = line.substr(0, end);
    if (fields[i].empty()) return fail(ErrorCode::kMalformed, "broker event: empty field");
    line.remove_prefix(last ? line.size() : end + 1);
  }
  BrokerEvent event;
  TRY_ASSIGN(event.client_id, decode_field(fields[0]));
  TRY_ASSIGN(event.reason, decode_field(fields[1]));
  const char* const count_end = fields[2].data() + fields[2].size();
  const auto [end, error] = std::from_chars(fields[2].data(), count_end, event.count);
  if (error != std::errc() || end != count_end) return fail(ErrorCode::kMalformed, "broker event: bad count");
  TRY_ASSIGN(event.address, decode_field(fields[3]));
  return event;
}

}  // namespace

std::string inbound_topic(std::string_view client_id, std::string_view topic) {
  return fmt::format("{}{}/{}", kInboundPrefix, percent_encode(client_id), topic);
}

Result<Inbound> parse_inbound(std::string_view topic) {
  if (!topic.starts_with(kInboundPrefix)) return fail(ErrorCode::kMalformed, "not an inbound topic");
  topic.remove_prefix(kInboundPrefix.size());
  const std::size_t slash = topic.find('/');
  if (slash == 0 || slash == std::string_view::npos || slash + 1 == topic.size()) {
    return fail(ErrorCode::kMalformed, "inbound topic without client id or topic");
  }
  Inbound inbound;
  TRY_ASSIGN(inbound.client_id, percent_decode(topic.substr(0, slash)));
  inbound.topic = topic.substr(slash + 1);
  return inbound;
}

std::string_view event_topic(EventKind kind) {
  return std::find_if(kTopics.begin(), kTopics.end(), [&](const KindTopic& k) { return k.kind == kind; })->topic;
}

Result<EventKind> parse_event_topic(std::string_view topic) {
  const auto* const found =
      std::find_if(kTopics.begin(), kTopics.end(), [&](const KindTopic& k) { return k.topic == topic; });
  if (found == kTopics.end()) return fail(ErrorCode::kMalformed, "not an event topic");
  return found->kind;
}

std::string format_events(const std::vector<BrokerEvent>& events) {
  std::string text;
  for (const BrokerEvent& event : events) {
    text += fmt::format("{} {} {} {}\n", encode_field(event.client_id), encode_field(event.reason), event.count,
                        encode_field(event.address));
  }
  return text;
}

Result<std::vector<BrokerEvent>> parse_events(std::string_view payload) {
  std::vector<BrokerEvent> events;
  while (!payload.empty()) {
    const std::size_t end = payload.find('\n');
    if (end == std::string_view::npos) return fail(ErrorCode::kMalformed, "broker event: last line is cut short");
    TRY_ASSIGN(BrokerEvent event, parse_event(payload.substr(0, end)));
    events.push_back(std::move(event));
    payload.remove_prefix(end + 1);
  }
  return events;
}

}  // namespace fleet::provisioner
