#include "agent/identity/identity.hpp"

#include "agent/identity/sources.hpp"
#include "core/base/file.hpp"
#include "core/protocol/topic.hpp"

namespace fleet::agent {
namespace {

// edc §1: `/ + # .` become `-`.
std::string topic_safe(std::string text) {
  for (char& c : text) {
    if (c == '/' || c == '+' || c == '#' || c == '.') c = '-';
  }
  return text;
}

}  // namespace

std::string read_fact(const std::filesystem::path& file) {
  const auto content = read_file(file, 65536);
  if (!content) return {};
  const std::string_view blanks(" \t\r\n\0", 5);
  const std::size_t first = content->find_first_not_of(blanks);
  if (first == std::string::npos) return {};
  return content->substr(first, content->find_last_not_of(blanks) - first + 1);
}

Result<Identity> identify(const IdentityInput& input, const std::filesystem::path& root) {
  Identity identity;
  const bool needs_serial = input.username.empty();
  const bool needs_mac = input.client_id.empty() || input.username.empty();

  auto interface = find_interface(input.interface, root);
  if (interface) {
    identity.interface = std::move(interface->name);
    identity.mac = std::move(interface->mac);
  } else if (needs_mac || !input.interface.empty()) {
    return fail(interface.error());
  }

  if (!input.serial.empty()) {
    if (is_junk_serial(input.serial)) {
      return fail(ErrorCode::kInvalidArgument, "serial '{}': not a serial number; set the device's own", input.serial);
    }
    identity.serial = {input.serial, "setting `serial`"};
  } else if (auto serial = find_serial(root)) {
    identity.serial = std::move(*serial);
  } else if (needs_serial) {
    return fail(serial.error());
  }

  if (!input.client_id.empty()) {
    identity.client_id = {input.client_id, "setting `client-id`"};
  } else {
    identity.client_id = {identity.mac.value, "MAC"};
  }
  if (!protocol::is_client_id(identity.client_id.value)) {
    return fail(ErrorCode::kInvalidArgument,
                "client id '{}': must be 1 to 64 of A-Z a-z 0-9 _ : @ = -; set `client-id`", identity.client_id.value);
  }
  if (!input.username.empty()) {
    identity.username = {input.username, "setting `username`"};
    return identity;
  }
  identity.username = {identity.mac.value + "-" + topic_safe(identity.serial.value), "MAC-serial"};
  // A derived username has the form of a client id: what does not fit is a damaged or exotic serial that nobody could
  // type.
  if (!protocol::is_client_id(identity.username.value)) {
    return fail(ErrorCode::kInvalidArgument,
                "serial '{}' from {}: does not make a username of 1 to 64 of A-Z a-z 0-9 _ : @ = -; set `serial` or "
                "`username`",
                identity.serial.value, identity.serial.source);
  }
  return identity;
}

}  // namespace fleet::agent
