#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/config/node.hpp"

using namespace fleet::config;

namespace {

// The same values, whatever their marks and quotes.
std::string values_of(const Node& node) { return to_json(node); }

Node json(const std::string& text) {
  auto node = parse_json(text);
  REQUIRE_MESSAGE(node.has_value(), text);
  return std::move(*node);
}

void check_round_trip(const std::string& text) {
  const Node node = json(text);
  const std::string yaml = to_yaml(node);
  CAPTURE(yaml);
  auto back = parse_yaml(yaml);
  REQUIRE_MESSAGE(back.has_value(), (back ? "" : back.error().message));
  CHECK(values_of(*back) == values_of(node));
}

}  // namespace

TEST_CASE("YAML is written for people: bare words, numbers, blocks of lines") {
  const Node node = json(R"({"kind":"Account","spec":{"ca":"-----BEGIN X-----\nabc\n-----END X-----\n","port":8883,)"
                         R"("name":"08","tags":["a",{"b":1.0,"c":null}],"none":[],"empty":{}}})");
  CHECK(to_yaml(node) ==
        "kind: Account\nspec:\n  ca: |\n    -----BEGIN X-----\n    abc\n    -----END X-----\n  port: 8883\n"
        "  name: \"08\"\n  tags:\n    - a\n    - b: 1.0\n      c: null\n  none: []\n  empty: {}\n");
}

TEST_CASE("whatever JSON can hold comes back from YAML as the same values") {
  for (const std::string& text : std::vector<std::string>{
           R"({"a":"b"})", R"({})", R"([])", R"([1,[2,[3,"4"]],{"k":[{"l":[]}]}])", R"("only a text")", R"(7)",
           R"({"s":["", " ", "a ", " a", "a: b", "a:", "#a", "a #b", "- a", "-", "?", "!t", "&a", "*a", "%", "@", "`"]})",
           R"({"s":["true","False","NULL","~","Yes","off","1","1.0","0x1f","1e5",".5","+5","2026-11-21","12:30"]})",
           R"({"s":["a\nb","a\nb\n","a\n\nb\n\n","\na","  a\nb","a \nb","a\n b\n","\n","\t","a\tb\nc","a\r\nb"]})",
           R"({"s":["ü","\u0001","\u007f","\u2028","\"quoted\"","back\\slash","${labels.site}","{a}","[a]","a,b"]})",
           R"({"true":1,"1":2,"a b":3,"a:":4,"":5,"ä":6,"/dev/tty":7,"x.y-z":8,"multi\nline":9})"}) {
    check_round_trip(text);
  }
}

TEST_CASE("what looks like another type stays the text that it was") {
  auto back = parse_yaml(to_yaml(json(R"({"a":"true","b":"5","c":"no","d":true,"e":5})")));
  REQUIRE(back);
  for (const char* key : {"a", "b", "c"}) CHECK(back->find(key)->quoted);
  for (const char* key : {"d", "e"}) CHECK_FALSE(back->find(key)->quoted);
}
