#include <algorithm>
#include <array>
#include <utility>

#include "core/base/bytes.hpp"
#include "core/config/node.hpp"
#include "core/config/scalar.hpp"

namespace fleet::config {
namespace {

constexpr std::size_t kIndent = 2;

bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// A word that no reader of YAML takes for anything but a text, also older ones than ours.
bool is_bare(std::string_view text) {
  static constexpr std::array<std::string_view, 10> kOthers{"true", "false", "null", "yes", "no",
                                                            "on",   "off",   "y",    "n",   "~"};
  if (text.empty() || !(is_letter(text.front()) || text.front() == '/')) return false;
  static constexpr std::string_view kAllowed = " ._/@+=()-:";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!is_letter(c) && !(c >= '0' && c <= '9') && kAllowed.find(c) == std::string_view::npos) return false;
    if (c == ':' && (i + 1 == text.size() || text[i + 1] == ' ')) return false;
  }
  if (text.back() == ' ') return false;
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return is_letter(c) ? static_cast<char>(c | 0x20) : c; });
  return std::find(kOthers.begin(), kOthers.end(), lower) == kOthers.end();
}

// Several whole lines of plain characters, as certificates are.
bool is_block(std::string_view text) {
  if (text.find('\n') == std::string_view::npos || text.front() == ' ' || text.front() == '\n') return false;
  if (text.ends_with("\n\n") || text.find(" \n") != std::string_view::npos || text.back() == ' ') return false;
  return is_utf8(text) && std::none_of(text.begin(), text.end(), [](char c) {
           const auto byte = static_cast<unsigned char>(c);
           return (byte < 0x20 && c != '\n') || byte >= 0x7F;
         });
}

// JSON's strings are YAML's, but for the control character that JSON lets stand.
std::string in_quotes(std::string_view text) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.text = std::string(text);
  node.quoted = true;
  std::string out;
  for (const char c : to_json(node)) out += c == 0x7F ? std::string("\\x7F") : std::string(1, c);
  return out;
}

void write_block(std::string& out, std::string_view text, std::size_t indent) {
  out += text.back() == '\n' ? " |\n" : " |-\n";
  if (text.back() == '\n') text.remove_suffix(1);
  while (true) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (!line.empty()) out.append(indent, ' ').append(line);
    out += '\n';
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + 1);
  }
}

std::string key_text(std::string_view key) {
  return is_bare(key) ? std::string(key) : in_quotes(key);
}

void write_entries(std::string& out, const Node& node, std::size_t indent, bool first_is_indented);

// What stands behind "key:" or "-", with the end of the line.
void write_value(std::string& out, const Node& node, std::size_t indent, bool in_list) {
  switch (node.kind) {
    case Node::Kind::kNull:
      out += " null\n";
      return;
    case Node::Kind::kScalar: {
      const bool literal = !node.quoted && (node.text == "true" || node.text == "false" || is_json_number(node.text));
      if (!literal && is_block(node.text)) return write_block(out, node.text, indent);
      out += ' ';
      out += literal || is_bare(node.text) ? node.text : in_quotes(node.text);
      out += '\n';
      return;
    }
    case Node::Kind::kSequence:
      if (node.items.empty()) {
        out += " []\n";
        return;
      }
      out += '\n';
      for (const Node& item : node.items) {
        out.append(indent, ' ').append("-");
        write_value(out, item, indent + kIndent, true);
      }
      return;
    case Node::Kind::kMapping:
      if (node.entries.empty()) {
        out += " {}\n";
        return;
      }
      out += in_list ? " " : "\n";
      write_entries(out, node, indent, in_list);
      return;
  }
}

void write_entries(std::string& out, const Node& node, std::size_t indent, bool first_is_indented) {
  bool indented = first_is_indented;
  for (const Node::Entry& entry : node.entries) {
    if (!std::exchange(indented, false)) out.append(indent, ' ');
    out += key_text(entry.key) + ":";
    write_value(out, entry.value, indent + kIndent, false);
  }
}

}  // namespace

std::string to_yaml(const Node& node) {
  std::string out;
  if (node.kind == Node::Kind::kMapping && !node.entries.empty()) {
    write_entries(out, node, 0, false);
  } else {
    write_value(out, node, 0, false);
    out.erase(0, 1);  // the blank or line end before a value
  }
  return out;
}

}  // namespace fleet::config
