#include "core/config/decoder.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace fleet::config {
namespace {

// A number as YAML 1.2's core schema writes one: no leading zeros, so that 0123 is neither 123 nor octal 83.
bool has_leading_zero(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return text.size() > 1 && text[0] == '0' && text[1] >= '0' && text[1] <= '9';
}

template <typename Number>
Result<Number> parse_number(const Node& node, std::string_view what) {
  Number number{};
  const std::string& text = node.text;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range) {
    return fail(ErrorCode::kLimitExceeded, "'{}' is out of range", text);
  }
  if (error != std::errc() || end != text.data() + text.size() || node.quoted || has_leading_zero(text)) {
    return fail(ErrorCode::kMalformed, "must be {}, not '{}'{}", what, text, node.quoted ? " in quotes" : "");
  }
  return number;
}

Result<void> read(const Node& node, std::string& target) {
  target = node.text;
  return {};
}
Result<void> read(const Node& node, bool& target) {
  if (node.quoted || (node.text != "true" && node.text != "false")) {
    return fail(ErrorCode::kMalformed, "must be true or false, not '{}'", node.text);
  }
  target = node.text == "true";
  return {};
}
Result<void> read(const Node& node, std::int64_t& target) {
  TRY_ASSIGN(target, parse_number<std::int64_t>(node, "a whole number"));
  return {};
}
Result<void> read(const Node& node, int& target) {
  TRY_ASSIGN(target, parse_number<int>(node, "a whole number"));
  return {};
}
Result<void> read(const Node& node, double& target) {
  TRY_ASSIGN(const double number, parse_number<double>(node, "a number"));
  if (!std::isfinite(number)) return fail(ErrorCode::kMalformed, "must be a finite number, not '{}'", node.text);
  target = number;
  return {};
}
Result<void> read(const Node& node, Millis& target) {
  TRY_ASSIGN(target, parse_duration(node.text));
  return {};
}
Result<void> read(const Node& node, WallTime& target) {
  TRY_ASSIGN(target, parse_time(node.text));
  return {};
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

constexpr std::string_view kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kNull: return "nothing";
    case Node::Kind::kScalar: return "a single value";
    case Node::Kind::kSequence: return "a list";
    case Node::Kind::kMapping: return "a mapping";
  }
  return "";
}

}  // namespace

std::string Problem::str() const {
  std::string text;
  if (!file.empty()) text += file + ":";
  if (mark.line > 0) text += fmt::format("{}:{}:", mark.line, mark.column);
  if (!text.empty()) text += ' ';
  if (!path.empty()) text += path + ": ";
  return text + why;
}

void Problems::add(Mark mark, std::string path, std::string why) {
  list_.push_back({file_, mark, std::move(path), std::move(why)});
}

Result<void> Problems::result() const {
  if (list_.empty()) return {};
  std::string text;
  for (const Problem& problem : list_) {
    if (!text.empty()) text += '\n';
    text += problem.str();
  }
  return fail(Error{ErrorCode::kInvalidArgument, std::move(text)});
}

Object::Object(const Node& node, std::string path, Problems& problems)
    : node_(node), path_(std::move(path)), problems_(problems) {
  if (node.kind != Node::Kind::kMapping) {
    problems_.add(node.mark, path_, fmt::format("must be a mapping, not {}", kind_name(node.kind)));
  }
}

std::string Object::path(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

const Node* Object::child(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  const Node* node = node_.find(key);
  return node == nullptr || node->kind == Node::Kind::kNull ? nullptr : node;
}

const Node* Object::require(std::string_view key) {
  const Node* node = child(key);
  // of a node that is no mapping, only that is reported
  if (node == nullptr && node_.kind == Node::Kind::kMapping) problem(key, "is missing");
  return node;
}

void Object::problem(std::string_view key, std::string why) {
  const Node* node = node_.find(key);
  problems_.add(node == nullptr ? node_.mark : node->mark, path(key), std::move(why));
}

template <typename T>
bool Object::optional(std::string_view key, T& target) {
  const Node* node = child(key);
  if (node == nullptr) return false;
  if (node->kind != Node::Kind::kScalar) {
    problem(key, fmt::format("must be a single value, not {}", kind_name(node->kind)));
    return false;
  }
  T value{};
  if (auto done = read(*node, value); !done) {
    problem(key, done.error().message);
    return false;
  }
  target = std::move(value);
  return true;
}

template <typename T>
bool Object::required(std::string_view key, T& target) {
  return require(key) != nullptr && optional(key, target);
}

bool Object::optional_map(std::string_view key, std::vector<std::pair<std::string, std::string>>& target) {
  const Node* node = child(key);
  if (node == nullptr) return false;
  if (node->kind != Node::Kind::kMapping) {
    problem(key, fmt::format("must be a mapping, not {}", kind_name(node->kind)));
    return false;
  }
  std::vector<std::pair<std::string, std::string>> values;
  bool good = true;
  for (const Node::Entry& entry : node->entries) {
    if (entry.value.kind != Node::Kind::kScalar) {
      problems_.add(entry.value.mark, path(key) + "." + entry.key,
                    fmt::format("must be a single value, not {}", kind_name(entry.value.kind)));
      good = false;
    } else {
      values.emplace_back(entry.key, entry.value.text);
    }
  }
  if (good) target = std::move(values);
  return good;
}

bool Object::optional_list(std::string_view key, std::vector<std::string>& target) {
  const Node* node = child(key);
  if (node == nullptr) return false;
  if (node->kind != Node::Kind::kSequence) {
    problem(key, fmt::format("must be a list, not {}", kind_name(node->kind)));
    return false;
  }
  std::vector<std::string> values;
  bool good = true;
  for (std::size_t i = 0; i < node->items.size(); ++i) {
    const Node& item = node->items[i];
    if (item.kind != Node::Kind::kScalar) {
      problems_.add(item.mark, fmt::format("{}[{}]", path(key), i),
                    fmt::format("must be a single value, not {}", kind_name(item.kind)));
      good = false;
    } else {
      values.push_back(item.text);
    }
  }
  if (good) target = std::move(values);
  return good;
}

void Object::finish() {
  for (const Node::Entry& entry : node_.entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    const std::string guess = nearest(entry.key, known_);
    std::string why = "unknown key";
    if (!guess.empty()) {
      why += fmt::format("; did you mean {}?", guess);
    } else if (!known_.empty()) {
      why += fmt::format("; known here: {}", fmt::join(known_, ", "));
    }
    problems_.add(entry.key_mark, path(entry.key), std::move(why));
  }
}

template bool Object::required(std::string_view, std::string&);
template bool Object::required(std::string_view, bool&);
template bool Object::required(std::string_view, std::int64_t&);
template bool Object::required(std::string_view, int&);
template bool Object::required(std::string_view, double&);
template bool Object::required(std::string_view, Millis&);
template bool Object::required(std::string_view, WallTime&);
template bool Object::optional(std::string_view, std::string&);
template bool Object::optional(std::string_view, bool&);
template bool Object::optional(std::string_view, std::int64_t&);
template bool Object::optional(std::string_view, int&);
template bool Object::optional(std::string_view, double&);
template bool Object::optional(std::string_view, Millis&);
template bool Object::optional(std::string_view, WallTime&);

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace fleet::config
