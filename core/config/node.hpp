// A configuration document as a tree that remembers where each value stood. Two loaders fill it (YAML files, JSON from
// the admin API); decoders read it without knowing which.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.hpp"

namespace fleet::config {

// 1-based, columns in characters; {0, 0} where the source has no lines (JSON from the API).
struct Mark {
  int line = 0;
  int column = 0;
};

// A node: null, scalar, sequence or mapping. Scalars keep their text and whether they were quoted, so that "123" stays
// a string and 123 a number.
struct Node {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  struct Entry;

  Kind kind = Kind::kNull;
  Mark mark;
  std::string text;            // kScalar
  bool quoted = false;         // kScalar: was written in quotes or as a block
  std::vector<Node> items;     // kSequence
  std::vector<Entry> entries;  // kMapping, in order, keys unique

  // The value of `key`, or nullptr.
  const Node* find(std::string_view key) const;
};
struct Node::Entry {
  std::string key;
  Mark key_mark;
  Node value;
};

// Walks the documents of a YAML 1.2 text one at a time, in constant memory. Duplicate keys, anchors, aliases, tags
// other than the standard ones and nesting deeper than 32 are errors; so is what yaml-cpp would let pass: an unclosed
// quote, a key without ':', tabs as indentation, control characters, text behind the end of a document.
class YamlReader {
 public:
  // `text` must outlive the reader; `first_line` is the number of its first line.
  explicit YamlReader(std::string_view text, int first_line = 1);
  ~YamlReader();
  // The next document that is not empty; nullopt at the end. kMalformed with "line:column: why"; nothing can be read
  // after that.
  Result<std::optional<Node>> next();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The single document of `text`; an empty text is an empty mapping. More than one document is kMalformed.
Result<Node> parse_yaml(std::string_view text);

// JSON to a tree (marks {0,0}); kMalformed otherwise. And back: strings quoted, other scalars as they are written if
// they are JSON literals.
Result<Node> parse_json(std::string_view text);
std::string to_json(const Node& node);

// One YAML document, without "---", in block style: what parse_yaml reads back as the same values. Texts stand bare where
// they can be nothing else, over several lines as blocks, else in double quotes.
std::string to_yaml(const Node& node);

}  // namespace fleet::config
