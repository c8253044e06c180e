// Component configurations as XML (edc §4.6): the body of CONF-V1 PUT configurations.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"

namespace fleet::protocol {

enum class PropertyType { kString, kLong, kDouble, kFloat, kInteger, kByte, kChar, kBoolean, kShort, kPassword };

// "String", "Long", … as in the XML; kMalformed for another name.
std::string_view to_string(PropertyType type);
Result<PropertyType> parse_property_type(std::string_view name);

struct Property {
  std::string name;
  PropertyType type = PropertyType::kString;
  bool array = false;
  bool encrypted = false;
  std::vector<std::string> values;  // exactly one unless `array`
  friend bool operator==(const Property&, const Property&) = default;
};

struct ComponentConfiguration {
  std::string pid;
  std::vector<Property> properties;

  const Property* find(std::string_view name) const;
  // The single value of a property, or an empty view.
  std::string_view value(std::string_view name) const;
  friend bool operator==(const ComponentConfiguration&, const ComponentConfiguration&) = default;
};

using Configurations = std::vector<ComponentConfiguration>;

inline constexpr std::string_view kMqttTransportPid = "org.eclipse.kura.core.data.transport.mqtt.MqttDataTransport";

// [A-Za-z0-9._-]{1,128}, not beginning with a dot: a pid becomes a file name.
bool is_pid(std::string_view text);

// True if `value` is a valid literal of `type` (e.g. Integer is a 32-bit decimal number, Boolean true or false).
bool is_value_of(PropertyType type, std::string_view value);

// Writes the literal prefix `esf:` and escapes. kInvalidArgument for characters that XML 1.0 cannot carry and for
// whatever else parse_xml would refuse but for its limits, so that what is written can be read.
Result<std::string> to_xml(const Configurations& configurations);

// Reads any prefix bound to the esf namespace; ignores elements and attributes of other namespaces. kMalformed, with
// line and column, for anything else: no document type (so no entities), pids by their form and unique, property names
// unique in a component, values of their type. kLimitExceeded above 1 MiB, 1,000 components or 10,000 properties.
Result<Configurations> parse_xml(std::string_view xml);

}  // namespace fleet::protocol
