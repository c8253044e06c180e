#include "provisioner/provisioning/plan.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "core/mqtt/client.hpp"
#include "core/protocol/deploy.hpp"

namespace fleet::provisioner {

using protocol::ComponentConfiguration;
using protocol::Configurations;
using protocol::Property;
using protocol::PropertyType;

namespace {

template <typename... Handlers>
struct Overloaded : Handlers... {
  using Handlers::operator()...;
};

constexpr std::string_view kOpening = "${";
constexpr std::string_view kEscape = "$${";
constexpr std::string_view kLabels = "labels.";
constexpr std::string_view kParams = "params.";

Result<std::string> member(const std::map<std::string, std::string>& values, std::string_view what,
                           std::string_view name) {
  const auto found = values.find(std::string(name));
  if (found == values.end()) return fail(ErrorCode::kInvalidArgument, "the request has no {} \"{}\"", what, name);
  return found->second;
}

Result<std::string> resolve(std::string_view placeholder, const ProvisionRequest& request) {
  if (placeholder == "clientId") return request.client_id;
  if (placeholder.starts_with(kLabels)) return member(request.labels, "label", placeholder.substr(kLabels.size()));
  if (placeholder.starts_with(kParams)) return member(request.params, "parameter", placeholder.substr(kParams.size()));
  return fail(ErrorCode::kInvalidArgument,
              "unknown placeholder ${{{}}}: there are ${{clientId}}, ${{labels.NAME}} and ${{params.NAME}}",
              placeholder);
}

Property single(std::string name, PropertyType type, std::string value) {
  return {.name = std::move(name), .type = type, .values = {std::move(value)}};
}

// The owner connection as the platform builds it (edc §4.6); no username and password: the client certificate is used.
ComponentConfiguration owner_connection(const ProvisionRequest& request, const Account& account) {
  ComponentConfiguration connection{.pid = std::string(protocol::kMqttTransportPid), .properties = {}};
  // not a braced list, of which each property would be copied: every request of an import is rendered, twice
  connection.properties.reserve(12);  // two more for a login
  const auto add = [&](const char* name, PropertyType type, std::string value) {
    Property& property = connection.properties.emplace_back();
    property.name = name;
    property.type = type;
    property.values.push_back(std::move(value));
  };
  add("broker-url", PropertyType::kString, account.broker_url);
  add("topic.context.account-name", PropertyType::kString, account.name);
  add("client-id", PropertyType::kString, request.client_id);
  add("keep-alive", PropertyType::kInteger, "30");
  add("timeout", PropertyType::kInteger, "20");
  add("clean-session", PropertyType::kBoolean, "true");
  add("lwt.topic", PropertyType::kString, "$EDC/" + account.name + "/" + request.client_id + "/MQTT/LWT");
  add("lwt.qos", PropertyType::kInteger, "0");
  add("lwt.retain", PropertyType::kBoolean, "false");
  add("protocol-version", PropertyType::kInteger, "4");
  return connection;
}

void override_with(ComponentConfiguration& component, const ComponentConfiguration& wishes) {
  for (const Property& wish : wishes.properties) {
    const auto same = std::find_if(component.properties.begin(), component.properties.end(),
                                   [&](const Property& property) { return property.name == wish.name; });
    if (same == component.properties.end()) {
      component.properties.push_back(wish);
    } else {
      *same = wish;
    }
  }
}

// The messages hold no URL: it may have been rendered from what is secret.
Result<std::string> deliverable_url(const std::string& text, const ProvisionRequest& request, const Account& account) {
  using Scheme = mqtt::BrokerUrl::Scheme;
  const auto url = mqtt::BrokerUrl::parse(text);
  if (!url || url->scheme == Scheme::kUnix) {
    return fail(ErrorCode::kInvalidArgument,
                "with the request's values it is no URL of a broker; write it as mqtts://broker.example:8883");
  }
  const bool has_passwords = account.credentials == OwnerCredentials::kPassword;
  if (request.secure_url) {
    if (url->scheme == Scheme::kMqtts) return url->str();
    return fail(ErrorCode::kInvalidArgument, "it is mqtt://, which is not secure: give account {} a broker.url of mqtts://{}",
                account.name,
                has_passwords ? ", or say provisionSecureURL: false in the request; passwords then travel unprotected" : "");
  }
  if (!has_passwords) {
    return fail(ErrorCode::kInvalidArgument,
                "provisionSecureURL: false is for accounts with credentials: password; devices of account {} log in with "
                "certificates, which takes mqtts://: leave it out",
                account.name);
  }
  if (url->scheme == Scheme::kMqtt) return url->str();
  return fail(ErrorCode::kInvalidArgument,
              "provisionSecureURL is false, but it is mqtts://: leave provisionSecureURL out, or give account {} a "
              "broker.url of mqtt://",
              account.name);
}

Result<void> settle_url(ComponentConfiguration& connection, const ProvisionRequest& request, const Account& account) {
  for (Property& property : connection.properties) {
    if (property.name != "broker-url") continue;
    auto url = property.values.size() == 1 ? deliverable_url(property.values.front(), request, account)
                                           : Result<std::string>(fail(ErrorCode::kInvalidArgument, "must be one URL"));
    if (!url) return fail(with_context(std::move(url).error(), connection.pid + ": broker-url"));
    property = single(property.name, PropertyType::kString, std::move(*url));
  }
  return {};
}

Result<ComponentConfiguration> render(ComponentConfiguration component, const ProvisionRequest& request) {
  for (Property& property : component.properties) {
    for (std::string& value : property.values) {
      auto rendered = render(value, request);
      if (!rendered) return fail(with_context(rendered.error(), fmt::format("{}: {}", component.pid, property.name)));
      value = std::move(*rendered);
      if (!protocol::is_value_of(property.type, value)) {
        return fail(ErrorCode::kInvalidArgument, "{}: {}: its value for this request is not of type {}", component.pid,
                    property.name, to_string(property.type));
      }
    }
  }
  return component;
}

}  // namespace

Result<std::string> render(std::string_view text, const ProvisionRequest& request) {
  std::string result;
  while (!text.empty()) {
    const std::size_t at = std::min(text.find(kOpening), text.find(kEscape));
    result += text.substr(0, at);
    if (at == std::string_view::npos) break;
    text.remove_prefix(at);
    if (text.starts_with(kEscape)) {
      result += kOpening;
      text.remove_prefix(kEscape.size());
      continue;
    }
    const std::size_t end = text.find('}');
    if (end == std::string_view::npos)
      return fail(ErrorCode::kInvalidArgument, "\"${{\" without \"}}\"; write \"$${{\" for the text itself");
    TRY_ASSIGN(const std::string value, resolve(text.substr(kOpening.size(), end - kOpening.size()), request));
    result += value;
    text.remove_prefix(end + 1);
  }
  return result;
}

Result<void> check_tight(const ProvisionRequest& request, const Account& account) {
  if (request.tight == CredentialsTight::kInherited) return {};
  if (account.credentials != OwnerCredentials::kPassword) {
    return fail(ErrorCode::kInvalidArgument,
                "deviceCredentialsTight is for accounts with credentials: password; with the certificates of account {} "
                "the owner's broker decides: leave it out",
                account.name);
  }
  const bool strict = request.tight == CredentialsTight::kStrict;
  if (strict == account.is_strict()) return {};
  return fail(ErrorCode::kInvalidArgument,
              "deviceCredentialsTight is {}, but account {} is {}, for all of its devices alike: say INHERITED, or apply "
              "the account with {}",
              to_string(request.tight), account.name, account.is_strict() ? "STRICT" : "LOOSE", to_string(request.tight));
}

Result<Configurations> render_configuration(const ProvisionRequest& request, const Profile& profile,
                                            const Account& account) {
  TRY(check_tight(request, account));
  // The platform's own values hold "$EDC" but no placeholder, and are not rendered: an account's URL is not a template.
  ComponentConfiguration connection = owner_connection(request, account);
  Configurations result;
  bool has_connection = false;
  for (const ComponentConfiguration& component : request.configuration ? *request.configuration : profile.configuration) {
    TRY_ASSIGN(ComponentConfiguration rendered, render(component, request));
    if (rendered.pid == protocol::kMqttTransportPid) {
      override_with(connection, rendered);
      TRY(settle_url(connection, request, account));
      rendered = connection;
      has_connection = true;
    }
    result.push_back(std::move(rendered));
  }
  if (has_connection) return result;
  TRY(settle_url(connection, request, account));
  result.insert(result.begin(), std::move(connection));
  return result;
}

std::string give_owner_login(Configurations& configurations, const std::string& username, const Secret& password) {
  for (ComponentConfiguration& component : configurations) {
    if (component.pid != protocol::kMqttTransportPid) continue;
    const auto own = std::find_if(component.properties.begin(), component.properties.end(),
                                  [](const Property& property) { return property.name == "username"; });
    const bool given = own != component.properties.end() && own->values.size() == 1 && !own->values.front().empty();
    const std::string chosen = given ? own->values.front() : username;
    keep_owner_login(configurations, chosen, password);
    return chosen;
  }
  return username;
}

void keep_owner_login(Configurations& configurations, const std::string& username, const Secret& password) {
  for (ComponentConfiguration& component : configurations) {
    if (component.pid != protocol::kMqttTransportPid) continue;
    override_with(component, {component.pid,
                              {single("username", PropertyType::kString, username),
                               single("password", PropertyType::kPassword, std::string(password.reveal()))}});
    return;
  }
}

Result<std::vector<Package>> render_packages(const ProvisionRequest& request, const Profile& profile) {
  std::vector<Package> packages = request.packages ? *request.packages : profile.packages;
  for (Package& package : packages) {
    if (package.source != PackageSource::kUrl) continue;
    auto url = render(package.url, request);
    if (!url) return fail(with_context(url.error(), fmt::format("package {}: url", package.name)));
    if (!url->starts_with("https://") && !url->starts_with("http://")) {
      return fail(ErrorCode::kInvalidArgument, "package {}: url: must begin with https:// or http://", package.name);
    }
    if (!protocol::is_package_uri(*url)) {
      return fail(ErrorCode::kInvalidArgument,
                  "package {}: url: with the request's values it has {} bytes, spaces or characters beyond ASCII; devices "
                  "take at most {} bytes of printable ASCII: write others as %XX",
                  package.name, url->size(), protocol::kMaxPackageUri);
    }
    package.url = std::move(*url);
  }
  return packages;
}

std::vector<StepContent> make_plan(const std::string& signing_chain_pem, std::vector<std::string> device_chain_pem,
                                   const Account& account, std::vector<StepContent> packages,
                                   Configurations configurations) {
  std::vector<StepContent> plan;
  plan.emplace_back(SigningCertificatesContent{signing_chain_pem});
  if (!device_chain_pem.empty()) plan.emplace_back(DeviceCertificateContent{std::move(device_chain_pem)});
  for (std::size_t i = 0; i < account.ca_pem.size(); ++i) {
    plan.emplace_back(TrustedCertificateContent{i + 1, account.ca_pem[i]});
  }
  std::move(packages.begin(), packages.end(), std::back_inserter(plan));
  plan.emplace_back(ConfigurationContent{std::move(configurations)});
  return plan;
}

std::vector<StepContent> make_plan_without_key(const std::string& signing_chain_pem, const std::string& client_id) {
  return {SigningCertificatesContent{signing_chain_pem}, SigningRequestContent{client_id}};
}

StepKind kind_of(const StepContent& content) {
  return std::visit(Overloaded{
                        [](const SigningCertificatesContent&) { return StepKind::kSigningCertificates; },
                        [](const SigningRequestContent&) { return StepKind::kSigningRequest; },
                        [](const DeviceCertificateContent&) { return StepKind::kDeviceCertificate; },
                        [](const TrustedCertificateContent&) { return StepKind::kTrustedCertificate; },
                        [](const PackageContent&) { return StepKind::kPackage; },
                        [](const InlinePackageContent&) { return StepKind::kInlinePackage; },
                        [](const ConfigurationContent&) { return StepKind::kConfiguration; },
                    },
                    content);
}

std::string summary_of(const StepContent& content) {
  return std::visit(
      Overloaded{
          [](const SigningCertificatesContent&) -> std::string { return "the platform's signing certificates"; },
          [](const SigningRequestContent&) -> std::string { return "the wish for a certificate signing request"; },
          [](const DeviceCertificateContent& device) {
            return fmt::format("the device certificate, a chain of {}", device.chain_pem.size());
          },
          [](const TrustedCertificateContent& trusted) {
            return fmt::format("certificate {} of the owner's broker CAs", trusted.number);
          },
          [](const PackageContent& package) { return fmt::format("package {} {}", package.name, package.version); },
          [](const InlinePackageContent& package) {
            return fmt::format("package {} {} in the message", package.name, package.version);
          },
          [](const ConfigurationContent& configuration) {
            const std::size_t count = configuration.configurations.size();
            return fmt::format("the configuration of {} component{}", count, count == 1 ? "" : "s");
          },
      },
      content);
}

}  // namespace fleet::provisioner
