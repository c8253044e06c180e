#include <string>

#include <doctest/doctest.h>

#include "core/config/node.hpp"

using fleet::ErrorCode;
using fleet::config::Node;
using fleet::config::parse_json;
using fleet::config::parse_yaml;
using fleet::config::to_json;
using Kind = fleet::config::Node::Kind;

namespace {

void check_bad(std::string_view text, const std::string& why) {
  CAPTURE(text);
  const auto node = parse_json(text);
  REQUIRE_FALSE(node);
  CHECK(node.error().code == ErrorCode::kMalformed);
  CAPTURE(node.error().message);
  CHECK(node.error().message.find(why) != std::string::npos);
}

}  // namespace

TEST_CASE("JSON becomes a tree without positions") {
  const auto root = parse_json(R"({"a": "x", "b": [1, true, null, {"c": ""}], "d": 1.50e+3})");
  REQUIRE(root);
  CHECK(root->mark.line == 0);
  CHECK(root->find("a")->quoted);
  const Node& list = *root->find("b");
  REQUIRE(list.items.size() == 4);
  CHECK(list.items[0].text == "1");
  CHECK_FALSE(list.items[0].quoted);
  CHECK(list.items[1].text == "true");
  CHECK_FALSE(list.items[1].quoted);
  CHECK(list.items[2].kind == Kind::kNull);
  CHECK(list.items[3].find("c")->kind == Kind::kScalar);
  CHECK(root->find("d")->text == "1.50e+3");
}

TEST_CASE("JSON written again is the same, numbers to the last digit") {
  for (const std::string text :
       {R"({"a":"x","b":[1,-2,true,false,null],"c":{}})", R"([])", R"("x")",
        R"([0.10,1e400,123456789012345678901234567890])", R"({"q\"\\":"\u0001\n\u001f","ä":"€"})"}) {
    CAPTURE(text);
    const auto node = parse_json(text);
    CAPTURE((node ? "" : node.error().message));
    REQUIRE(node);
    const std::string written = to_json(*node);
    const auto again = parse_json(written);
    REQUIRE(again);
    CHECK(to_json(*again) == written);
    if (text.find("\\n") == std::string::npos) CHECK(written == text);
  }
}

TEST_CASE("YAML written as JSON keeps literals and quotes everything else") {
  const auto node =
      parse_yaml("a: yes\nb: true\nc: 007\nd: \"1\"\ne: 1.5\nf:\ng: .inf\nh: 0x1f\ni: [~, -0]\nj: 2026-11-20\n");
  REQUIRE(node);
  CHECK(
      to_json(*node) ==
      R"({"a":"yes","b":true,"c":"007","d":"1","e":1.5,"f":null,"g":".inf","h":"0x1f","i":[null,-0],"j":"2026-11-20"})");
}

TEST_CASE("JSON that is not strictly JSON is refused") {
  check_bad("", "JSON");
  check_bad("{", "JSON");
  check_bad("[1,]", "byte 3");
  check_bad("{a: 1}", "JSON");
  check_bad("{} {}", "JSON");
  check_bad("{}x", "JSON");
  check_bad("[01]", "JSON");
  check_bad("[NaN]", "JSON");
  check_bad("// c\n{}", "JSON");
  check_bad("'x'", "JSON");
  check_bad("\"\xff\"", "JSON");
  check_bad(R"("\ud800")", "JSON");
  check_bad(R"("a\u0000b")", "NUL");
  check_bad(R"({"a":1,"b":2,"a":3})", "'a' appears twice");
  check_bad(std::string(33, '[') + std::string(33, ']'), "deeper than 32");
  check_bad(std::string(1'000'000, '['), "deeper than 32");
  CHECK(parse_json(std::string(32, '[') + std::string(32, ']')));
}

TEST_CASE("every prefix of a JSON text but the whole is refused") {
  const std::string text = R"({"a":[1,-2.5e-3,"\u00e4",null,true],"b":{"c":"d"}})";
  for (std::size_t i = 0; i < text.size(); ++i) {
    CAPTURE(i);
    CHECK_FALSE(parse_json(std::string_view(text).substr(0, i)));
  }
  CHECK(parse_json(text));
}
