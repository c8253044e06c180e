// Host names to addresses without blocking the io_context. Internal to core/mqtt.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "core/base/result.hpp"

namespace fleet::mqtt {

// One question that can be given up at any time. getaddrinfo cannot be interrupted, so it runs on a detached thread
// that outlives the question if need be; questions about the same name that come while it runs share its answer.
class Lookup {
 public:
  // Numeric addresses, best first, never empty; kUnavailable if the name has none or nobody can be asked.
  using Handler = std::function<void(Result<std::vector<std::string>>)>;

  // Calls `handler` once, from `io`, unless the Lookup is destroyed before. The destructor and the handler run on the
  // thread of `io`, which must outlive the Lookup.
  Lookup(boost::asio::io_context& io, const std::string& host, Handler handler);
  ~Lookup();
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;

  // Who waits for an answer; opaque.
  struct Waiter;

 private:
  std::shared_ptr<Waiter> waiter_;
};

// True if `host` is an IP address and needs no lookup.
bool is_address(const std::string& host);

}  // namespace fleet::mqtt
