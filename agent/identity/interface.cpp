#include <algorithm>
#include <charconv>
#include <sstream>
#include <tuple>
#include <vector>

#include "agent/identity/sources.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

// Fixed by the kernel: include/uapi/linux/netdevice.h (NET_ADDR_PERM) and linux/if_arp.h (ARPHRD_LOOPBACK).
constexpr std::string_view kPermanentAddress = "0";
constexpr std::string_view kLoopbackType = "772";

struct Interface {
  std::string name;
  std::string mac;  // "" if it has none that can name a device
  int index = 0;
  bool physical = false;
};

// "00:50:c2:a1:b2:c3" → "0050C2A1B2C3"; "" for all zeros, group addresses and anything that is no 48-bit MAC.
std::string plain_mac(std::string_view address) {
  std::string mac;
  for (std::size_t i = 0; i < address.size(); ++i) {
    const char c = address[i];
    if (i % 3 == 2) {
      if (c != ':') return {};
    } else if (c >= '0' && c <= '9') {
      mac += c;
    } else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) {
      mac += static_cast<char>(c & ~0x20);
    } else {
      return {};
    }
  }
  constexpr std::string_view kGroupDigits = "13579BDF";
  if (mac.size() != 12 || address.size() != 17 || mac == "000000000000") return {};
  if (kGroupDigits.find(mac[1]) != std::string_view::npos) return {};
  return mac;
}

Interface read_interface(const fs::path& folder) {
  Interface interface { folder.filename().string(), plain_mac(read_fact(folder / "address")) };
  const std::string index = read_fact(folder / "ifindex");
  std::from_chars(index.data(), index.data() + index.size(), interface.index);
  std::error_code ignored;
  interface.physical =
      read_fact(folder / "addr_assign_type") == kPermanentAddress && fs::exists(folder / "device", ignored);
  if (read_fact(folder / "type") == kLoopbackType || interface.name == "lo") interface.mac.clear();
  return interface;
}

std::vector<Interface> read_interfaces(const fs::path& folder) {
  std::vector<Interface> interfaces;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    interfaces.push_back(read_interface(it->path()));
  }
  std::sort(interfaces.begin(), interfaces.end(), [](const Interface& a, const Interface& b) {
    return std::tie(a.index, a.name) < std::tie(b.index, b.name);
  });
  return interfaces;
}

// The interface of the default route with the lowest metric, from /proc/net/route: "Iface Destination Gateway Flags
// RefCnt Use Metric Mask …", destination and mask in hex.
std::string default_route_interface(const std::string& routes) {
  std::istringstream lines(routes);
  std::string line, best;
  long best_metric = 0;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::string name, destination, gateway, flags, references, use, mask;
    long metric = 0;
    if (!(fields >> name >> destination >> gateway >> flags >> references >> use >> metric >> mask)) continue;
    if (destination != "00000000" || mask != "00000000") continue;
    if (best.empty() || metric < best_metric) {
      best = name;
      best_metric = metric;
    }
  }
  return best;
}

}  // namespace

Result<MainInterface> find_interface(std::string_view wanted, const fs::path& root) {
  const fs::path folder = root / "sys/class/net";
  const std::vector<Interface> interfaces = read_interfaces(folder);
  const auto found = [&](const Interface& interface, std::string why) {
    return MainInterface{{interface.name, std::move(why)},
                         {interface.mac, (folder / interface.name / "address").string()}};
  };
  if (!wanted.empty()) {
    const auto it = std::find_if(interfaces.begin(), interfaces.end(), [&](const auto& i) { return i.name == wanted; });
    if (it == interfaces.end()) {
      return fail(ErrorCode::kInvalidArgument, "interface '{}': this machine has no such interface", wanted);
    }
    if (it->mac.empty()) {
      return fail(ErrorCode::kInvalidArgument, "interface '{}': has no usable MAC address; set another `interface`",
                  wanted);
    }
    return found(*it, "setting `interface`");
  }
  const std::string route = default_route_interface(read_fact(root / "proc/net/route"));
  for (const Interface& interface : interfaces) {
    if (interface.name == route && interface.physical && !interface.mac.empty())
      return found(interface, "default route");
  }
  for (const Interface& interface : interfaces) {
    if (interface.physical && !interface.mac.empty()) return found(interface, "first physical interface");
  }
  for (const Interface& interface : interfaces) {
    if (!interface.mac.empty()) return found(interface, "first interface with a MAC address");
  }
  return fail(ErrorCode::kInvalidArgument,
              "no usable MAC address: no interface below {} has one; set `client-id` and `username`", folder.string());
}

}  // namespace fleet::agent
