#include "provisioner/store/columns.hpp"

#include <boost/json.hpp>

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

Result<void> check_text(std::string_view text) {
  if (!is_utf8(text)) return fail(ErrorCode::kInvalidArgument, "text is not UTF-8");
  return {};
}

Result<json::array> array_of(const std::vector<std::string>& list) {
  json::array array;
  for (const std::string& item : list) {
    TRY(check_text(item));
    array.emplace_back(item);
  }
  return array;
}

Result<json::object> object_of(const protocol::Property& property) {
  TRY(check_text(property.name));
  TRY_ASSIGN(json::array values, array_of(property.values));
  json::object object;
  object["name"] = property.name;
  object["type"] = protocol::to_string(property.type);
  object["array"] = property.array;
  object["encrypted"] = property.encrypted;
  object["values"] = std::move(values);
  return object;
}

// The readers below use the throwing accessors of Boost.JSON; from_json() is where their exceptions stop.
std::vector<std::string> strings_of(const json::value& value) {
  std::vector<std::string> strings;
  for (const json::value& item : value.as_array()) strings.emplace_back(item.as_string());
  return strings;
}

Result<protocol::Property> property_of(const json::value& value) {
  const json::object& object = value.as_object();
  protocol::Property property;
  property.name = object.at("name").as_string();
  TRY_ASSIGN(property.type, protocol::parse_property_type(object.at("type").as_string()));
  property.array = object.at("array").as_bool();
  property.encrypted = object.at("encrypted").as_bool();
  property.values = strings_of(object.at("values"));
  return property;
}

Result<protocol::ComponentConfiguration> component_of(const json::value& value) {
  const json::object& object = value.as_object();
  protocol::ComponentConfiguration component;
  component.pid = object.at("pid").as_string();
  for (const json::value& item : object.at("properties").as_array()) {
    TRY_ASSIGN(protocol::Property property, property_of(item));
    component.properties.push_back(std::move(property));
  }
  return component;
}

PackageSource package_source_of(std::string_view name) {
  for (const PackageSource source : {PackageSource::kUrl, PackageSource::kFile}) {
    if (to_string(source) == name) return source;
  }
  return PackageSource::kInline;
}

Package package_of(const json::value& value) {
  const json::object& object = value.as_object();
  Package package;
  package.name = object.at("name").as_string();
  package.version = object.at("version").as_string();
  package.source = package_source_of(object.at("source").as_string());
  package.url = object.at("url").as_string();
  package.file_name = object.at("file").as_string();
  package.sha256 = object.at("sha256").as_string();
  package.size = object.at("size").as_int64();
  package.required_before_configuration = object.at("required").as_bool();
  return package;
}

template <typename T, typename Read>
Result<T> from_json(std::string_view text, Read read) {
  try {
    Result<T> value = read(json::parse(text));
    if (!value) return fail(ErrorCode::kCorrupt, "stored JSON: {}", value.error().message);
    return value;
  } catch (const std::exception& error) {
    return fail(ErrorCode::kCorrupt, "stored JSON: {}", error.what());
  }
}

}  // namespace

Result<std::string> to_json(const TextMap& map) {
  json::object object;
  for (const auto& [key, value] : map) {
    TRY(check_text(key));
    TRY(check_text(value));
    object[key] = value;
  }
  return json::serialize(object);
}

Result<std::string> to_json(const std::vector<std::string>& list) {
  TRY_ASSIGN(const json::array array, array_of(list));
  return json::serialize(array);
}

Result<std::string> to_json(const protocol::Configurations& configurations) {
  json::array components;
  for (const protocol::ComponentConfiguration& component : configurations) {
    TRY(check_text(component.pid));
    json::array properties;
    for (const protocol::Property& property : component.properties) {
      TRY_ASSIGN(json::object object, object_of(property));
      properties.push_back(std::move(object));
    }
    json::object object;
    object["pid"] = component.pid;
    object["properties"] = std::move(properties);
    components.push_back(std::move(object));
  }
  return json::serialize(components);
}

Result<std::string> to_json(const std::vector<Package>& packages) {
  json::array array;
  for (const Package& package : packages) {
    TRY(check_text(package.url));
    json::object object;
    object["name"] = package.name;
    object["version"] = package.version;
    object["source"] = to_string(package.source);
    object["url"] = package.url;
    object["file"] = package.file_name;
    object["sha256"] = package.sha256;
    object["size"] = package.size;
    object["required"] = package.required_before_configuration;
    array.push_back(std::move(object));
  }
  return json::serialize(array);
}

Result<TextMap> map_from_json(std::string_view text) {
  return from_json<TextMap>(text, [](const json::value& value) -> Result<TextMap> {
    TextMap map;
    for (const auto& [key, item] : value.as_object()) map.emplace(key, item.as_string());
    return map;
  });
}

Result<std::vector<std::string>> list_from_json(std::string_view text) {
  return from_json<std::vector<std::string>>(
      text, [](const json::value& value) -> Result<std::vector<std::string>> { return strings_of(value); });
}

Result<protocol::Configurations> configurations_from_json(std::string_view text) {
  return from_json<protocol::Configurations>(text, [](const json::value& value) -> Result<protocol::Configurations> {
    protocol::Configurations configurations;
    for (const json::value& item : value.as_array()) {
      TRY_ASSIGN(protocol::ComponentConfiguration component, component_of(item));
      configurations.push_back(std::move(component));
    }
    return configurations;
  });
}

Result<std::vector<Package>> packages_from_json(std::string_view text) {
  return from_json<std::vector<Package>>(text, [](const json::value& value) -> Result<std::vector<Package>> {
    std::vector<Package> packages;
    for (const json::value& item : value.as_array()) packages.push_back(package_of(item));
    return packages;
  });
}

Binder& Binder::integer(std::int64_t value) {
  statement_.bind(next_++, value);
  return *this;
}

Binder& Binder::integer(std::optional<std::int64_t> value) {
  if (value) return integer(*value);
  statement_.bind_null(next_++);
  return *this;
}

Binder& Binder::flag(std::optional<bool> value) {
  return integer(value ? std::optional<std::int64_t>(*value ? 1 : 0) : std::nullopt);
}

Binder& Binder::text(std::string_view value) {
  statement_.bind(next_++, value);
  return *this;
}

Binder& Binder::blob(std::string_view value) {
  statement_.bind_blob(next_++, value);
  return *this;
}

Binder& Binder::maybe_text(const std::optional<std::string>& value) {
  if (value) return text(*value);
  statement_.bind_null(next_++);
  return *this;
}

Binder& Binder::maybe_blob(const std::optional<Bytes>& value) {
  if (value) return blob(*value);
  statement_.bind_null(next_++);
  return *this;
}

Binder& Binder::time(std::optional<WallTime> value) {
  return integer(value ? std::optional(to_unix_millis(*value)) : std::nullopt);
}

std::optional<std::int64_t> RowReader::maybe_integer() {
  const int column = next_++;
  return statement_.is_null(column) ? std::nullopt : std::optional(statement_.integer(column));
}

std::optional<bool> RowReader::maybe_flag() {
  const std::optional<std::int64_t> value = maybe_integer();
  return value ? std::optional(*value != 0) : std::nullopt;
}

std::optional<std::string> RowReader::maybe_text() {
  const int column = next_++;
  return statement_.is_null(column) ? std::nullopt : std::optional(statement_.text(column));
}

std::optional<Bytes> RowReader::maybe_blob() {
  const int column = next_++;
  return statement_.is_null(column) ? std::nullopt : std::optional(statement_.blob(column));
}

std::optional<WallTime> RowReader::maybe_time() {
  const std::optional<std::int64_t> millis = maybe_integer();
  return millis ? std::optional(from_unix_millis(*millis)) : std::nullopt;
}

}  // namespace fleet::provisioner
