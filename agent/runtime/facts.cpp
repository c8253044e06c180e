#include "agent/runtime/facts.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>
#include <sstream>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <thread>
#include <time.h>

#include "core/base/file.hpp"

namespace fleet::agent {
namespace {

namespace fs = std::filesystem;

// The first of `files` that says something, on one line and as UTF-8, at most 128 bytes.
std::string first_fact(const fs::path& root, std::initializer_list<std::string_view> files) {
  for (const std::string_view file : files) {
    const auto content = read_file(root / file, 4096);
    if (!content) continue;
    std::string fact =
        content->substr(0, std::min<std::size_t>(content->find_first_of(std::string_view("\n\0", 2)), 128));
    while (!fact.empty() && fact.back() == ' ') fact.pop_back();
    const bool control =
        std::any_of(fact.begin(), fact.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; });
    if (!fact.empty() && !control && is_utf8(fact)) return fact;
  }
  return {};
}

// PRETTY_NAME of os-release(5), without its quotes.
std::string os_name(const fs::path& root) {
  const auto content = read_file(root / "etc/os-release", 65536);
  if (!content) return {};
  std::istringstream lines(*content);
  constexpr std::string_view kKey = "PRETTY_NAME=";
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(kKey)) continue;
    line.erase(0, kKey.size());
    std::erase(line, '"');
    return line.substr(0, 128);
  }
  return {};
}

std::string address_text(const sockaddr& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  } else if (address.sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    if (!IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr)) ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  }
  return text;
}

}  // namespace

std::map<std::string, std::string> device_facts(const Identity& identity, const fs::path& root) {
  struct utsname system {};
  ::uname(&system);
  struct sysinfo memory {};
  ::sysinfo(&memory);
  const std::uint64_t total_kib = std::uint64_t{memory.totalram} * memory.mem_unit / 1024;

  std::map<std::string, std::string> facts{
      {"display_name", system.nodename},
      {"model_name", first_fact(root, {"proc/device-tree/model", "sys/class/dmi/id/product_name"})},
      {"model_id", first_fact(root, {"proc/device-tree/compatible", "sys/class/dmi/id/product_family"})},
      {"part_number", first_fact(root, {"sys/class/dmi/id/product_sku"})},
      {"serial_number", identity.serial.value},
      {"firmware_version", FLEET_VERSION},
      {"bios_version", first_fact(root, {"sys/class/dmi/id/bios_version"})},
      {"os", os_name(root)},
      {"os_version", fmt::format("{} {}", system.sysname, system.release)},
      {"os_arch", system.machine},
      {"available_processors", std::to_string(std::thread::hardware_concurrency())},
      {"total_memory", std::to_string(total_kib)},
      {"connection_interface",
       identity.interface.value.empty() ? "" : fmt::format("{} ({})", identity.interface.value, identity.mac.value)},
      {"accept_encoding", "gzip"},
      {"application_ids", ""},
      {"payload_encoding", "kura-protobuf"},
  };
  // One fact that is no text would make the whole message malformed (edc §2).
  for (auto& [name, value] : facts) {
    if (!is_utf8(value)) value.clear();
  }
  return facts;
}

std::string uptime_millis() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::to_string(std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000);
}

std::string interface_address(const std::string& interface) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owned(list, ::freeifaddrs);
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
      if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != family) continue;
      if ((entry->ifa_flags & IFF_UP) == 0 || (entry->ifa_flags & IFF_LOOPBACK) != 0) continue;
      if (!interface.empty() && interface != entry->ifa_name) continue;
      if (std::string text = address_text(*entry->ifa_addr); !text.empty()) return text;
    }
  }
  return {};
}

}  // namespace fleet::agent
