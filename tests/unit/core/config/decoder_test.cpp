#include "core/config/decoder.hpp"

#include <limits>
#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "core/base/bytes.hpp"

using fleet::ErrorCode;
using fleet::Millis;
using fleet::WallTime;
using fleet::config::Node;
using fleet::config::Object;
using fleet::config::parse_yaml;
using fleet::config::Problems;

namespace {

Node parsed(std::string_view text) {
  auto node = parse_yaml(text);
  REQUIRE(node);
  return std::move(*node);
}

struct Document {
  explicit Document(std::string_view text) : root(parsed(text)), problems("file.yaml"), object(root, "", problems) {}
  std::string only_problem() const {
    REQUIRE(problems.list().size() == 1);
    return problems.list()[0].str();
  }

  Node root;
  Problems problems;
  Object object;
};

// Reads `text` as the T under "k"; the problem, or "" if there is none.
template <typename T>
std::string read(const std::string& text, T& target) {
  Document document("k: " + text + "\n");
  const bool read = document.object.required("k", target);
  CHECK(read == document.problems.empty());
  return read ? "" : document.only_problem();
}

template <typename T>
void check_reads(const std::string& text, T expected) {
  CAPTURE(text);
  T value{};
  CHECK(read(text, value) == "");
  CHECK(value == expected);
}

template <typename T>
void check_refuses(const std::string& text, const std::string& why) {
  CAPTURE(text);
  T value{};
  const T before = value;
  const std::string problem = read(text, value);
  CAPTURE(problem);
  CHECK(problem.starts_with("file.yaml:1:4: k: "));
  CHECK(problem.find(why) != std::string::npos);
  CHECK(value == before);
}

}  // namespace

TEST_CASE("every type is read from what YAML writes for it") {
  check_reads<std::string>("abc", "abc");
  check_reads<std::string>("007", "007");
  check_reads<std::string>("true", "true");
  check_reads<std::string>("\"\"", "");
  check_reads<bool>("true", true);
  check_reads<bool>("false", false);
  check_reads<std::int64_t>("-9223372036854775808", std::numeric_limits<std::int64_t>::min());
  check_reads<std::int64_t>("+7", 7);
  check_reads<int>("0", 0);
  check_reads<int>("2147483647", 2147483647);
  check_reads<double>("1.5", 1.5);
  check_reads<double>("-2", -2.0);
  check_reads<double>("1e3", 1000.0);
  check_reads<Millis>("5m", Millis(300'000));
  check_reads<Millis>("90", Millis(90'000));
  check_reads<WallTime>("2026-11-20T10:21:35Z", *fleet::parse_time("2026-11-20T10:21:35Z"));
  check_reads<WallTime>("\"2026-11-20\"", *fleet::parse_time("2026-11-20"));
}

TEST_CASE("what looks like another type is refused and leaves the target alone") {
  check_refuses<bool>("yes", "expected true or false, not 'yes'");
  check_refuses<bool>("on", "expected true or false");
  check_refuses<bool>("True", "expected true or false");
  check_refuses<bool>("\"true\"", "not the text 'true'");
  check_refuses<bool>("1", "expected true or false");
  check_refuses<int>("0123", "begins with a zero");
  check_refuses<int>("-01", "begins with a zero");
  check_refuses<int>("0x1f", "expected an integer");
  check_refuses<int>("0o17", "expected an integer");
  check_refuses<int>("1_000", "expected an integer");
  check_refuses<int>("1.0", "expected an integer");
  check_refuses<int>("1e3", "expected an integer");
  check_refuses<int>("\"5\"", "not the text '5'");
  check_refuses<int>("2147483648", "out of range");
  check_refuses<int>("-2147483649", "out of range");
  check_refuses<int>("+-5", "expected an integer");
  check_refuses<int>("\"-\"", "expected");
  check_refuses<std::int64_t>("9223372036854775808", "out of range");
  check_refuses<std::int64_t>("99999999999999999999999999", "out of range");
  check_refuses<double>(".inf", "expected a number");
  check_refuses<double>(".nan", "expected a number");
  check_refuses<double>("01.5", "expected a number");
  check_refuses<double>("1e999", "out of range");
  check_refuses<double>("1:30", "expected a number");
  check_refuses<Millis>("soon", "expected a duration such as 90s");
  check_refuses<Millis>("-5m", "expected a duration");
  check_refuses<WallTime>("tomorrow", "expected a time such as");
  check_refuses<std::string>("[a]", "expected a text, not a list");
  check_refuses<std::string>("{a: b}", "expected a text, not a mapping");
  check_refuses<int>("{a: b}", "expected an integer, not a mapping");
}

TEST_CASE("a long or unprintable value is not repeated in full") {
  std::string problem = "";
  int value = 0;
  problem = read(std::string(1000, 'x'), value);
  CHECK(problem.size() < 120);
  problem = read("\"" + std::string(39, 'x') + "ääää\\e[31m\"", value);
  CHECK(problem.find('\x1b') == std::string::npos);
  CHECK(fleet::is_utf8(problem));
}

TEST_CASE("all problems are told at once, each with file, line, column and path") {
  Document document(
      "broker-ulr: mqtts://h\n"
      "retries: many\n"
      "spec:\n"
      "  timeout: 5 minutes\n"
      "  labels:\n"
      "    site.a: [x]\n"
      "  extra: 1\n");
  std::string url;
  int retries = 3;
  Millis timeout{7};
  std::vector<std::pair<std::string, std::string>> labels;
  document.object.required("broker-url", url);
  document.object.optional("retries", retries);
  {
    const Node* const spec = document.object.require("spec");
    REQUIRE(spec != nullptr);
    Object object(*spec, document.object.path("spec"), document.problems);
    object.optional("timeout", timeout);
    object.optional_map("labels", labels);
    object.finish();
  }
  document.object.finish();
  CHECK(retries == 3);
  CHECK(timeout == Millis(7));
  CHECK(labels.empty());
  const auto result = document.problems.result();
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kInvalidArgument);
  CHECK(result.error().message ==
        "file.yaml:1:1: broker-url: is missing\n"
        "file.yaml:2:10: retries: expected an integer, not 'many'\n"
        "file.yaml:4:12: spec.timeout: expected a duration such as 90s, 5m, 36h or 365d, not '5 minutes'\n"
        "file.yaml:6:13: spec.labels['site.a']: expected a text, not a list\n"
        "file.yaml:7:3: spec.extra: unknown key\n"
        "file.yaml:1:1: broker-ulr: unknown key; did you mean broker-url?");
}

TEST_CASE("a document without problems is Ok and reads what is there") {
  Document document("a: 1\nb: ~\nlist: [x, 2]\nmap: {k: v, n: 1}\nempty: {}\n");
  int a = 0;
  std::optional<int> b, c, d;
  std::vector<std::string> list, none{"kept"};
  std::vector<std::pair<std::string, std::string>> map, empty{{"x", "y"}};
  CHECK(document.object.required("a", a));
  CHECK(document.object.optional("a", d));
  CHECK_FALSE(document.object.optional("b", b));
  CHECK_FALSE(document.object.optional("c", c));
  CHECK(document.object.optional_list("list", list));
  CHECK_FALSE(document.object.optional_list("none", none));
  CHECK(document.object.optional_map("map", map));
  CHECK(document.object.optional_map("empty", empty));
  document.object.finish();
  CHECK(document.problems.result());
  CHECK(a == 1);
  CHECK(d == 1);
  CHECK_FALSE(b);
  CHECK(list == std::vector<std::string>{"x", "2"});
  CHECK(none == std::vector<std::string>{"kept"});
  CHECK(map == std::vector<std::pair<std::string, std::string>>{{"k", "v"}, {"n", "1"}});
  CHECK(empty.empty());
}

TEST_CASE("an explicit null counts as absent") {
  Document document("k: ~\n");
  std::string value = "before";
  CHECK_FALSE(document.object.required("k", value));
  CHECK(value == "before");
  CHECK(document.only_problem() == "file.yaml:1:4: k: is missing");
}

TEST_CASE("lists and maps of the wrong kind are refused item by item") {
  Document document("list: [a, [b], ~]\nmap: {a: ~}\nother: x\n");
  std::vector<std::string> list;
  std::vector<std::pair<std::string, std::string>> map;
  CHECK_FALSE(document.object.optional_list("list", list));
  CHECK_FALSE(document.object.optional_map("map", map));
  CHECK_FALSE(document.object.optional_list("other", list));
  CHECK_FALSE(document.object.optional_map("other", map));
  REQUIRE(document.problems.list().size() == 5);
  CHECK(document.problems.list()[0].str() == "file.yaml:1:11: list[1]: expected a text, not a list");
  CHECK(document.problems.list()[1].str() == "file.yaml:1:16: list[2]: expected a text, not nothing");
  CHECK(document.problems.list()[2].str() == "file.yaml:2:10: map.a: expected a text, not nothing");
  CHECK(document.problems.list()[3].str() == "file.yaml:3:8: other: expected a list of texts, not 'x'");
}

TEST_CASE("where a mapping belongs, something else is one problem and not many") {
  const Node root = parsed("- a\n");
  Problems problems;
  Object object(root, "spec", problems);
  std::string text;
  CHECK_FALSE(object.required("a", text));
  CHECK_FALSE(object.required("b", text));
  object.finish();
  REQUIRE(problems.list().size() == 1);
  CHECK(problems.list()[0].str() == "1:1: spec: expected a mapping, not a list");
}

TEST_CASE("a problem without file or position says what is known") {
  Problems problems;
  problems.add({}, "a.b", "why");
  problems.add({}, "", "why");
  CHECK(problems.list()[0].str() == "a.b: why");
  CHECK(problems.list()[1].str() == "why");
}

TEST_CASE("a caller's own problem stands at the value, or at the object without one") {
  Document document("a: 1\nb: {c: 2}\n");
  document.object.problem("b", "must be less");
  document.object.problem("z", "must be there");
  CHECK(document.problems.list()[0].str() == "file.yaml:2:4: b: must be less");
  CHECK(document.problems.list()[1].str() == "file.yaml:1:1: z: must be there");
}
