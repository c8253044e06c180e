#include "core/config/tree_builder.hpp"

#include <utility>

#include "core/base/bytes.hpp"
#include "core/config/scalar.hpp"

namespace fleet::config {
namespace {

constexpr std::size_t kFew = 16;
// Entries that most mappings have room for at once.
constexpr std::size_t kUsual = 4;

}  // namespace

void TreeBuilder::begin(Node::Kind kind, Mark mark) {
  if (refusal_) return;
  if (open_.size() == kDeepest) return refuse(mark, fmt::format("nested deeper than {} levels", kDeepest));
  if (!open_.empty() && open_.back().node.kind == Node::Kind::kMapping && open_.back().at_key) {
    return refuse(mark, "a key must be a text, not a list or a mapping");
  }
  Open& opened = open_.emplace_back();
  opened.node.kind = kind;
  opened.node.mark = mark;
}

void TreeBuilder::end() {
  if (refusal_) return;
  Node node = std::move(open_.back().node);
  open_.pop_back();
  add(std::move(node));
}

void TreeBuilder::leaf(Node node) {
  if (refusal_) return;
  if (node.text.find('\0') != std::string::npos) return refuse(node.mark, "NUL characters are not allowed");
  if (!is_utf8(node.text)) return refuse(node.mark, "the text is not valid UTF-8");
  if (!open_.empty() && open_.back().node.kind == Node::Kind::kMapping && open_.back().at_key) {
    return take_key(open_.back(), std::move(node));
  }
  add(std::move(node));
}

void TreeBuilder::refuse(Mark mark, std::string why) {
  if (!refusal_) refusal_ = Refusal{mark, std::move(why)};
}

bool TreeBuilder::is_known(Open& mapping, const std::string& key) {
  const std::vector<Node::Entry>& entries = mapping.node.entries;
  if (entries.size() < kFew) return mapping.node.find(key) != nullptr;
  if (mapping.keys.empty()) {
    for (const Node::Entry& entry : entries) mapping.keys.insert(entry.key);
  }
  return !mapping.keys.insert(key).second;
}

void TreeBuilder::take_key(Open& mapping, Node node) {
  if (node.kind == Node::Kind::kNull) return refuse(node.mark, "a key must not be null");
  if (is_known(mapping, node.text)) {
    return refuse(node.mark, fmt::format("the key {} appears twice", shown(node.text)));
  }
  mapping.key = std::move(node.text);
  mapping.key_mark = node.mark;
  mapping.at_key = false;
}

void TreeBuilder::add(Node node) {
  if (open_.empty()) {
    root_ = std::move(node);
    return;
  }
  Open& parent = open_.back();
  if (parent.node.kind == Node::Kind::kSequence) {
    parent.node.items.push_back(std::move(node));
    return;
  }
  // an empty value is reported by parsers where the next thing stands
  if (node.kind == Node::Kind::kNull && node.mark.line != parent.key_mark.line) node.mark = parent.key_mark;
  if (parent.node.entries.empty()) parent.node.entries.reserve(kUsual);
  parent.node.entries.push_back({std::move(parent.key), parent.key_mark, std::move(node)});
  parent.at_key = true;
}

}  // namespace fleet::config
