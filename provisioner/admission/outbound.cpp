#include "provisioner/admission/outbound.hpp"

#include <cstdint>
#include <optional>

namespace fleet::provisioner {
namespace {

void append_field(Bytes& parcel, std::string_view field) {
  const auto size = static_cast<std::uint32_t>(field.size());
  for (int shift = 24; shift >= 0; shift -= 8) parcel.push_back(static_cast<char>(size >> shift));
  parcel.append(field);
}

std::optional<std::string_view> take_field(std::string_view& rest) {
  if (rest.size() < sizeof(std::uint32_t)) return std::nullopt;
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < sizeof size; ++i) size = size << 8 | static_cast<unsigned char>(rest[i]);
  rest.remove_prefix(sizeof size);
  if (rest.size() < size) return std::nullopt;
  const std::string_view field = rest.substr(0, size);
  rest.remove_prefix(size);
  return field;
}

}  // namespace

void append_outbound(Bytes& parcel, std::string_view topic, std::string_view payload) {
  append_field(parcel, topic);
  append_field(parcel, payload);
}

Result<std::vector<OutboundMessage>> parse_outbound(std::string_view parcel) {
  std::vector<OutboundMessage> messages;
  while (!parcel.empty()) {
    const auto topic = take_field(parcel);
    const auto payload = topic ? take_field(parcel) : std::nullopt;
    if (!payload) return fail(ErrorCode::kMalformed, "parcel for devices: message {} is cut short", messages.size() + 1);
    messages.push_back({*topic, *payload});
  }
  return messages;
}

}  // namespace fleet::provisioner
