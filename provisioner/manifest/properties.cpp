#include "provisioner/manifest/properties.hpp"

#include <charconv>
#include <optional>

namespace fleet::provisioner {
namespace {

using protocol::PropertyType;

bool is_template(const std::string& text) {
  return text.find("${") != std::string::npos;
}

// A number that YAML and JSON write alike, and no longer than they can carry: 0123 and .5 are none.
bool is_plain_number(const config::Node& scalar) {
  return config::to_json(scalar) == scalar.text && scalar.text.find_first_of("0123456789") != std::string::npos;
}

// 0123, +5, .5: a number to some, a text to others.
bool is_doubtful(const config::Node& scalar) {
  static constexpr std::string_view kNumberLike = "+-0123456789.eE";
  if (scalar.quoted || is_plain_number(scalar) || scalar.text.find_first_not_of(kNumberLike) != std::string::npos)
    return false;
  std::string_view text = scalar.text;
  if (text.starts_with('+')) text.remove_prefix(1);
  return protocol::is_value_of(PropertyType::kLong, text) || protocol::is_value_of(PropertyType::kDouble, text);
}

PropertyType type_of(const config::Node& scalar) {
  if (scalar.quoted) return PropertyType::kString;
  if (protocol::is_value_of(PropertyType::kBoolean, scalar.text)) return PropertyType::kBoolean;
  if (!is_plain_number(scalar)) return PropertyType::kString;
  for (const PropertyType type : {PropertyType::kInteger, PropertyType::kLong, PropertyType::kDouble}) {
    if (protocol::is_value_of(type, scalar.text)) return type;
  }
  return PropertyType::kString;
}

// Reads values of one property; `type` is given or follows from the values.
bool read_values(const config::Node& node, const std::string& path, std::optional<PropertyType> type,
                 config::Problems& problems, protocol::Property& property) {
  property.array = node.kind == config::Node::Kind::kSequence;
  std::vector<const config::Node*> scalars;
  if (property.array) {
    for (const config::Node& item : node.items) scalars.push_back(&item);
  } else {
    scalars.push_back(&node);
  }
  for (const config::Node* scalar : scalars) {
    if (scalar->kind != config::Node::Kind::kScalar) {
      problems.add(scalar->mark, path, "must be a value, a list of values, or {type, value}");
      return false;
    }
    if (!type && is_doubtful(*scalar)) {
      problems.add(scalar->mark, path,
                   fmt::format("'{}': write the number plainly, or the text in quotes", scalar->text));
      return false;
    }
    if (!type) type = type_of(*scalar);
    if (!is_template(scalar->text) && !protocol::is_value_of(*type, scalar->text)) {
      problems.add(scalar->mark, path,
                   fmt::format("'{}' is not of type {}", *type == PropertyType::kPassword ? "…" : scalar->text,
                               protocol::to_string(*type)));
      return false;
    }
    property.values.push_back(scalar->text);
  }
  property.type = type.value_or(PropertyType::kString);
  return true;
}

std::optional<protocol::Property> decode_property(const std::string& name, const config::Node& node,
                                                  const std::string& path, config::Problems& problems) {
  protocol::Property property;
  property.name = name;
  if (name.empty() || name.size() > 256) {
    problems.add(node.mark, path, "a property name has 1 to 256 bytes");
    return std::nullopt;
  }
  if (node.kind != config::Node::Kind::kMapping) {
    return read_values(node, path, std::nullopt, problems, property) ? std::optional(property) : std::nullopt;
  }
  config::Object object(node, path, problems);
  std::string type_name;
  object.required("type", type_name);
  const config::Node* value = object.require("value");
  object.finish();
  if (type_name.empty() || value == nullptr) return std::nullopt;
  const auto type = protocol::parse_property_type(type_name);
  if (!type) {
    object.problem("type", type.error().message);
    return std::nullopt;
  }
  return read_values(*value, object.path("value"), *type, problems, property) ? std::optional(property) : std::nullopt;
}

}  // namespace

protocol::Configurations decode_configurations(const config::Node& node, const std::string& path,
                                               config::Problems& problems) {
  protocol::Configurations configurations;
  if (node.kind != config::Node::Kind::kMapping) {
    problems.add(node.mark, path, "must be a mapping of component pids");
    return configurations;
  }
  for (const config::Node::Entry& component : node.entries) {
    const std::string component_path = path + "." + component.key;
    if (!protocol::is_pid(component.key)) {
      problems.add(component.key_mark, component_path,
                   "a pid is 1 to 128 of A-Z a-z 0-9 . _ - and does not begin with a dot");
      continue;
    }
    if (component.value.kind != config::Node::Kind::kMapping) {
      problems.add(component.value.mark, component_path, "must be a mapping of properties");
      continue;
    }
    protocol::ComponentConfiguration configuration;
    configuration.pid = component.key;
    for (const config::Node::Entry& entry : component.value.entries) {
      auto property = decode_property(entry.key, entry.value, component_path + "." + entry.key, problems);
      if (property) configuration.properties.push_back(std::move(*property));
    }
    configurations.push_back(std::move(configuration));
  }
  return configurations;
}

}  // namespace fleet::provisioner
