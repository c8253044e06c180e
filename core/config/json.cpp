#include <utility>

#include <boost/json/basic_parser_impl.hpp>

#include "core/config/node.hpp"
#include "core/config/scalar.hpp"
#include "core/config/tree_builder.hpp"

namespace fleet::config {
namespace {

// Boost.JSON's event parser gives numbers as text too, which its value type does not keep.
class Builder {
 public:
  using Code = boost::json::error_code;
  using Text = boost::json::string_view;
  static constexpr std::size_t max_object_size = std::size_t(-1);
  static constexpr std::size_t max_array_size = std::size_t(-1);
  static constexpr std::size_t max_key_size = std::size_t(-1);
  static constexpr std::size_t max_string_size = std::size_t(-1);

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code& error) { return begin(Node::Kind::kMapping, error); }
  bool on_object_end(std::size_t, Code& error) { return end(error); }
  bool on_array_begin(Code& error) { return begin(Node::Kind::kSequence, error); }
  bool on_array_end(std::size_t, Code& error) { return end(error); }
  bool on_key_part(Text part, std::size_t, Code&) { return collect(part); }
  bool on_key(Text part, std::size_t, Code& error) { return scalar(part, true, error); }
  bool on_string_part(Text part, std::size_t, Code&) { return collect(part); }
  bool on_string(Text part, std::size_t, Code& error) { return scalar(part, true, error); }
  bool on_number_part(Text part, Code&) { return collect(part); }
  bool on_int64(std::int64_t, Text part, Code& error) { return scalar(part, false, error); }
  bool on_uint64(std::uint64_t, Text part, Code& error) { return scalar(part, false, error); }
  bool on_double(double, Text part, Code& error) { return scalar(part, false, error); }
  bool on_bool(bool value, Code& error) { return scalar(value ? "true" : "false", false, error); }
  bool on_null(Code& error) {
    tree_.leaf(Node());
    return go_on(error);
  }
  bool on_comment_part(Text, Code&) { return true; }
  bool on_comment(Text, Code&) { return true; }

  TreeBuilder& tree() { return tree_; }

 private:
  bool begin(Node::Kind kind, Code& error) {
    tree_.begin(kind, {});
    return go_on(error);
  }
  bool end(Code& error) {
    tree_.end();
    return go_on(error);
  }
  bool collect(Text part) {
    text_.append(part.data(), part.size());
    return true;
  }
  bool scalar(Text part, bool quoted, Code& error) {
    collect(part);
    Node node;
    node.kind = Node::Kind::kScalar;
    node.text = std::exchange(text_, {});
    node.quoted = quoted;
    tree_.leaf(std::move(node));
    return go_on(error);
  }
  bool go_on(Code& error) const {
    if (!tree_.refusal()) return true;
    error = boost::json::error::exception;  // any will do: the refusal says why
    return false;
  }

  TreeBuilder tree_;
  std::string text_;
};

void write_text(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void write_node(std::string& out, const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      out += "null";
      return;
    case Node::Kind::kScalar:
      if (!node.quoted && (node.text == "true" || node.text == "false" || is_json_number(node.text))) {
        out += node.text;
      } else {
        write_text(out, node.text);
      }
      return;
    case Node::Kind::kSequence: {
      out += '[';
      const char* separator = "";
      for (const Node& item : node.items) {
        out += std::exchange(separator, ",");
        write_node(out, item);
      }
      out += ']';
      return;
    }
    case Node::Kind::kMapping: {
      out += '{';
      const char* separator = "";
      for (const Node::Entry& entry : node.entries) {
        out += std::exchange(separator, ",");
        write_text(out, entry.key);
        out += ':';
        write_node(out, entry.value);
      }
      out += '}';
      return;
    }
  }
}

}  // namespace

Result<Node> parse_json(std::string_view text) {
  boost::json::parse_options strict;
  strict.max_depth = kDeepest + 1;  // one more than TreeBuilder's, whose message is the better one
  boost::json::basic_parser<Builder> parser(strict);
  boost::json::error_code error;
  std::size_t at = 0;
  try {
    at = parser.write_some(false, text.data(), text.size(), error);
  } catch (const std::exception& problem) {
    return fail(ErrorCode::kMalformed, "JSON: {}", problem.what());
  }
  TreeBuilder& tree = parser.handler().tree();
  if (tree.refusal()) return fail(ErrorCode::kMalformed, "JSON: {}", tree.refusal()->why);
  if (error) return fail(ErrorCode::kMalformed, "JSON: {} at byte {}", error.message(), at);
  if (text.find_first_not_of(" \t\r\n", at) != std::string_view::npos) {
    return fail(ErrorCode::kMalformed, "JSON: more text after the end at byte {}", at);
  }
  return tree.take();
}

std::string to_json(const Node& node) {
  std::string out;
  write_node(out, node);
  return out;
}

}  // namespace fleet::config
