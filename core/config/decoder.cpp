#include "core/config/decoder.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "core/base/nearest.hpp"
#include "core/config/scalar.hpp"

namespace fleet::config {

// -------------------------------------------------------------------------------------------------------- problems

std::string Problem::str() const {
  std::string out;
  if (!file.empty()) out += file + ":";
  if (mark.line > 0) out += fmt::format("{}:{}:", mark.line, mark.column);
  if (!out.empty()) out += " ";
  if (!path.empty()) out += path + ": ";
  return out + why;
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

// --------------------------------------------------------------------------------------------------------- scalars

namespace {

std::string described(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kScalar:
      return (node.quoted ? "the text " : "") + shown(node.text);
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMapping:
      return "a mapping";
  }
  return "";
}

Failure expected(std::string_view what, const Node& node) {
  return fail(ErrorCode::kInvalidArgument, "expected {}, not {}", what, described(node));
}

bool is_plain(const Node& node) {
  return node.kind == Node::Kind::kScalar && !node.quoted;
}

Result<void> read(const Node& node, std::string& target) {
  if (node.kind != Node::Kind::kScalar) return expected("a text", node);
  target = node.text;
  return {};
}

Result<void> read(const Node& node, bool& target) {
  if (!is_plain(node) || (node.text != "true" && node.text != "false")) return expected("true or false", node);
  target = node.text == "true";
  return {};
}

template <typename T>
Result<void> read_integer(const Node& node, T& target) {
  if (!is_plain(node)) return expected("an integer", node);
  std::string_view digits = node.text;
  if (digits.starts_with('-') || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    return expected("an integer", node);
  }
  if (digits.size() > 1 && digits.front() == '0') {
    return fail(ErrorCode::kInvalidArgument, "{} begins with a zero: write it without, or in quotes if it is a text",
                shown(node.text));
  }
  const char* const begin = node.text.data() + (node.text.starts_with('+') ? 1 : 0);
  T value{};
  const auto [end, error] = std::from_chars(begin, node.text.data() + node.text.size(), value);
  if (error != std::errc() || end != node.text.data() + node.text.size()) {
    return fail(ErrorCode::kInvalidArgument, "{} is out of range: the limits are {} and {}", shown(node.text),
                std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
  }
  target = value;
  return {};
}

Result<void> read(const Node& node, std::int64_t& target) {
  return read_integer(node, target);
}
Result<void> read(const Node& node, int& target) {
  return read_integer(node, target);
}

Result<void> read(const Node& node, double& target) {
  if (!is_plain(node) || !is_json_number(node.text)) return expected("a number", node);
  double value = 0;
  const auto [end, error] = std::from_chars(node.text.data(), node.text.data() + node.text.size(), value);
  if (error != std::errc() || end != node.text.data() + node.text.size()) {
    return fail(ErrorCode::kInvalidArgument, "{} is out of range", shown(node.text));
  }
  target = value;
  return {};
}

Result<void> read(const Node& node, Millis& target) {
  if (node.kind != Node::Kind::kScalar) return expected("a duration such as 90s, 5m, 36h or 365d", node);
  const auto value = parse_duration(node.text);
  if (!value) return expected("a duration such as 90s, 5m, 36h or 365d", node);
  target = *value;
  return {};
}

Result<void> read(const Node& node, WallTime& target) {
  if (node.kind != Node::Kind::kScalar) return expected("a time such as 2026-11-20T10:00:00Z", node);
  const auto value = parse_time(node.text);
  if (!value) return expected("a time such as 2026-11-20T10:00:00Z", node);
  target = *value;
  return {};
}

bool is_absent(const Node* node) {
  return node == nullptr || node->kind == Node::Kind::kNull;
}

// As many as most mappings may have.
constexpr std::size_t kUsualKeys = 20;

// A key with a dot in it would read as two.
bool needs_quotes(std::string_view key) {
  return key.empty() || key.find_first_of(".:[]'\" ") != std::string_view::npos || shown(key).size() != key.size() + 2;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- Object

Object::Object(const Node& node, std::string path, Problems& problems)
    : node_(node), path_(std::move(path)), problems_(problems) {
  known_.reserve(kUsualKeys);
  if (node.kind != Node::Kind::kMapping && node.kind != Node::Kind::kNull) {
    problems.add(node.mark, path_, expected("a mapping", node).value().message);
  }
}

const Node* Object::child(std::string_view key) {
  known_.emplace_back(key);
  return node_.find(key);
}

const Node* Object::require(std::string_view key) {
  const Node* const node = child(key);
  if (!is_absent(node)) return node;
  // what is not a mapping has been reported as such
  if (node_.kind == Node::Kind::kMapping || node_.kind == Node::Kind::kNull) problem(key, "is missing");
  return nullptr;
}

std::string Object::path(std::string_view key) const {
  const std::string name = needs_quotes(key) ? fmt::format("[{}]", shown(key)) : std::string(key);
  return path_.empty() || name.front() == '[' ? path_ + name : path_ + "." + name;
}

void Object::problem(std::string_view key, std::string why) {
  const Node* const node = node_.find(key);
  problems_.add(node != nullptr ? node->mark : node_.mark, path(key), std::move(why));
}

template <typename T>
bool Object::required(std::string_view key, T& target) {
  return require(key) != nullptr && optional(key, target);
}

template <typename T>
bool Object::optional(std::string_view key, T& target) {
  const Node* const node = child(key);
  if (is_absent(node)) return false;
  const auto result = read(*node, target);
  if (!result) problem(key, result.error().message);
  return result.has_value();
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

bool Object::optional_map(std::string_view key, std::vector<std::pair<std::string, std::string>>& target) {
  const Node* const node = child(key);
  if (is_absent(node)) return false;
  if (node->kind != Node::Kind::kMapping) {
    problem(key, expected("a mapping of names to texts", *node).value().message);
    return false;
  }
  const Object inner(*node, path(key), problems_);
  std::vector<std::pair<std::string, std::string>> values;
  bool good = true;
  for (const Node::Entry& entry : node->entries) {
    std::string text;
    if (const auto result = read(entry.value, text); !result) {
      problems_.add(entry.value.mark, inner.path(entry.key), result.error().message);
      good = false;
    }
    values.emplace_back(entry.key, std::move(text));
  }
  if (good) target = std::move(values);
  return good;
}

bool Object::optional_list(std::string_view key, std::vector<std::string>& target) {
  const Node* const node = child(key);
  if (is_absent(node)) return false;
  if (node->kind != Node::Kind::kSequence) {
    problem(key, expected("a list of texts", *node).value().message);
    return false;
  }
  std::vector<std::string> values;
  bool good = true;
  for (std::size_t i = 0; i < node->items.size(); ++i) {
    if (const auto result = read(node->items[i], values.emplace_back()); !result) {
      problems_.add(node->items[i].mark, fmt::format("{}[{}]", path(key), i), result.error().message);
      good = false;
    }
  }
  if (good) target = std::move(values);
  return good;
}

void Object::finish() {
  for (const Node::Entry& entry : node_.entries) {
    if (std::find(known_.begin(), known_.end(), entry.key) != known_.end()) continue;
    const std::string suggestion = nearest(entry.key, known_);
    problems_.add(entry.key_mark, path(entry.key),
                  suggestion.empty() ? "unknown key" : fmt::format("unknown key; did you mean {}?", suggestion));
  }
}

}  // namespace fleet::config
