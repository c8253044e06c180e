#include "core/base/notify.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/fd.hpp"

namespace fleet {

Result<void> notify_service_manager(std::string_view state) {
  const char* variable = std::getenv("NOTIFY_SOCKET");
  if (variable == nullptr || *variable == '\0') return {};
  const std::string_view name = variable;
  sockaddr_un address{};
  if ((name[0] != '/' && name[0] != '@') || name.size() >= sizeof address.sun_path) {
    return fail(ErrorCode::kInvalidArgument, "NOTIFY_SOCKET '{}': neither a path nor an abstract name", name);
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());

  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail(errno_error(errno, "NOTIFY_SOCKET"));
  const ssize_t sent = ::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                reinterpret_cast<const sockaddr*>(&address), length);
  if (sent < 0) return fail(errno_error(errno, name));
  return {};
}

std::optional<Millis> watchdog_limit() {
  const auto number = [](const char* variable) -> std::optional<std::int64_t> {
    const char* text = std::getenv(variable);
    if (text == nullptr) return std::nullopt;
    std::int64_t value = 0;
    const char* const end = text + std::strlen(text);
    const auto [stopped, error] = std::from_chars(text, end, value);
    if (error != std::errc() || stopped != end || value <= 0) return std::nullopt;
    return value;
  };
  const auto micros = number("WATCHDOG_USEC");
  if (!micros) return std::nullopt;
  if (std::getenv("WATCHDOG_PID") != nullptr && number("WATCHDOG_PID") != ::getpid()) return std::nullopt;
  return std::max(Millis(*micros / 1000), Millis(1));
}

}  // namespace fleet
