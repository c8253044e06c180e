#include <chrono>
#include <string>

#include <doctest/doctest.h>

#include "core/config/node.hpp"

using fleet::ErrorCode;
using fleet::config::Node;
using fleet::config::parse_yaml;
using fleet::config::YamlReader;
using Kind = fleet::config::Node::Kind;

namespace {

Node good(std::string_view text) {
  auto node = parse_yaml(text);
  CAPTURE(text);
  CAPTURE((node ? "" : node.error().message));
  REQUIRE(node);
  return std::move(*node);
}

// The message of the kMalformed that `text` must give.
std::string bad(std::string_view text) {
  const auto node = parse_yaml(text);
  CAPTURE(text);
  REQUIRE_FALSE(node);
  CHECK(node.error().code == ErrorCode::kMalformed);
  return node.error().message;
}

void check_bad(std::string_view text, const std::string& position, const std::string& why) {
  const std::string message = bad(text);
  CAPTURE(text);
  CAPTURE(message);
  CHECK(message.starts_with(position + ": "));
  CHECK(message.find(why) != std::string::npos);
}

void check_mark(const Node& node, int line, int column) {
  CHECK(node.mark.line == line);
  CHECK(node.mark.column == column);
}

std::string repeated(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

}  // namespace

TEST_CASE("mappings, lists and scalars arrive in order and with their positions") {
  const Node root = good(
      "kind: Account\n"
      "spec:\n"
      "  url: \"mqtts://h\"   # the broker\n"
      "  ports: [1, 22]\n"
      "  list:\n"
      "    - a\n"
      "    - b: c\n"
      "  none:\n"
      "  text: |\n"
      "    one\n"
      "    two\n"
      "last: x\n");
  REQUIRE(root.kind == Kind::kMapping);
  check_mark(root, 1, 1);
  REQUIRE(root.entries.size() == 3);
  CHECK(root.entries[0].key == "kind");
  CHECK(root.entries[2].key_mark.line == 12);
  CHECK(root.entries[2].key_mark.column == 1);
  check_mark(*root.find("kind"), 1, 7);
  const Node& spec = *root.find("spec");
  check_mark(spec, 3, 3);
  check_mark(*spec.find("url"), 3, 8);
  CHECK(spec.find("url")->text == "mqtts://h");
  CHECK(spec.find("url")->quoted);
  const Node& ports = *spec.find("ports");
  REQUIRE(ports.kind == Kind::kSequence);
  check_mark(ports, 4, 10);
  REQUIRE(ports.items.size() == 2);
  check_mark(ports.items[1], 4, 14);
  CHECK(ports.items[1].text == "22");
  CHECK_FALSE(ports.items[1].quoted);
  const Node& list = *spec.find("list");
  check_mark(list.items[0], 6, 7);
  check_mark(list.items[1], 7, 7);
  check_mark(*list.items[1].find("b"), 7, 10);
  CHECK(spec.find("none")->kind == Kind::kNull);
  CHECK(spec.find("none")->mark.line == 8);
  CHECK(spec.find("text")->text == "one\ntwo\n");
  CHECK(spec.find("text")->quoted);
  CHECK(spec.find("absent") == nullptr);
}

TEST_CASE("columns count characters, not bytes") {
  const Node root = good("ключ: значение\nb: {ä: x, ö: y}\n");
  CHECK(root.entries[0].key == "ключ");
  check_mark(root.entries[0].value, 1, 7);
  CHECK(root.find("b")->entries[1].key_mark.column == 11);
  check_mark(*root.find("b")->find("ö"), 2, 14);
  check_bad("äö: *x\n", "1:5", "alias");
}

TEST_CASE("a byte order mark and Windows line ends change nothing") {
  const Node root = good(
      "\xef\xbb\xbf"
      "a: 1\r\nb: 2\r\n");
  CHECK(root.entries[0].key == "a");
  CHECK(root.find("b")->text == "2");
  check_mark(*root.find("a"), 1, 4);
  check_mark(*root.find("b"), 2, 4);
  check_mark(*good("a: 1\r\n\r\nä: 2\r\n").find("ä"), 3, 4);
}

TEST_CASE("null, quoted null and the words of YAML 1.1 are kept apart") {
  const Node root = good("a: null\nb: ~\nc: 'null'\nd: yes\ne: \"\"\nf: 0123\n");
  CHECK(root.find("a")->kind == Kind::kNull);
  CHECK(root.find("b")->kind == Kind::kNull);
  CHECK(root.find("c")->kind == Kind::kScalar);
  CHECK(root.find("c")->quoted);
  CHECK(root.find("d")->text == "yes");
  CHECK_FALSE(root.find("d")->quoted);
  CHECK(root.find("e")->kind == Kind::kScalar);
  CHECK(root.find("e")->text.empty());
  CHECK(root.find("f")->text == "0123");
}

TEST_CASE("standard tags are understood, others refused") {
  const Node root = good("a: !!str 123\nb: !!int 5\nc: !!map {x: y}\n");
  CHECK(root.find("a")->quoted);
  CHECK_FALSE(root.find("b")->quoted);
  check_bad("a: !!binary aGk=\n", "1:4", "tag");
  check_bad("a: !mine x\n", "1:4", "tag");
  check_bad("a:\n  - !!set {x}\n", "2:5", "tag");
}

TEST_CASE("what is ambiguous or dangerous in YAML is refused where it stands") {
  check_bad("a: 1\nb: 2\na: 3\n", "3:1", "'a' appears twice");
  check_bad("x: {a: 1, a: 2}\n", "1:11", "'a' appears twice");
  check_bad("a: &x 1\n", "1:4", "anchors");
  check_bad("b: *x\n", "1:4", "alias");
  check_bad("a: &x {b: c}\nd:\n  <<: *x\n", "1:4", "anchors");
  check_bad("? [a, b]\n: c\n", "1:3", "key");
  check_bad("~: x\n", "1:1", "key must not be null");
}

TEST_CASE("nesting is allowed 32 deep and no deeper") {
  CHECK(good(repeated("[", 32) + repeated("]", 32)).kind == Kind::kSequence);
  check_bad(repeated("[", 33) + repeated("]", 33), "1:33", "deeper than 32");
  std::string block;
  for (int i = 0; i < 40; ++i) block += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  check_bad(block, "33:33", "deeper than 32");
}

TEST_CASE("an empty text is an empty mapping") {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n", "---\n...\n", "null\n", "\xef\xbb\xbf"}) {
    CAPTURE(text);
    const Node root = good(text);
    CHECK(root.kind == Kind::kMapping);
    CHECK(root.entries.empty());
  }
}

TEST_CASE("a second document is refused where one is expected") {
  check_bad("a: 1\n---\nb: 2\n", "3:1", "second document");
  CHECK(good("---\na: 1\n---\n# nothing\n").find("a")->text == "1");
}

TEST_CASE("what stands behind the end of a document is refused, not taken for another one") {
  CHECK(bad("\"x\" y\n").find("1:5") == 0);
  bad("[a] [b]\n");
  bad("{a: b}\nc: d\n");
}

TEST_CASE("tabs do not indent, but may stand between and inside values") {
  check_bad("\ta: 1\n", "1:2", "tabs cannot indent");
  check_bad("a:\n\tb\n", "2:2", "tabs cannot indent");
  check_bad("a:\n\tb: c\n", "2:2", "tabs cannot indent");
  check_bad("a:\n\t- b\n", "2:2", "");
  check_bad("a:\n  b: 1\n \tc: 2\n", "3:2", "tab");
  const Node root = good("a:\tb\nc: |\n  \tx\nd: {\n\te: f}\n");
  CHECK(root.find("a")->text == "b");
  CHECK(root.find("c")->text == "\tx\n");
  CHECK(root.find("d")->find("e")->text == "f");
  CHECK(good("{\n\t\"a\": [\n\t\t1]\n}\n").find("a")->items.size() == 1);
}

TEST_CASE("a text cut off in the middle is refused") {
  check_bad("a: \"open\n", "1:4", "closing quote");
  check_bad("a: 'open\n", "1:4", "closing quote");
  check_bad("a: 'it''s\n", "1:4", "closing quote");
  check_bad("a: \"x\\\"\n", "1:4", "closing quote");
  check_bad("a: !!str  \"open\n", "1:4", "closing quote");
  check_bad("\"key\n", "1:1", "closing quote");
  check_bad("a: 'open''", "1:11", "EOF");
  check_bad("a: [1, 2\n", "1:8", "closing bracket");
  check_bad("a: {b: c\n", "2:1", "end of map");
  check_bad("a: 1\nb\n", "2:1", "':' is missing");
  const Node root = good("a: 'it''s'\nb: ''\nc: \"\\\"\"\nd: \"\"\ne: '\\'\nf: !!str \"x\"\n'g': \"a'b\"\n");
  CHECK(root.find("a")->text == "it's");
  CHECK(root.find("c")->text == "\"");
  CHECK(root.find("e")->text == "\\");
  CHECK(root.find("g")->text == "a'b");
}

TEST_CASE("broken YAML is refused with its position") {
  check_bad("a: b: c\n", "1:5", "");
  check_bad("a: @x\n", "1:4", "");
  check_bad("a: `x\n", "1:4", "");
  check_bad("- a\nb: c\n", "2:1", "does not belong");
  check_bad("%YAML 3.0\n---\na: b\n", "1:1", "");
  check_bad("a: \"\\q\"\n", "1:7", "escape");
  check_bad("a: \"\\ud800\"\n", "1:11", "unicode");
  check_bad("a: !<\n", "1:6", "tag");
  check_bad("&\n", "1:2", "anchor");
  check_bad("*\n", "1:2", "alias");
  check_bad("a: 1\n b: 2\n", "2:3", "");
}

TEST_CASE("bytes that are not text are refused where they stand") {
  check_bad("a: \xff\xfe\n", "1:4", "UTF-8");
  check_bad("ok: 1\nä: \xc0\xaf\n", "2:4", "UTF-8");
  check_bad("a: b\xe2\x82", "1:5", "UTF-8");
  check_bad(
      "\xff\xfe"
      "a:",
      "1:1", "UTF-8");
  check_bad(std::string_view("a: b\0c\n", 7), "1:5", "0x00");
  check_bad("a: 1\nb: 2\x04\nc: 3\n", "2:5", "0x04");
  check_bad("a: \x1b[31m\n", "1:4", "0x1b");
  check_bad("a: \"x\\0y\"\n", "1:4", "NUL");
}

TEST_CASE("hostile sizes are read or refused in reasonable time") {
  const auto start = std::chrono::steady_clock::now();
  CHECK(good("a: \"" + std::string(4'000'000, 'x') + "\"\n").find("a")->text.size() == 4'000'000);
  CHECK(good("a: " + std::string(1'000'000, 'x') + "\n").find("a")->text.size() == 1'000'000);
  bad(std::string(1'000'000, '['));
  bad(std::string(1'000'000, '{'));
  bad(repeated("- ", 100'000));
  bad(repeated("? ", 100'000));
  bad(repeated("a: ", 10'000));
  bad(std::string(100'000, '*'));
  bad(std::string(100'000, '&'));
  std::string wide;
  for (int i = 0; i < 20'000; ++i) wide += "k" + std::to_string(i) + ": v\n";
  CHECK(good(wide).entries.size() == 20'000);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));
}

TEST_CASE("no prefix and no single altered byte of a document makes the reader crash") {
  const std::string text =
      "kind: X # c\nmeta: {a: 'b', \"c\": [1, ~]}\nspec:\n  - |\n    t\n  - >-\n   u\n---\n!!str x: &a y\n...\n";
  for (std::size_t i = 0; i <= text.size(); ++i) {
    YamlReader reader(std::string_view(text).substr(0, i));
    for (int n = 0; n < 4; ++n) static_cast<void>(reader.next());
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const char c :
         {'\0', '\t', '\n', ' ', '"', '\'', '[', ']', '{', '}', ':', '-', '&', '*', '!', '|', '%', '\xff'}) {
      std::string altered = text;
      altered[i] = c;
      YamlReader reader(altered);
      for (int n = 0; n < 4; ++n) static_cast<void>(reader.next());
    }
  }
}

TEST_CASE("documents are read one at a time; after an error there is nothing more") {
  const std::string text = "a: 1\n---\n---\nb: 2\n---\nc: *x\n---\nd: 4\n";
  YamlReader reader(text);
  auto document = reader.next();
  REQUIRE(document);
  CHECK((*document)->find("a") != nullptr);
  document = reader.next();
  REQUIRE(document);
  REQUIRE(*document);
  CHECK((*document)->find("b") != nullptr);
  check_mark(*(*document)->find("b"), 4, 4);
  for (int i = 0; i < 3; ++i) {
    document = reader.next();
    REQUIRE_FALSE(document);
    CHECK(document.error().message.starts_with("6:4: "));
  }
}

TEST_CASE("a stream of 100,000 documents is read to its end") {
  const std::string one = "---\nkind: ProvisionRequest\nname: gw-000001\nspec: {profile: p, labels: {site: a}}\n";
  const std::string text = repeated(one, 100'000);
  const auto start = std::chrono::steady_clock::now();
  YamlReader reader(text);
  int count = 0, last_line = 0;
  while (true) {
    const auto document = reader.next();
    REQUIRE(document);
    if (!*document) break;
    ++count;
    last_line = (*document)->mark.line;
  }
  CHECK(count == 100'000);
  CHECK(last_line == 4 * 100'000 - 2);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(60));
  CHECK_FALSE(*reader.next());
}
