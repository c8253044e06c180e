#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "agent/identity/sources.hpp"

namespace fleet::agent {
namespace {

constexpr std::array<std::string_view, 4> kSources = {
    "proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number", "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/board_serial"};

// What firmware makers leave in the field, in lower case, without punctuation and spaces.
constexpr auto kJunk = std::to_array<std::string_view>({
    "none",
    "null",
    "na",
    "notspecified",
    "notapplicable",
    "notavailable",
    "notset",
    "default",
    "defaultstring",
    "systemserialnumber",
    "serialnumber",
    "baseboardserialnumber",
    "chassisserialnumber",
    "tobefilledbyoem",
    "oem",
    "empty",
    "unknown",
    "invalid",
    "undefined",
    "123456789",
    "1234567890",
    "0123456789",
    "123456",
    "12345678",
    "string",
    "productserial",
    "boardserial",
    "serial",
    "sn",
    "sernum",
});

std::string squeeze(std::string_view text) {
  std::string squeezed;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) squeezed += static_cast<char>(std::tolower(byte));
  }
  return squeezed;
}

}  // namespace

bool is_junk_serial(std::string_view serial) {
  const std::string squeezed = squeeze(serial);
  const auto same = [&](char c) { return c == squeezed.front(); };
  if (squeezed.empty() || std::all_of(squeezed.begin(), squeezed.end(), same)) return true;
  return std::find(kJunk.begin(), kJunk.end(), squeezed) != kJunk.end();
}

Result<Found> find_serial(const std::filesystem::path& root) {
  std::string seen;
  for (const std::string_view source : kSources) {
    const std::filesystem::path file = root / source;
    const std::string serial = read_fact(file);
    if (!serial.empty() && !is_junk_serial(serial)) return Found{serial, file.string()};
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) continue;
    if (!seen.empty()) seen += ", ";
    seen += fmt::format("{} is {}", file.string(), serial.empty() ? "empty or unreadable" : "'" + serial + "'");
  }
  if (seen.empty()) seen = "neither the device tree nor DMI has one";
  return fail(ErrorCode::kInvalidArgument, "no usable serial number: {}; set `serial`", seen);
}

}  // namespace fleet::agent
