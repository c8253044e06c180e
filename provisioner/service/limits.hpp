// What keeps one device, or a thousand of them in a loop, from filling the memory or the log. Pure; not thread-safe.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

namespace fleet::provisioner {

// Something that anybody can cause at will: only its occurrences 1, 2, 4, 8, … are worth a line of the log.
class Occurrences {
 public:
  // One more; true if it is worth a line.
  bool add() { return std::has_single_bit(++so_far_); }
  std::uint64_t so_far() const { return so_far_; }

 private:
  std::uint64_t so_far_ = 0;
};

// Pieces of work in hand by the device that they are for.
class DeviceShares {
 public:
  // More than an honest device ever has in hand: its plan's replies, each said twice.
  static constexpr std::size_t kPiecesInHand = 32;

  // True, and one piece more is in hand; false if the device has its share.
  bool take(const std::string& client_id) {
    std::size_t& pieces = in_hand_[client_id];
    if (pieces >= kPiecesInHand) return false;
    ++pieces;
    return true;
  }
  // One piece is done.
  void give_back(const std::string& client_id) {
    const auto found = in_hand_.find(client_id);
    if (found != in_hand_.end() && --found->second == 0) in_hand_.erase(found);
  }
  bool has_some(const std::string& client_id) const { return in_hand_.contains(client_id); }
  // Devices with work in hand.
  std::size_t devices() const { return in_hand_.size(); }

 private:
  std::unordered_map<std::string, std::size_t> in_hand_;
};

}  // namespace fleet::provisioner
