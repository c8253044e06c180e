#include <doctest/doctest.h>

#include "provisioner/manifest/properties.hpp"
#include "tests/unit/provisioner/manifest/platform.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
using protocol::PropertyType;

namespace {

protocol::Configurations decode_yaml(const std::string& yaml, config::Problems& problems) {
  return decode_configurations(parse(yaml).at(0), "spec.configuration", problems);
}

// The only property of `{org.example.Component: {p: VALUE}}`.
protocol::Property property_of(const std::string& value) {
  CAPTURE(value);
  config::Problems problems;
  const auto configurations = decode_yaml("org.example.Component: {p: " + value + "}\n", problems);
  REQUIRE(problems.empty());
  REQUIRE(configurations.size() == 1);
  REQUIRE(configurations[0].properties.size() == 1);
  return configurations[0].properties[0];
}

std::string problem_of(const std::string& value) {
  CAPTURE(value);
  config::Problems problems;
  decode_yaml("org.example.Component: {p: " + value + "}\n", problems);
  REQUIRE(problems.list().size() == 1);
  return problems.list()[0].path + ": " + problems.list()[0].why;
}

}  // namespace

TEST_CASE("the type of a property follows from how its value is written") {
  CHECK(property_of("30").type == PropertyType::kInteger);
  CHECK(property_of("-2147483648").type == PropertyType::kInteger);
  CHECK(property_of("2147483648").type == PropertyType::kLong);
  CHECK(property_of("9223372036854775807").type == PropertyType::kLong);
  CHECK(property_of("true").type == PropertyType::kBoolean);
  CHECK(property_of("1.5").type == PropertyType::kDouble);
  CHECK(property_of("1e3").type == PropertyType::kDouble);
  CHECK(property_of("hello").type == PropertyType::kString);
  CHECK(property_of("\"30\"").type == PropertyType::kString);
  CHECK(property_of("'true'").type == PropertyType::kString);
  CHECK(property_of("10.0.0.1").type == PropertyType::kString);
  CHECK(property_of("1.2.3").type == PropertyType::kString);
  CHECK(property_of("2026-11-20").type == PropertyType::kString);
  CHECK(property_of("True").type == PropertyType::kString);
  CHECK(property_of("nan").type == PropertyType::kString);
  CHECK(property_of("\"\"").values == std::vector<std::string>{""});
}

TEST_CASE("a value is kept as it was written") {
  CHECK(property_of("1.0").values == std::vector<std::string>{"1.0"});
  CHECK(property_of("1.10").values == std::vector<std::string>{"1.10"});
  CHECK(property_of("1e3").values == std::vector<std::string>{"1e3"});
}

TEST_CASE("a type that is said counts, and its value must fit") {
  const auto password = property_of("{type: Password, value: hunter2}");
  CHECK(password.type == PropertyType::kPassword);
  CHECK(password.values == std::vector<std::string>{"hunter2"});
  CHECK(property_of("{type: Byte, value: 127}").type == PropertyType::kByte);
  CHECK(property_of("{type: Float, value: 1}").type == PropertyType::kFloat);
  CHECK(property_of("{type: String, value: 5}").type == PropertyType::kString);
  CHECK(problem_of("{type: Byte, value: 128}") ==
        "spec.configuration.org.example.Component.p.value: '128' is not of type Byte");
  CHECK(problem_of("{type: Number, value: 1}")
            .starts_with("spec.configuration.org.example.Component.p.type: unknown property type"));
  CHECK(problem_of("{type: String}") == "spec.configuration.org.example.Component.p.value: is missing");
  CHECK(problem_of("{typ: String, type: String, value: a}")
            .starts_with("spec.configuration.org.example.Component.p.typ: unknown key"));
}

TEST_CASE("numbers that are not numbers to everybody are refused") {
  for (const std::string value : {"0123", "+5", ".5", "5.", "-.5", "00", "+1.5", "01.5"}) {
    CHECK(problem_of(value) == "spec.configuration.org.example.Component.p: '" + value +
                                   "': write the number plainly, or the text in quotes");
    CHECK(property_of("\"" + value + "\"").type == PropertyType::kString);
  }
}

TEST_CASE("a value means the same when it went through JSON") {
  for (const std::string value :
       {"30", "2147483648", "true", "1.50", "1e3", "hello", "\"30\"", "[1, 2]", "{type: Long, value: 5}", "True", "-0",
        "123456789012345678901234567890", "0x10", "1_000", "[1.5, 2]"}) {
    CAPTURE(value);
    const config::Node node = parse("org.example.Component: {p: " + value + "}\n").at(0);
    const auto again = config::parse_json(config::to_json(node));
    REQUIRE(again.has_value());
    config::Problems problems;
    CHECK(decode_configurations(node, "", problems) == decode_configurations(*again, "", problems));
    CHECK(problems.empty());
  }
}

TEST_CASE("a list is an array of one type") {
  const auto numbers = property_of("[1, 2, 3]");
  CHECK(numbers.array);
  CHECK(numbers.type == PropertyType::kInteger);
  CHECK(numbers.values == std::vector<std::string>{"1", "2", "3"});
  const auto none = property_of("[]");
  CHECK(none.array);
  CHECK(none.values.empty());
  CHECK(property_of("{type: Long, value: [1, 2]}").type == PropertyType::kLong);
  CHECK(problem_of("[1, two]") == "spec.configuration.org.example.Component.p: 'two' is not of type Integer");
  CHECK(problem_of("[[1]]").starts_with("spec.configuration.org.example.Component.p: must be a value"));
}

TEST_CASE("a template is checked when it is rendered, not before") {
  CHECK(property_of("{type: Integer, value: \"${params.port}\"}").values == std::vector<std::string>{"${params.port}"});
  CHECK(property_of("\"${clientId}\"").type == PropertyType::kString);
}

TEST_CASE("a password of the wrong shape is not told") {
  config::Problems problems;
  decode_yaml("org.example.Component: {p: {type: Password, value: {hidden-word: 1}}}\n", problems);
  REQUIRE(problems.list().size() == 1);
  CHECK(problems.list()[0].str().find("hidden-word") == std::string::npos);
}

TEST_CASE("components are mappings under proper pids") {
  config::Problems problems;
  decode_yaml("a/b: {p: 1}\n.hidden: {p: 1}\nmissing:\nlist: [1]\ngood.One: {p: null}\n", problems);
  REQUIRE(problems.list().size() == 5);
  CHECK(problems.list()[0].str().starts_with("1:1: spec.configuration.a/b: a pid is"));
  CHECK(problems.list()[1].str().starts_with("2:1: spec.configuration..hidden: a pid is"));
  CHECK(problems.list()[2].path == "spec.configuration.missing");
  CHECK(problems.list()[3].path == "spec.configuration.list");
  CHECK(problems.list()[4].path == "spec.configuration.good.One.p");
}
