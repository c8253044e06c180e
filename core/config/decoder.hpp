// Strict decoding: every error of a document at once, each "file:line:column: key.path: why", unknown keys with the
// nearest valid one.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "core/config/node.hpp"

namespace fleet::config {

struct Problem {
  std::string file;  // as the person named it; may be empty
  Mark mark;
  std::string path;  // "spec.broker.url", "" for the document
  std::string why;   // what is wrong and what would be right
  // "file:line:column: path: why", leaving out what is not known.
  std::string str() const;
};

// Collects problems of one file.
class Problems {
 public:
  explicit Problems(std::string file = {}) : file_(std::move(file)) {}
  void add(Mark mark, std::string path, std::string why);
  bool empty() const { return list_.empty(); }
  const std::vector<Problem>& list() const { return list_; }
  // Ok, or kInvalidArgument with all problems, a line each.
  Result<void> result() const;

 private:
  std::string file_;
  std::vector<Problem> list_;
};

// Reads one mapping. Every getter notes the key as known; problems go to the list and leave the target as it was, so a
// decoder can be written straight down and report everything. `finish()` reports unknown keys.
//
//   Object object(node, "spec", problems);
//   object.required("url", account.broker_url);
//   object.optional("retryMaxAttempts", profile.retry_max_attempts);
//   object.finish();
class Object {
 public:
  // A node that is not a mapping is a problem; the object is then empty. `path` is that of the node itself.
  Object(const Node& node, std::string path, Problems& problems);

  // Typed scalars: std::string (any scalar that is not null), bool (true/false), std::int64_t, int, double, Millis
  // (parse_duration), WallTime (parse_time). True if a value was read. An explicit null counts as absent.
  template <typename T>
  bool required(std::string_view key, T& target);
  template <typename T>
  bool optional(std::string_view key, T& target);
  // As above for std::optional targets.
  template <typename T>
  bool optional(std::string_view key, std::optional<T>& target) {
    T value{};
    if (!optional(key, value)) return false;
    target = std::move(value);
    return true;
  }

  // The raw node for nested structures, nullptr if absent; `require` reports absence.
  const Node* child(std::string_view key);
  const Node* require(std::string_view key);
  // The path of a key below this object, for nested Objects and for problems found by the caller.
  std::string path(std::string_view key) const;
  // Adds a problem at the value of `key` (or at the object if it is absent).
  void problem(std::string_view key, std::string why);
  // A mapping of strings to scalars ("labels"); keys and values as written.
  bool optional_map(std::string_view key, std::vector<std::pair<std::string, std::string>>& target);
  bool optional_list(std::string_view key, std::vector<std::string>& target);

  // Reports the keys that no call asked for, each with the nearest known key.
  void finish();

 private:
  const Node& node_;
  std::string path_;
  Problems& problems_;
  std::vector<std::string> known_;
};

extern template bool Object::required(std::string_view, std::string&);
extern template bool Object::required(std::string_view, bool&);
extern template bool Object::required(std::string_view, std::int64_t&);
extern template bool Object::required(std::string_view, int&);
extern template bool Object::required(std::string_view, double&);
extern template bool Object::required(std::string_view, Millis&);
extern template bool Object::required(std::string_view, WallTime&);
extern template bool Object::optional(std::string_view, std::string&);
extern template bool Object::optional(std::string_view, bool&);
extern template bool Object::optional(std::string_view, std::int64_t&);
extern template bool Object::optional(std::string_view, int&);
extern template bool Object::optional(std::string_view, double&);
extern template bool Object::optional(std::string_view, Millis&);
extern template bool Object::optional(std::string_view, WallTime&);

}  // namespace fleet::config
