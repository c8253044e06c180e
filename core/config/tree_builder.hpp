// Puts a tree of Nodes together from a loader's events, and refuses what no loader may let through. Internal to
// core/config.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "core/config/node.hpp"

namespace fleet::config {

// Collections within collections; a document that needs more is an attack or a mistake.
inline constexpr std::size_t kDeepest = 32;

// Feed it the events of one document in their order. The first error stays and is all that counts from then on.
class TreeBuilder {
 public:
  struct Refusal {
    Mark mark;
    std::string why;
  };

  // `kind` is kSequence or kMapping.
  void begin(Node::Kind kind, Mark mark);
  void end();
  // A scalar or a null; in a mapping keys and values take turns, and a key is any scalar.
  void leaf(Node node);
  void refuse(Mark mark, std::string why);

  const std::optional<Refusal>& refusal() const { return refusal_; }
  // The document, once its events are through.
  Node take() { return std::move(root_); }

 private:
  struct Open {
    Node node;
    bool at_key = true;  // kMapping: the next node is a key
    std::string key;
    Mark key_mark;
    std::unordered_set<std::string> keys;  // once there are more than are soon compared one by one
  };

  static bool is_known(Open& mapping, const std::string& key);
  void take_key(Open& mapping, Node node);
  void add(Node node);

  std::vector<Open> open_;
  Node root_;
  std::optional<Refusal> refusal_;
};

}  // namespace fleet::config
