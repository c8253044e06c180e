#include "core/protocol/esf_xml.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <set>
#include <vector>

namespace fleet::protocol {
namespace {

constexpr std::array<std::string_view, 10> kTypeNames{"String", "Long", "Double",  "Float", "Integer",
                                                      "Byte",   "Char", "Boolean", "Short", "Password"};
constexpr std::size_t kMaxPid = 128;
// What a property takes, names and values of the usual length included.
constexpr std::size_t kUsualProperty = 192;

template <typename T>
bool is_number(std::string_view text) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

template <typename T>
bool is_real(std::string_view text) {
  if (text == "NaN" || text == "Infinity" || text == "-Infinity") return true;
  // from_chars alone would also take inf, nan(…) and their other spellings
  return text.find_first_not_of("0123456789.-+eE") == std::string_view::npos && is_number<T>(text);
}

// One UTF-16 unit, as a Java char is: one character of the Basic Multilingual Plane, at most three bytes of UTF-8.
bool is_char(std::string_view text) {
  const auto is_first_byte = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; };
  return text.size() <= 3 && std::count_if(text.begin(), text.end(), is_first_byte) == 1;
}

// XML 1.0 §2.2: no control characters but tab and line ends, no U+FFFE and U+FFFF. `text` is UTF-8.
bool fits_xml(std::string_view text) {
  const bool control = std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n' && c != '\r';
  });
  return !control && text.find("\xef\xbf\xbe") == std::string_view::npos &&
         text.find("\xef\xbf\xbf") == std::string_view::npos;
}

std::string_view escape_of(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\t':
      return "&#9;";
    case '\n':
      return "&#10;";
    case '\r':
      return "&#13;";
    default:
      return {};
  }
}

// For text and attribute values alike. White space but the blank goes as a reference: parsers normalise it otherwise.
void append_escaped(std::string& xml, std::string_view text) {
  std::size_t written = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::string_view escape = escape_of(text[i]);
    if (escape.empty()) continue;
    xml.append(text, written, i - written);
    xml += escape;
    written = i + 1;
  }
  xml.append(text, written);
}

Result<void> check_text(std::string_view text) {
  // as nearly all is
  if (std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; })) return {};
  if (!is_utf8(text)) return fail(ErrorCode::kInvalidArgument, "not UTF-8");
  if (!fits_xml(text)) return fail(ErrorCode::kInvalidArgument, "a character that XML cannot carry");
  return {};
}

Result<void> check(const Property& property) {
  TRY(check_text(property.name));
  for (const std::string& value : property.values) {
    TRY(check_text(value));
    if (!is_value_of(property.type, value)) {
      return fail(ErrorCode::kInvalidArgument, "property {}: its value is not of type {}", property.name,
                  to_string(property.type));
    }
  }
  if (!property.array && property.values.size() != 1) {
    return fail(ErrorCode::kInvalidArgument, "property {}: has {} values, but is no array", property.name,
                property.values.size());
  }
  return {};
}

std::optional<std::string_view> repeated_name(const ComponentConfiguration& component) {
  std::vector<std::string_view> names;
  names.reserve(component.properties.size());
  for (const Property& property : component.properties) names.push_back(property.name);
  std::sort(names.begin(), names.end());
  const auto at = std::adjacent_find(names.begin(), names.end());
  return at == names.end() ? std::nullopt : std::optional(*at);
}

void append(std::string& xml, const Property& property) {
  xml += "    <esf:property name=\"";
  append_escaped(xml, property.name);
  xml += property.array ? "\" array=\"true" : "\" array=\"false";
  xml += property.encrypted ? "\" encrypted=\"true\" type=\"" : "\" encrypted=\"false\" type=\"";
  xml += to_string(property.type);
  xml += "\">\n";
  for (const std::string& value : property.values) {
    xml += "      <esf:value>";
    append_escaped(xml, value);
    xml += "</esf:value>\n";
  }
  xml += "    </esf:property>\n";
}

}  // namespace

std::string_view to_string(PropertyType type) {
  return kTypeNames[static_cast<std::size_t>(type)];
}

Result<PropertyType> parse_property_type(std::string_view name) {
  const auto at = std::find(kTypeNames.begin(), kTypeNames.end(), name);
  if (at == kTypeNames.end()) {
    return fail(ErrorCode::kMalformed, "unknown property type: use one of {}", fmt::join(kTypeNames, ", "));
  }
  return static_cast<PropertyType>(at - kTypeNames.begin());
}

const Property* ComponentConfiguration::find(std::string_view name) const {
  const auto at = std::find_if(properties.begin(), properties.end(), [&](const Property& p) { return p.name == name; });
  return at == properties.end() ? nullptr : &*at;
}

std::string_view ComponentConfiguration::value(std::string_view name) const {
  const Property* property = find(name);
  return property == nullptr || property->values.size() != 1 ? std::string_view() : property->values.front();
}

bool is_pid(std::string_view text) {
  return !text.empty() && text.size() <= kMaxPid && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                  c == '-';
         });
}

bool is_value_of(PropertyType type, std::string_view value) {
  switch (type) {
    case PropertyType::kString:
    case PropertyType::kPassword:
      return true;
    case PropertyType::kLong:
      return is_number<std::int64_t>(value);
    case PropertyType::kInteger:
      return is_number<std::int32_t>(value);
    case PropertyType::kShort:
      return is_number<std::int16_t>(value);
    case PropertyType::kByte:
      return is_number<std::int8_t>(value);
    case PropertyType::kDouble:
      return is_real<double>(value);
    case PropertyType::kFloat:
      return is_real<float>(value);
    case PropertyType::kChar:
      return is_char(value);
    case PropertyType::kBoolean:
      return value == "true" || value == "false";
  }
  return false;
}

Result<std::string> to_xml(const Configurations& configurations) {
  std::string xml =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<esf:configurations xmlns:esf=\"http://eurotech.com/esf/2.0\" "
      "xmlns:ocd=\"http://www.osgi.org/xmlns/metatype/v1.2.0\">\n";
  std::size_t properties = 2;
  for (const ComponentConfiguration& component : configurations) properties += component.properties.size() + 1;
  xml.reserve(properties * kUsualProperty);
  std::set<std::string_view> pids;
  for (const ComponentConfiguration& component : configurations) {
    if (!is_pid(component.pid)) return fail(ErrorCode::kInvalidArgument, "configuration: a pid without its form");
    const auto failed = [&](Error error) { return fail(with_context(std::move(error), component.pid)); };
    if (!pids.insert(component.pid).second) return failed({ErrorCode::kInvalidArgument, "configured twice"});
    xml += "<esf:configuration pid=\"";
    xml += component.pid;
    xml += "\">\n  <esf:properties>\n";
    for (const Property& property : component.properties) {
      if (auto fine = check(property); !fine) return failed(std::move(fine).error());
      append(xml, property);
    }
    if (const auto name = repeated_name(component)) {
      return failed({ErrorCode::kInvalidArgument, fmt::format("property {} is there twice", *name)});
    }
    xml += "  </esf:properties>\n</esf:configuration>\n";
  }
  xml += "</esf:configurations>\n";
  return xml;
}

}  // namespace fleet::protocol
