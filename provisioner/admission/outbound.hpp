// How the provisioner's messages for devices reach the plugin, which publishes each of them in its name: many in one publish
// to a control topic. Each of its own would cost the broker and the provisioner an acknowledgement, and a handful of system
// calls on either side, more than what it holds.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"

namespace fleet::provisioner {

// From the local socket only.
inline constexpr std::string_view kSendTopic = "$CONTROL/provisioner-send/v1";
// The provisioner subscribes to it to learn whether the plugin takes parcels: one that does not denies this, but would let the
// broker acknowledge parcels that go nowhere. Nothing is ever published here.
inline constexpr std::string_view kParcelsTaken = "$PROVISIONER-PARCELS/v1";
// A parcel that holds so many bytes takes no more: the broker publishes all of one before it looks at any other client. One message
// alone may be larger, up to what the broker accepts.
inline constexpr std::size_t kFullParcel = 64 * 1024;

struct OutboundMessage {
  std::string_view topic;
  std::string_view payload;
};

// A parcel is its messages one after the other, each: u32 length of the topic, topic, u32 length of the payload, payload;
// big-endian. Lengths over 4 GiB do not exist here.
void append_outbound(Bytes& parcel, std::string_view topic, std::string_view payload);

// Views into `parcel`, in their order. kMalformed if it is cut short.
Result<std::vector<OutboundMessage>> parse_outbound(std::string_view parcel);

}  // namespace fleet::provisioner
