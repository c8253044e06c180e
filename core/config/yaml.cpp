#include <algorithm>
#include <istream>
#include <streambuf>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "core/base/bytes.hpp"
#include "core/config/node.hpp"
#include "core/config/tree_builder.hpp"

namespace fleet::config {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kNoAliases = "aliases (*name) are not supported";
constexpr std::string_view kStandardTag = "tag:yaml.org,2002:";

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0U) == 0x80;
}

Failure malformed(Mark mark, std::string_view why) {
  return fail(ErrorCode::kMalformed, "{}:{}: {}", mark.line, mark.column, why);
}

// 1-based, in characters, of the byte at `offset`.
Mark mark_at(std::string_view text, std::size_t offset) {
  Mark mark{1, 1};
  for (const char c : text.substr(0, offset)) {
    if (c == '\n') {
      mark = {mark.line + 1, 1};
    } else if (!is_continuation(c)) {
      ++mark.column;
    }
  }
  return mark;
}

// YAML 1.2 §5.1, minus what is only allowed in other encodings. Needed before yaml-cpp sees the text: it takes U+0004
// for the end of the file, and guesses at encodings.
Result<void> check_characters(std::string_view text, int lines_above) {
  const auto refused = [&](std::size_t at, std::string_view why) {
    const Mark mark = mark_at(text, at);
    return malformed({mark.line + lines_above, mark.column}, why);
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) {
      return refused(i, fmt::format("the control character 0x{:02x} is not allowed", c));
    }
  }
  if (is_utf8(text)) return {};
  std::size_t i = 0;
  while (i < text.size()) {
    std::size_t length = 1;
    while (i + length < text.size() && is_continuation(text[i + length])) ++length;
    if (!is_utf8(text.substr(i, length))) break;
    i += length;
  }
  return refused(i, "this is not UTF-8");
}

// True if the scalar that begins at `position` is not quoted, or its closing quote is there: yaml-cpp takes the end of
// the text for one, so half a file would pass.
bool is_closed(std::string_view text, std::size_t position) {
  if (position < text.size() && text[position] == '!') {  // a tag in front
    position = std::min(text.find_first_of(" \t\r\n", position), text.size());
    position = std::min(text.find_first_not_of(" \t\r\n", position), text.size());
  }
  if (position >= text.size() || (text[position] != '"' && text[position] != '\'')) return true;
  const char quote = text[position];
  for (std::size_t i = position + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 == text.size() || text[i + 1] != quote) return true;
      ++i;  // '' is a quote inside
    }
  }
  return false;
}

// A std::istream over borrowed text, so that nothing is copied.
class TextBuffer : public std::streambuf {
 public:
  explicit TextBuffer(std::string_view text) {
    char* const begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace

struct YamlReader::Impl : YAML::EventHandler {
  Impl(std::string_view whole, int first_line)
      : lines_above(first_line - 1),
        text(whole.starts_with(kByteOrderMark) ? whole.substr(kByteOrderMark.size()) : whole),
        buffer(text),
        stream(&buffer) {}

  // Stops the parser in the middle of a document; caught in read().
  struct Stop {};

  Result<std::optional<Node>> read() {
    if (!checked) {
      TRY(check_characters(text, lines_above));
      checked = true;
      parser.Load(stream);
    }
    while (true) {
      builder = TreeBuilder();
      styles.clear();
      try {
        if (!parser.HandleNextDocument(*this)) return std::nullopt;
      } catch (const Stop&) {
        return malformed(builder.refusal()->mark, builder.refusal()->why);
      } catch (const YAML::Exception& error) {
        if (error.msg.starts_with(YAML::ErrorMsg::UNKNOWN_ANCHOR)) return malformed(translated(error.mark), kNoAliases);
        return malformed(error.mark.is_null() ? Mark{lines_above + 1, 1} : translated(error.mark), error.msg);
      } catch (const std::exception& error) {
        return fail(ErrorCode::kMalformed, "YAML: {}", error.what());
      }
      Node document = builder.take();
      if (document.kind != Node::Kind::kNull) return document;
    }
  }

  // yaml-cpp counts from 0, and columns in bytes.
  Mark translated(const YAML::Mark& mark) const {
    const auto position = static_cast<std::size_t>(std::max(mark.pos, 0));
    const auto column = static_cast<std::size_t>(std::max(mark.column, 0));
    int characters = mark.column;
    if (column <= position && position <= text.size()) {
      for (const char c : text.substr(position - column, column)) characters -= is_continuation(c) ? 1 : 0;
    }
    return {lines_above + mark.line + 1, characters + 1};
  }

  void stop_if_refused() const {
    if (builder.refusal()) throw Stop();
  }

  // YAML 1.2 §6.1. yaml-cpp takes "\t- x" for a text.
  void check_indentation(const YAML::Mark& mark) {
    const auto position = static_cast<std::size_t>(std::max(mark.pos, 0));
    const auto column = static_cast<std::size_t>(std::max(mark.column, 0));
    if (in_flow() || column > position || position > text.size()) return;
    const std::string_view before = text.substr(position - column, column);
    if (before.find('\t') != std::string_view::npos && before.find_first_not_of(" \t") == std::string_view::npos) {
      builder.refuse(translated(mark), "tabs cannot indent: use spaces");
    }
  }
  bool in_flow() const { return !styles.empty() && styles.back() == YAML::EmitterStyle::Flow; }

  void check_tag(Mark mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    if (tag.starts_with(kStandardTag)) {
      const std::string_view name = std::string_view(tag).substr(kStandardTag.size());
      for (const std::string_view known : {"str", "int", "float", "bool", "seq", "map"}) {
        if (name == known) return;
      }
    }
    builder.refuse(mark, fmt::format("the tag '{}' is not supported", tag));
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    // yaml-cpp starts a new document at anything that does not belong to the last one
    const auto position = static_cast<std::size_t>(std::max(mark.pos, 0));
    if (!first_document && text.substr(std::min(position, text.size()), 3) != "---") {
      builder.refuse(translated(mark), "this does not belong to what stands above");
    }
    first_document = false;
    stop_if_refused();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    // an empty value is reported where the next thing stands; at the key itself only if there was no ':'
    if (mark.pos == last_scalar) {
      builder.refuse(translated(mark), in_flow() ? "a closing bracket is missing" : "':' is missing after this key");
    }
    Node node;
    node.mark = translated(mark);
    builder.leaf(std::move(node));
    stop_if_refused();
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    builder.refuse(translated(mark), std::string(kNoAliases));
    stop_if_refused();
  }
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    builder.refuse(translated(mark), "anchors (&name) are not supported");
    stop_if_refused();
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t, const std::string& value) override {
    Node node;
    node.kind = Node::Kind::kScalar;
    node.mark = translated(mark);
    node.text = value;
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    check_tag(node.mark, tag);
    check_indentation(mark);
    if (!is_closed(text, static_cast<std::size_t>(std::max(mark.pos, 0)))) {
      builder.refuse(node.mark, "the closing quote is missing");
    }
    last_scalar = mark.pos;
    builder.leaf(std::move(node));
    stop_if_refused();
  }
  void begin(Node::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::EmitterStyle::value style) {
    check_tag(translated(mark), tag);
    check_indentation(mark);
    styles.push_back(style);
    builder.begin(kind, translated(mark));
    stop_if_refused();
  }
  void end() {
    styles.pop_back();
    builder.end();
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value style) override {
    begin(Node::Kind::kSequence, mark, tag, style);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value style) override {
    begin(Node::Kind::kMapping, mark, tag, style);
  }
  void OnMapEnd() override { end(); }

  int lines_above;
  std::string_view text;
  TextBuffer buffer;
  std::istream stream;
  YAML::Parser parser;
  TreeBuilder builder;
  std::vector<YAML::EmitterStyle::value> styles;  // of the open collections
  int last_scalar = -1;                           // where it stood
  bool checked = false;
  bool first_document = true;
  std::optional<Error> failure;
};

YamlReader::YamlReader(std::string_view text, int first_line) : impl_(std::make_unique<Impl>(text, first_line)) {}
YamlReader::~YamlReader() = default;

Result<std::optional<Node>> YamlReader::next() {
  if (impl_->failure) return fail(*impl_->failure);
  auto document = impl_->read();
  if (!document) impl_->failure = document.error();
  return document;
}

Result<Node> parse_yaml(std::string_view text) {
  YamlReader reader(text);
  TRY_ASSIGN(std::optional<Node> document, reader.next());
  if (!document) {
    Node empty;
    empty.kind = Node::Kind::kMapping;
    empty.mark = {1, 1};
    return empty;
  }
  TRY_ASSIGN(const std::optional<Node> second, reader.next());
  if (second) return malformed(second->mark, "a second document begins here; only one is expected");
  return std::move(*document);
}

}  // namespace fleet::config
