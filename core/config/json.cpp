#include <boost/json.hpp>

#include "core/config/node.hpp"

namespace fleet::config {
namespace {

namespace json = boost::json;

Node from_value(const json::value& value) {
  Node node;
  switch (value.kind()) {
    case json::kind::null: break;
    case json::kind::object:
      node.kind = Node::Kind::kMapping;
      for (const auto& [key, child] : value.get_object()) {
        node.entries.push_back({std::string(key), Mark{}, from_value(child)});
      }
      break;
    case json::kind::array:
      node.kind = Node::Kind::kSequence;
      for (const json::value& child : value.get_array()) node.items.push_back(from_value(child));
      break;
    case json::kind::string:
      node.kind = Node::Kind::kScalar;
      node.quoted = true;
      node.text = std::string(value.get_string());
      break;
    case json::kind::bool_:
    case json::kind::int64:
    case json::kind::uint64:
    case json::kind::double_:
      node.kind = Node::Kind::kScalar;
      node.text = json::serialize(value);
      break;
  }
  return node;
}

// A plain scalar goes out bare only if it is a JSON literal; anything else ("yes", "0x10", "1_000") becomes a string.
bool is_json_literal(const std::string& text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  // and must come back as it was written: 1e400 or 0.10 would not
  return !error && !value.is_string() && !value.is_structured() && json::serialize(value) == text;
}

bool is_number_word(const std::string& text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  return !error && value.is_number();
}

json::value to_value(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: return nullptr;
    case Node::Kind::kScalar: {
      if (node.quoted) return json::value(node.text);
      if (is_json_literal(node.text) || is_number_word(node.text)) return json::parse(node.text);
      return json::value(node.text);
    }
    case Node::Kind::kSequence: {
      json::array array;
      for (const Node& item : node.items) array.push_back(to_value(item));
      return array;
    }
    case Node::Kind::kMapping: {
      json::object object;
      for (const Node::Entry& entry : node.entries) object[entry.key] = to_value(entry.value);
      return object;
    }
  }
  return nullptr;
}

}  // namespace

Result<Node> parse_json(std::string_view text) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 34;
  json::value value = json::parse({text.data(), text.size()}, error, {}, options);
  if (error) return fail(ErrorCode::kMalformed, "JSON: {}", error.message());
  return from_value(value);
}

std::string to_json(const Node& node) { return json::serialize(to_value(node)); }

}  // namespace fleet::config
