#include "provisioner/manifest/export.hpp"

#include <utility>

#include "provisioner/manifest/properties.hpp"

namespace fleet::provisioner {
namespace {

using config::Node;

Node scalar(std::string text, bool quoted) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.text = std::move(text);
  node.quoted = quoted;
  return node;
}

Node text(std::string value) {
  return scalar(std::move(value), true);
}
Node number(std::int64_t value) {
  return scalar(std::to_string(value), false);
}
Node flag(bool value) {
  return scalar(value ? "true" : "false", false);
}

Node mapping() {
  Node node;
  node.kind = Node::Kind::kMapping;
  return node;
}

Node& put(Node& mapping, std::string key, Node value) {
  return mapping.entries.emplace_back(Node::Entry{std::move(key), {}, std::move(value)}).value;
}

Node map_of(const std::map<std::string, std::string>& values, Secrets secrets = Secrets::kShown) {
  Node node = mapping();
  for (const auto& [name, value] : values) put(node, name, secrets == Secrets::kShown ? text(value) : Node());
  return node;
}

// format_time knows whole seconds only.
std::string exact_time(WallTime time) {
  const auto millis = to_unix_millis(time) % 1000;
  std::string shown = format_time(time);
  if (millis != 0) shown.insert(shown.size() - 1, fmt::format(".{:03}", (millis + 1000) % 1000));
  return shown;
}

Node document(std::string kind, const std::string& name) {
  Node node = mapping();
  put(node, "apiVersion", text("provisioner/v1"));
  put(node, "kind", text(std::move(kind)));
  put(put(node, "metadata", mapping()), "name", text(name));
  return node;
}

Node values_of(const protocol::Property& property, bool quoted) {
  if (!property.array) return scalar(property.values.empty() ? "" : property.values.front(), quoted);
  Node list;
  list.kind = Node::Kind::kSequence;
  for (const std::string& value : property.values) list.items.push_back(scalar(value, quoted));
  return list;
}

// Whether that is how an operator could have written the property.
bool means(const Node& node, const protocol::Property& property) {
  Node component = mapping();
  put(component, property.name, node);
  Node configuration = mapping();
  put(configuration, "pid", std::move(component));
  config::Problems problems;
  const auto decoded = decode_configurations(configuration, "", problems);
  return problems.empty() && decoded.front().properties == std::vector<protocol::Property>{property};
}

// The shortest form that is read back as the same.
Node property_node(const protocol::Property& property, Secrets secrets) {
  for (const bool quoted : {false, true}) {
    Node plain = values_of(property, quoted);
    if (means(plain, property)) return plain;
  }
  Node node = mapping();
  put(node, "type", text(std::string(protocol::to_string(property.type))));
  const bool hidden = property.type == protocol::PropertyType::kPassword && secrets == Secrets::kHidden;
  put(node, "value", hidden ? Node() : values_of(property, true));
  return node;
}

Node configuration_node(const protocol::Configurations& configurations, Secrets secrets) {
  Node configuration = mapping();
  for (const protocol::ComponentConfiguration& component : configurations) {
    Node& properties = put(configuration, component.pid, mapping());
    for (const protocol::Property& property : component.properties) {
      put(properties, property.name, property_node(property, secrets));
    }
  }
  return configuration;
}

// A file is named with its size and hash: the service has it, and it is not uploaded again.
Node packages_node(const std::vector<Package>& packages) {
  Node list;
  list.kind = Node::Kind::kSequence;
  for (const Package& package : packages) {
    Node& node = list.items.emplace_back(mapping());
    put(node, "name", text(package.name));
    put(node, "version", text(package.version));
    if (package.source == PackageSource::kUrl) {
      put(node, "url", text(package.url));
    } else {
      put(node, "file", text(package.file_name));
      put(node, "size", number(package.size));
    }
    put(node, "sha256", text(package.sha256));
    if (package.source == PackageSource::kInline) put(node, "inline", flag(true));
    if (!package.required_before_configuration) put(node, "requiredBeforeConfiguration", flag(false));
  }
  return list;
}

void put_credentials(Node& spec, const Account& account) {
  put(spec, "credentials", text(std::string(to_string(account.credentials))));
  if (account.credentials != OwnerCredentials::kPassword) return;
  put(spec, "deviceCredentialsTight", text(std::string(to_string(account.tight))));
  Node& connector = put(spec, "connector", mapping());
  if (!account.connector.database.empty()) {
    put(connector, "plugin", text(account.connector.database));
    return;
  }
  Node command;
  command.kind = Node::Kind::kSequence;
  for (const std::string& word : account.connector.command) command.items.push_back(text(word));
  put(connector, "command", std::move(command));
}

}  // namespace

Node to_manifest(const Account& account) {
  Node node = document("Account", account.name);
  Node& spec = put(node, "spec", mapping());
  std::string ca;
  for (const std::string& pem : account.ca_pem) ca += pem;
  Node broker = mapping();
  put(broker, "url", text(account.broker_url));
  if (!ca.empty()) put(broker, "ca", text(std::move(ca)));
  put(spec, "broker", std::move(broker));
  put_credentials(spec, account);
  return node;
}

Node to_manifest(const Profile& profile, Secrets secrets) {
  Node node = document("Profile", profile.name);
  Node& spec = put(node, "spec", mapping());
  put(spec, "account", text(profile.account));
  Node& certificate = put(spec, "certificate", mapping());
  put(certificate, "validity", text(format_duration(profile.certificate_validity)));
  if (profile.wants_certificate) put(certificate, "required", flag(true));
  put(spec, "retryMaxAttempts", number(profile.retry_max_attempts));
  put(spec, "attemptTimeout", text(format_duration(profile.attempt_timeout)));
  put(spec, "configuration", configuration_node(profile.configuration, secrets));
  if (!profile.packages.empty()) put(spec, "packages", packages_node(profile.packages));
  return node;
}

Node to_manifest(const ProvisionRequest& request, Secrets secrets) {
  Node node = document("ProvisionRequest", request.name);
  if (!request.labels.empty()) put(node.entries.back().value, "labels", map_of(request.labels));
  Node& spec = put(node, "spec", mapping());
  put(spec, "profile", text(request.profile));
  put(spec, "clientId", text(request.client_id));
  put(spec, "provisionUserUsername", text(request.username));
  if (request.activation_key_verifier) put(spec, "generateActivationKey", flag(true));
  if (!request.params.empty()) put(spec, "params", map_of(request.params, secrets));
  if (request.configuration) put(spec, "configuration", configuration_node(*request.configuration, secrets));
  if (request.packages) put(spec, "packages", packages_node(*request.packages));
  if (request.activates_on) put(spec, "activatesOn", text(exact_time(*request.activates_on)));
  if (request.expires_on) put(spec, "expiresOn", text(exact_time(*request.expires_on)));
  if (request.retry_max_attempts) put(spec, "retryMaxAttempts", number(*request.retry_max_attempts));
  if (!request.secure_url) put(spec, "provisionSecureURL", flag(false));
  if (request.tight != CredentialsTight::kInherited) {
    put(spec, "deviceCredentialsTight", text(std::string(to_string(request.tight))));
  }
  put(spec, "status", text(request.enabled ? "ENABLED" : "DISABLED"));
  put(spec, "optlock", number(request.optlock));
  return node;
}

}  // namespace fleet::provisioner
