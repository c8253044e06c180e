// What happened at the broker since the last flush, aggregated, so that an attacker cannot flood the provisioner.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "provisioner/admission/events.hpp"

namespace fleet::provisioner::plugin {

// Events of one kind. Equal client id and reason are one entry with a count. A client id has at most kMaxReasons
// entries, so that one device does not crowd out the others: what is beyond them is counted under the reason "others".
// Beyond `limit` entries everything is counted under the client id "*", reason "overflow". Texts from the network are cut, so an entry has a bounded size.
class EventBatch {
 public:
  static constexpr std::size_t kMaxClientId = 128;  // bytes kept
  static constexpr std::size_t kMaxReason = 256;
  static constexpr std::size_t kMaxReasons = 8;  // distinct ones of a client id, beside "others"

  explicit EventBatch(std::size_t limit) : limit_(limit) {}

  void add(std::string_view client_id, std::string_view reason, std::string_view address);
  // Forgets what is known about a client id and reason.
  void drop(std::string_view client_id, std::string_view reason);
  bool empty() const { return size_ == 0 && overflow_ == 0; }
  // Everything since the last call, in no particular order.
  std::vector<BrokerEvent> take();

 private:
  std::size_t limit_;
  std::size_t size_ = 0;  // entries
  std::unordered_map<std::string, std::vector<BrokerEvent>> by_client_;
  std::uint32_t overflow_ = 0;
};

}  // namespace fleet::provisioner::plugin
