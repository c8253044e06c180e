#include <deque>
#include <sstream>
#include <streambuf>

#include <yaml-cpp/yaml.h>

#include <yaml-cpp/eventhandler.h>

#include "core/base/bytes.hpp"
#include "core/config/node.hpp"

namespace fleet::config {
namespace {

constexpr std::size_t kMaxDepth = 32;

// Reads from memory without a copy; yaml-cpp wants a stream.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    // streambuf has no const flavour; nothing writes through these pointers
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

struct Refused {
  Mark mark;
  std::string why;
};

Mark mark_of(const YAML::Mark& mark) { return Mark{mark.line + 1, mark.column + 1}; }

// Builds one document. Throws Refused, which stops the parser; caught in YamlReader::next.
class TreeBuilder : public YAML::EventHandler {
 public:
  bool has_document() const { return has_document_; }
  Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    place(begin(mark, "", anchor, Node::Kind::kNull));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refused{mark_of(mark), "aliases (*name) are not supported: write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    Node node = begin(mark, tag, anchor, Node::Kind::kScalar);
    // yaml-cpp marks quoted and block scalars with the non-specific tag "!", plain ones with "?"
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    node.text = value;
    if (!node.quoted && is_null_word(value)) {
      node.kind = Node::Kind::kNull;
      node.text.clear();
    }
    place(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(begin(mark, tag, anchor, Node::Kind::kSequence));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(begin(mark, tag, anchor, Node::Kind::kMapping));
  }
  void OnMapEnd() override { close(); }

 private:
  static bool is_null_word(const std::string& text) {
    return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
  }

  Node begin(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Node::Kind kind) {
    has_document_ = true;
    if (anchor != 0) throw Refused{mark_of(mark), "anchors (&name) are not supported: write the value out"};
    if (!tag.empty() && tag != "?" && tag != "!" && !tag.starts_with("tag:yaml.org,2002:")) {
      throw Refused{mark_of(mark), "the tag " + tag + " is not supported: leave it out"};
    }
    Node node;
    node.kind = kind;
    node.mark = mark_of(mark);
    return node;
  }

  void open(Node node) {
    if (open_.size() >= kMaxDepth) throw Refused{node.mark, "nested deeper than 32 levels"};
    open_.push_back({std::move(node), std::nullopt});
  }

  void close() {
    Node node = std::move(open_.back().node);
    open_.pop_back();
    place(std::move(node));
  }

  void place(Node node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = open_.back();
    if (level.node.kind == Node::Kind::kSequence) {
      level.node.items.push_back(std::move(node));
    } else if (!level.key) {
      if (node.kind != Node::Kind::kScalar) throw Refused{node.mark, "a key must be a plain word"};
      if (level.node.find(node.text) != nullptr) {
        throw Refused{node.mark, "the key '" + node.text + "' is given twice"};
      }
      level.key = Node::Entry{std::move(node.text), node.mark, {}};
    } else {
      level.key->value = std::move(node);
      level.node.entries.push_back(std::move(*level.key));
      level.key.reset();
    }
  }

  struct Level {
    Node node;
    std::optional<Node::Entry> key;  // of a mapping: the key whose value comes next
  };
  std::deque<Level> open_;
  Node root_;
  bool has_document_ = false;
};

Failure malformed(const Mark& mark, std::string_view why) {
  return fail(ErrorCode::kMalformed, "{}:{}: {}", mark.line, mark.column, why);
}

}  // namespace

const Node* Node::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

struct YamlReader::Impl {
  explicit Impl(std::string_view text) : text_is_utf8(is_utf8(text)), buffer(text), stream(&buffer) {}
  bool text_is_utf8;
  ViewBuffer buffer;
  std::istream stream;
  std::unique_ptr<YAML::Parser> parser;
};

YamlReader::YamlReader(std::string_view text) : impl_(std::make_unique<Impl>(text)) {}
YamlReader::~YamlReader() = default;

Result<std::optional<Node>> YamlReader::next() {
  if (!impl_->text_is_utf8) return malformed(Mark{1, 1}, "not UTF-8 text");
  try {
    if (!impl_->parser) impl_->parser = std::make_unique<YAML::Parser>(impl_->stream);
    while (true) {
      TreeBuilder builder;
      if (!impl_->parser->HandleNextDocument(builder)) return std::optional<Node>();
      Node node = builder.take();
      if (builder.has_document() && node.kind != Node::Kind::kNull) return std::optional<Node>(std::move(node));
    }
  } catch (const Refused& refused) {
    return malformed(refused.mark, refused.why);
  } catch (const YAML::Exception& error) {
    return malformed(mark_of(error.mark), error.msg);
  } catch (const std::exception& error) {
    return malformed(Mark{1, 1}, error.what());
  }
}

Result<Node> parse_yaml(std::string_view text) {
  YamlReader reader(text);
  TRY_ASSIGN(std::optional<Node> first, reader.next());
  if (!first) {
    Node empty;
    empty.kind = Node::Kind::kMapping;
    empty.mark = Mark{1, 1};
    return empty;
  }
  TRY_ASSIGN(const std::optional<Node> second, reader.next());
  if (second) return malformed(second->mark, "a second document: this file holds one");
  return std::move(*first);
}

}  // namespace fleet::config
