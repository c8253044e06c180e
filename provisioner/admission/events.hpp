// What the broker's plugin tells the provisioner, and how device messages reach it: topics below `$PROVISIONER/` that only
// the provisioner's client on the local socket may receive.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.hpp"

namespace fleet::provisioner {

// `$PROVISIONER/in/{client id, percent-encoded}/{topic as published}`: each publish of a device, under its authenticated
// client id; the payload is untouched.
inline constexpr std::string_view kInboundPrefix = "$PROVISIONER/in/";
inline constexpr std::string_view kEventPrefix = "$PROVISIONER/";
inline constexpr std::string_view kEverything = "$PROVISIONER/#";
// Publishing a client id here, from the local socket only, ends that client's connection.
inline constexpr std::string_view kKickTopic = "$CONTROL/provisioner/v1";

std::string inbound_topic(std::string_view client_id, std::string_view topic);

struct Inbound {
  std::string client_id;
  std::string topic;
};
// kMalformed if `topic` is not an inbound topic.
Result<Inbound> parse_inbound(std::string_view topic);

enum class EventKind { kConnected, kDisconnected, kRefused, kDenied };

// In aggregated events: the client id and reason of what had no room of its own, and the reason of one client id's many.
inline constexpr std::string_view kEverybody = "*";
inline constexpr std::string_view kOverflow = "overflow";
inline constexpr std::string_view kOtherReasons = "others";

// One (possibly aggregated) event of the broker.
struct BrokerEvent {
  std::string client_id;
  // kRefused: "unknown", "wrong-credentials", "disabled", "not-yet-active", "expired", "abandoned", "completed",
  // "bad-client-id", "reserved-client-id", "unavailable". kDenied: "publish TOPIC" or "subscribe TOPIC".
  std::string reason;
  std::uint32_t count = 1;
  std::string address;  // of the peer, last seen
};

// "$PROVISIONER/connected", …/disconnected, …/refused, …/denied
std::string_view event_topic(EventKind kind);
// kMalformed if it is none of these.
Result<EventKind> parse_event_topic(std::string_view topic);

// A line an event: "client-id reason count address\n", each field percent-encoded ("-" if empty).
std::string format_events(const std::vector<BrokerEvent>& events);
Result<std::vector<BrokerEvent>> parse_events(std::string_view payload);

}  // namespace fleet::provisioner
