// Connections that must end, until the broker has been told: a kick that is wanted while there is no session, or lost
// with one, is owed to the next. Pure; not thread-safe. Private to provisioner/broker.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace fleet::provisioner {

class Kicks {
 public:
  // Bounds the memory; a fleet of that size is shut out at once only by hand.
  static constexpr std::size_t kMost = 100'000;

  // False if too many are owed already: this one is forgotten.
  bool want(std::string client_id) {
    if (owed_.size() >= kMost) return false;
    owed_.insert(std::move(client_id));
    return true;
  }
  // The next one to send, which stays owed until sent().
  std::optional<std::string> next() const {
    return owed_.empty() ? std::nullopt : std::optional(*owed_.begin());
  }
  // It went out under this message id.
  void sent(const std::string& client_id, int message_id) {
    owed_.erase(client_id);
    in_flight_[message_id] = client_id;
  }
  void acknowledged(int message_id) { in_flight_.erase(message_id); }
  // The session is gone, and with it what the broker has not acknowledged.
  void lost() {
    for (auto& [message_id, client_id] : in_flight_) owed_.insert(std::move(client_id));
    in_flight_.clear();
  }

 private:
  std::set<std::string> owed_;
  std::map<int, std::string> in_flight_;  // by message id
};

}  // namespace fleet::provisioner
