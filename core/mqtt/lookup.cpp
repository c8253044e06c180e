#include "core/mqtt/lookup.hpp"

#include <algorithm>
#include <map>
#include <mutex>
#include <netdb.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <utility>

#include <boost/asio/post.hpp>

namespace fleet::mqtt {

using Answer = Result<std::vector<std::string>>;

struct Lookup::Waiter {
  std::mutex mutex;
  boost::asio::io_context* io = nullptr;  // null: no longer interested
  Handler handler;                        // touched on the thread of `io` only
};

namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Answer resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list); error != 0) {
    const bool unknown = error == EAI_NONAME || error == EAI_NODATA;
    return fail(ErrorCode::kUnavailable, "DNS: {}: {}", host, unknown ? "no such host" : ::gai_strerror(error));
  }
  const Addresses owner(list);
  std::vector<std::string> found;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    char text[NI_MAXHOST];
    if (::getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) continue;
    if (std::find(found.begin(), found.end(), text) == found.end()) found.emplace_back(text);
  }
  if (found.empty()) return fail(ErrorCode::kUnavailable, "DNS: {}: no address", host);
  return found;
}

void answer(const std::shared_ptr<Lookup::Waiter>& waiter, Answer result) {
  const std::lock_guard lock(waiter->mutex);
  if (waiter->io == nullptr) return;
  boost::asio::post(*waiter->io, [waiter, result = std::move(result)]() mutable {
    if (waiter->io != nullptr) std::exchange(waiter->handler, {})(std::move(result));
  });
}

// The names being asked about right now, and who waits for them.
struct Running {
  std::mutex mutex;
  std::map<std::string, std::vector<std::shared_ptr<Lookup::Waiter>>> waiters;
};

// Never destroyed: a thread inside getaddrinfo may outlive main().
Running& running() {
  static auto* const instance = new Running;
  return *instance;
}

void run(const std::string& host) {
  const Answer result = resolve(host);
  std::vector<std::shared_ptr<Lookup::Waiter>> waiters;
  {
    const std::lock_guard lock(running().mutex);
    waiters = std::move(running().waiters.extract(host).mapped());
  }
  for (const auto& waiter : waiters) answer(waiter, result);
}

}  // namespace

Lookup::Lookup(boost::asio::io_context& io, const std::string& host, Handler handler)
    : waiter_(std::make_shared<Waiter>()) {
  waiter_->io = &io;
  waiter_->handler = std::move(handler);
  const std::lock_guard lock(running().mutex);
  auto& waiters = running().waiters[host];
  waiters.push_back(waiter_);
  if (waiters.size() > 1) return;
  try {
    std::thread([host] { run(host); }).detach();
  } catch (const std::system_error& error) {
    running().waiters.erase(host);
    answer(waiter_, fail(ErrorCode::kUnavailable, "DNS: {}: cannot start a thread: {}", host, error.what()));
  }
}

Lookup::~Lookup() {
  const std::lock_guard lock(waiter_->mutex);
  waiter_->io = nullptr;
  waiter_->handler = {};
}

bool is_address(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* list = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &list) != 0) return false;
  ::freeaddrinfo(list);
  return true;
}

}  // namespace fleet::mqtt
