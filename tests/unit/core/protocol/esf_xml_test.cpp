#include "core/protocol/esf_xml.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::protocol;

namespace {

// A document with the given text inside its root.
std::string document(std::string_view inside) {
  return fmt::format(
      "<e:configurations xmlns:e=\"http://eurotech.com/esf/2.0\" xmlns:o=\"urn:other\">{}</e:configurations>", inside);
}

// … inside the properties of its one component.
std::string component(std::string_view inside) {
  return document(fmt::format("<e:configuration pid=\"p\"><e:properties>{}</e:properties></e:configuration>", inside));
}

std::string property(std::string_view type, std::string_view value) {
  return component(fmt::format("<e:property name=\"n\" type=\"{}\"><e:value>{}</e:value></e:property>", type, value));
}

void check_refused(std::string_view xml, std::string_view why, ErrorCode code = ErrorCode::kMalformed) {
  CAPTURE(xml.substr(0, 400));
  const auto result = parse_xml(xml);
  REQUIRE_FALSE(result);
  CAPTURE(result.error().message);
  CHECK(result.error().code == code);
  CHECK(result.error().message.find(why) != std::string::npos);
}

Configurations sample() {
  return {{std::string(kMqttTransportPid),
           {{"broker-url", PropertyType::kString, false, false, {"mqtts://owner.example:8883"}},
            {"keep-alive", PropertyType::kInteger, false, false, {"30"}},
            {"clean-session", PropertyType::kBoolean, false, false, {"true"}},
            {"password", PropertyType::kPassword, false, true, {"a<b>&\"'c]]>"}},
            {"list", PropertyType::kLong, true, false, {"1", "-2", "9223372036854775807"}},
            {"nothing", PropertyType::kString, true, false, {}},
            {"white space", PropertyType::kString, false, false, {" a\tb\nc\r\nd "}},
            {"a\"<&>'\t\n☃", PropertyType::kString, false, false, {"😀 Zürich"}},
            {"empty", PropertyType::kString, false, false, {""}}}},
          {"second_one-2", {}}};
}

}  // namespace

TEST_CASE("configurations come back as they were written") {
  const auto xml = to_xml(sample());
  REQUIRE(xml);
  CHECK(parse_xml(*xml).value() == sample());
  CHECK(parse_xml(to_xml({}).value()).value().empty());
}

TEST_CASE("the document is written with the prefix and namespaces that Kura expects") {
  const auto xml = to_xml({{"PID", {{"N", PropertyType::kString, false, false, {"V"}}}}});
  REQUIRE(xml);
  for (const std::string_view part :
       {"<esf:configurations xmlns:esf=\"http://eurotech.com/esf/2.0\" "
        "xmlns:ocd=\"http://www.osgi.org/xmlns/metatype/v1.2.0\">",
        "<esf:configuration pid=\"PID\">", "<esf:properties>",
        "<esf:property name=\"N\" array=\"false\" encrypted=\"false\" type=\"String\">", "<esf:value>V</esf:value>"}) {
    CAPTURE(part);
    CHECK(xml->find(part) != std::string::npos);
  }
}

TEST_CASE("single values are read by name") {
  const ComponentConfiguration configuration = sample().front();
  CHECK(configuration.value("keep-alive") == "30");
  CHECK(configuration.value("list").empty());
  CHECK(configuration.value("missing").empty());
  CHECK(configuration.find("list")->values.size() == 3);
  CHECK(configuration.find("missing") == nullptr);
}

TEST_CASE("what XML cannot carry or a reader would refuse is not written") {
  const auto refused = [](std::string pid, Property property) {
    const auto xml = to_xml({{std::move(pid), {std::move(property)}}});
    REQUIRE_FALSE(xml);
    CHECK(xml.error().code == ErrorCode::kInvalidArgument);
  };
  for (const std::string& bad :
       {std::string("\0", 1), std::string("\x01"), std::string("\x1f"), std::string("\xff"),
        std::string("\xed\xa0\x80"), std::string("\xef\xbf\xbe"), std::string("\xef\xbf\xbf")}) {
    refused("p", {"n", PropertyType::kString, false, false, {bad}});
    refused("p", {"n" + bad, PropertyType::kString, false, false, {"v"}});
  }
  refused("../p", {"n", PropertyType::kString, false, false, {"v"}});
  refused("p", {"n", PropertyType::kString, false, false, {}});
  refused("p", {"n", PropertyType::kString, false, false, {"a", "b"}});
  refused("p", {"n", PropertyType::kInteger, false, false, {"x"}});
  CHECK_FALSE(to_xml({{"p", {}}, {"p", {}}}));
  const Property property{"n", PropertyType::kString, false, false, {"v"}};
  CHECK_FALSE(to_xml({{"p", {property, property}}}));
  CHECK(to_xml({{"p", {{"n", PropertyType::kString, false, false, {"\x7f"}}}}}));
}

TEST_CASE("any prefix of the namespace is read, and none") {
  const Configurations expected{{"p", {{"n", PropertyType::kString, false, false, {"v"}}}}};
  CHECK(parse_xml(property("String", "v")).value() == expected);
  CHECK(parse_xml("<configurations xmlns=\"http://eurotech.com/esf/2.0\"><configuration pid=\"p\"><properties>"
                  "<property name=\"n\" array=\"false\" type=\"String\"><value>v</value></property>"
                  "</properties></configuration></configurations>")
            .value() == expected);
}

TEST_CASE("values may hold references, CDATA and comments") {
  const auto value = [](std::string_view text) {
    const auto parsed = parse_xml(property("String", text));
    REQUIRE(parsed);
    return parsed->front().properties.front().values.front();
  };
  CHECK(value("a&lt;b&amp;&quot;&#x2603;&#10;") == "a<b&\"☃\n");
  CHECK(value("<![CDATA[<x>&amp;]]>y") == "<x>&amp;y");
  CHECK(value("a<!-- not this -->b") == "ab");
  CHECK(value("") == "");
  CHECK(value("  v ") == "  v ");
}

TEST_CASE("elements and attributes of other namespaces are ignored, those of none are not") {
  const Configurations expected{{"p", {{"n", PropertyType::kString, false, false, {"v"}}}}};
  CHECK(parse_xml(document("<o:x>text<o:y/><e:configuration pid=\"hidden\"/></o:x>"
                           "<e:configuration pid=\"p\" o:pid=\"q\"><o:OCD/><e:properties o:z=\"1\">"
                           "<e:property name=\"n\" type=\"String\" o:type=\"Long\"><o:z>7</o:z><e:value>v</e:value>"
                           "</e:property></e:properties></e:configuration>"))
            .value() == expected);
  check_refused(document("<x/>"), "unexpected element x");
  check_refused(document("<e:x/>"), "unexpected element x");
  check_refused(document("<e:configuration pid=\"p\" x=\"1\"/>"), "unexpected attribute x");
  check_refused(document("<e:configuration e:pid=\"p\"/>"), "unexpected attribute pid");
}

TEST_CASE("documents without the right structure are malformed") {
  check_refused("", "line 1");
  check_refused("text", "line 1");
  check_refused("<configurations/>", "root");
  check_refused("<o:configurations xmlns:o=\"urn:other\"/>", "root");
  check_refused("<e:properties xmlns:e=\"http://eurotech.com/esf/2.0\"/>", "root");
  check_refused(document("") + document(""), "junk");
  check_refused(document("<e:configuration pid=\"p\">"), "mismatched");
  check_refused("<e:configurations xmlns:e=\"http://eurotech.com/esf/2.0\">", "no element");
  check_refused(document("text"), "text outside");
  check_refused(component("text"), "text outside");
  check_refused(document("<e:configuration/>"), "without pid");
  check_refused(document("<e:configuration pid=\"p\"><e:properties/><e:properties/></e:configuration>"), "twice");
  check_refused(document("<e:property name=\"n\" type=\"String\"/>"), "unexpected element property");
  check_refused(component("<e:value>v</e:value>"), "unexpected element value");
  check_refused(property("String", "<e:value/>"), "unexpected element value");
  check_refused(component("<e:property type=\"String\"><e:value/></e:property>"), "without name or type");
  check_refused(component("<e:property name=\"n\"><e:value/></e:property>"), "without name or type");
  check_refused(component("<e:property name=\"n\" type=\"String\"/>"), "no value");
  check_refused(component("<e:property name=\"n\" type=\"String\"><e:value/><e:value/></e:property>"),
                "several values");
  check_refused(component("<e:property name=\"n\" type=\"String\" array=\"1\"><e:value/></e:property>"),
                "true or false");
  check_refused(component("<e:property name=\"n\" type=\"String\" encrypted=\"\"><e:value/></e:property>"),
                "true or false");
  CHECK(parse_xml(document("<e:configuration pid=\"p\"/>")).value().size() == 1);
}

TEST_CASE("pids have their form and come once, property names come once in a component") {
  for (const std::string bad : {"", ".p", "..", "a/b", "a b", "ä", "a\n"}) {
    CHECK_FALSE(is_pid(bad));
    check_refused(document(fmt::format("<e:configuration pid=\"{}\"/>", bad)), "pid");
  }
  CHECK(is_pid(std::string(128, 'a')));
  CHECK_FALSE(is_pid(std::string(129, 'a')));
  check_refused(document("<e:configuration pid=\"p\"/><e:configuration pid=\"p\"/>"), "pid p twice");
  const std::string one = "<e:property name=\"n\" type=\"String\"><e:value/></e:property>";
  check_refused(component(one + one), "property n twice");
  CHECK(parse_xml(document("<e:configuration pid=\"a\"><e:properties>" + one + "</e:properties></e:configuration>" +
                           "<e:configuration pid=\"b\"><e:properties>" + one + "</e:properties></e:configuration>")));
}

TEST_CASE("a document type is refused before anything in it expands") {
  std::string laughs = "<!DOCTYPE lolz [<!ENTITY lol0 \"lol\">";
  for (int i = 1; i < 10; ++i) {
    laughs += fmt::format("<!ENTITY lol{} \"", i);
    for (int k = 0; k < 10; ++k) laughs += fmt::format("&lol{};", i - 1);
    laughs += "\">";
  }
  check_refused(laughs + "]>" + property("String", "&lol9;"), "document type");
  check_refused("<!DOCTYPE x SYSTEM \"file:///etc/passwd\">" + document(""), "document type");
  check_refused("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>" + property("String", "&e;"),
                "document type");
  check_refused(property("String", "&e;"), "undefined entity");
}

TEST_CASE("values are checked against their type and never quoted") {
  struct Case {
    std::string_view type;
    std::vector<std::string_view> good, bad;
  };
  const std::vector<Case> cases{
      {"Integer",
       {"0", "-1", "2147483647", "-2147483648", "007"},
       {"", "2147483648", "-2147483649", "1.0", "0x10", " 1", "1 ", "+1", "--1", "1e3", "one", "99999999999999999999"}},
      {"Long", {"9223372036854775807", "-9223372036854775808"}, {"9223372036854775808", "-9223372036854775809", ""}},
      {"Short", {"32767", "-32768"}, {"32768", "-32769", ""}},
      {"Byte", {"127", "-128"}, {"128", "-129", "a", ""}},
      {"Double",
       {"0", "-1.5", "1e308", ".5", "1.", "NaN", "-Infinity"},
       {"", "1e999", "inf", "nan", "nan(1)", "0x1p3", "1,5", "1.5.2", "e5", "."}},
      {"Float", {"1.5", "3.4e38", "Infinity"}, {"1e39", "x", ""}},
      {"Boolean", {"true", "false"}, {"True", "1", "yes", ""}},
      {"Char", {"a", "ü", "☃"}, {"", "ab", "😀"}},
      {"String", {"", "anything"}, {}},
      {"Password", {"", "anything"}, {}},
  };
  for (const Case& each : cases) {
    CAPTURE(each.type);
    for (const auto value : each.good) {
      CAPTURE(value);
      CHECK(parse_xml(property(each.type, value)));
    }
    for (const auto value : each.bad) {
      CAPTURE(value);
      check_refused(property(each.type, value), fmt::format("property n: its value is not of type {}", each.type));
    }
  }
  const auto secret = parse_xml(property("Integer", "hunter2"));
  REQUIRE_FALSE(secret);
  CHECK(secret.error().message.find("hunter2") == std::string::npos);
  check_refused(property("Secret", "x"), "unknown property type");
  check_refused(property("string", "x"), "unknown property type");
}

TEST_CASE("types are written as they are read") {
  for (int i = 0; i < 10; ++i) {
    const auto type = static_cast<PropertyType>(i);
    CHECK(parse_property_type(to_string(type)).value() == type);
  }
  CHECK(to_string(PropertyType::kPassword) == "Password");
  CHECK_FALSE(parse_property_type("Decimal"));
}

TEST_CASE("control characters and broken text are malformed") {
  check_refused(property("String", "a\x01"), "line 1");
  check_refused(property("String", "&#1;"), "line 1");
  check_refused(property("String", "&#0;"), "line 1");
  check_refused(property("String", "\xff"), "line 1");
  check_refused(property("String", std::string_view("a\0b", 3)), "line 1");
  check_refused(property("String", "\xef\xbf\xbf"), "line 1");
  check_refused("<?xml version=\"1.0\" encoding=\"x-unknown\"?>" + document(""), "encoding");
}

TEST_CASE("errors name line and column") {
  check_refused("\n\n  <x/>", "line 3, column 3: ");
}

TEST_CASE("sizes and counts beyond the limits are refused, at the limits they are not") {
  const auto repeated = [](int count, auto make) {
    std::string text;
    for (int i = 0; i < count; ++i) text += make(i);
    return text;
  };
  const auto make_component = [](int i) { return fmt::format("<e:configuration pid=\"p{}\"/>", i); };
  CHECK(parse_xml(document(repeated(1000, make_component))).value().size() == 1000);
  check_refused(document(repeated(1001, make_component)), "1000 components", ErrorCode::kLimitExceeded);
  const auto make_property = [](int i) {
    return fmt::format("<e:property name=\"{}\" type=\"String\"><e:value/></e:property>", i);
  };
  CHECK(parse_xml(component(repeated(10'000, make_property))).value().front().properties.size() == 10'000);
  check_refused(component(repeated(10'001, make_property)), "10000 properties", ErrorCode::kLimitExceeded);

  const std::size_t around = property("String", "").size();
  CHECK(parse_xml(property("String", std::string(1024 * 1024 - around, 'x'))));
  check_refused(property("String", std::string(1024 * 1024 - around + 1, 'x')), "bytes", ErrorCode::kLimitExceeded);
  // elements nested as deep as the size allows
  CHECK_FALSE(parse_xml(document(repeated(100'000, [](int) { return "<o:x>"; }))));
}
