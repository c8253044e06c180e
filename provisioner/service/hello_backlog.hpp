// Hellos that devices sent while the provisioner was away. They wait in the broker, all of a device's attempts in a
// row; taken one by one, each would supersede the one before it and count as its failure (edc §4, counting), so that a
// long outage would abandon a whole fleet. Only a device's last word counts.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "provisioner/provisioning/dialect.hpp"

namespace fleet::provisioner {

// Holds hellos back from the beginning, and again after begin(), until release(). Not thread-safe.
class HelloBacklog {
 public:
  void begin() { holding_ = true; }
  bool holding() const { return holding_; }
  // An earlier hello of the same device is forgotten.
  void hold(const std::string& client_id, Hello hello) { held_.insert_or_assign(client_id, std::move(hello)); }
  // What was held, by client id; nothing is held back any more.
  std::map<std::string, Hello> release() {
    holding_ = false;
    return std::exchange(held_, {});
  }

 private:
  bool holding_ = true;
  std::map<std::string, Hello> held_;
};

}  // namespace fleet::provisioner
