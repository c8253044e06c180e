#include "provisioner/manifest/manifest.hpp"

#include <algorithm>

#include "core/base/file.hpp"
#include "core/base/nearest.hpp"
#include "core/crypto/certificate.hpp"
#include "core/mqtt/client.hpp"
#include "core/protocol/topic.hpp"
#include "provisioner/manifest/packages.hpp"
#include "provisioner/manifest/properties.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::size_t kMaxCas = 10;
constexpr std::size_t kMaxUsername = 255;
constexpr std::size_t kMaxActivationKey = 1024;

bool is_name(std::string_view text) {
  const auto word = [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (text.empty() || text.size() > 128 || !word(text.front())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return word(c) || c == '.' || c == '_' || c == '-'; });
}

bool is_printable(std::string_view text) {
  return is_utf8(text) && std::none_of(text.begin(), text.end(),
                                       [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::map<std::string, std::string> read_map(config::Object& object, std::string_view key) {
  std::vector<std::pair<std::string, std::string>> pairs;
  object.optional_map(key, pairs);
  for (const auto& [name, value] : pairs) {
    if (!is_name(name)) object.problem(key, fmt::format("'{}' is not a name: use A-Z a-z 0-9 . _ -", name));
  }
  return {pairs.begin(), pairs.end()};
}

void read_retries(config::Object& object, std::optional<int>& target) {
  if (object.optional("retryMaxAttempts", target) && *target < -1) {
    object.problem("retryMaxAttempts", "must be -1 (no limit), 0 or more");
    target.reset();
  }
}

// STRICT, LOOSE or INHERITED, which is what saying nothing means.
void read_tight(config::Object& spec, CredentialsTight& tight) {
  std::string text;
  if (!spec.optional("deviceCredentialsTight", text)) return;
  for (const CredentialsTight known :
       {CredentialsTight::kInherited, CredentialsTight::kStrict, CredentialsTight::kLoose}) {
    if (text != to_string(known)) continue;
    tight = known;
    return;
  }
  spec.problem("deviceCredentialsTight", "must be STRICT, LOOSE or INHERITED");
}

// After the credentials: without TLS a password is possible, a certificate is not.
void read_broker(const config::Node& node, const std::string& path, config::Problems& problems, Account& account) {
  config::Object broker(node, path, problems);
  const bool has_passwords = account.credentials == OwnerCredentials::kPassword;
  bool plain = false;
  if (broker.required("url", account.broker_url)) {
    const auto url = mqtt::BrokerUrl::parse(account.broker_url);
    plain = url && url->scheme == mqtt::BrokerUrl::Scheme::kMqtt && has_passwords;
    if (!url) {
      broker.problem("url", url.error().message);
    } else if (url->scheme != mqtt::BrokerUrl::Scheme::kMqtts && !plain) {
      broker.problem("url", has_passwords ? "must begin with mqtts:// (or mqtt://, for requests with provisionSecureURL: false)"
                                          : "must begin with mqtts://: devices log in there with their certificates");
    }
  }
  std::string pem;
  if (plain ? broker.optional("ca", pem) : broker.required("ca", pem)) {
    const auto chain = crypto::Certificate::chain_from_pem(pem, kMaxCas);
    if (!chain) {
      broker.problem("ca", chain.error().message);
    } else {
      for (const crypto::Certificate& certificate : *chain) {
        if (!certificate.is_ca()) {
          broker.problem("ca", fmt::format("'{}' is not a CA certificate", certificate.subject_cn()));
        }
        account.ca_pem.push_back(certificate.to_pem());
      }
    }
  }
  broker.finish();
}

void read_connector(const config::Node& node, const std::string& path, config::Problems& problems, Account& account) {
  config::Object connector(node, path, problems);
  const bool has_plugin = connector.optional("plugin", account.connector.database);
  const bool has_command = connector.optional_list("command", account.connector.command);
  if (has_plugin == has_command) {
    connector.problem(has_plugin ? "command" : "plugin", "give either plugin (a file) or command (a list)");
  } else if (has_plugin && !account.connector.database.starts_with('/')) {
    connector.problem("plugin", "must be the whole path of the file that the owner's broker has as its "
                                "plugin_opt_password_db, beginning with /");
  } else if (has_command && (account.connector.command.empty() || !account.connector.command.front().starts_with('/'))) {
    connector.problem("command", "must begin with the whole path of a program");
  }
  connector.finish();
}

void read_credentials(config::Object& spec, config::Problems& problems, Account& account) {
  std::string credentials;
  if (spec.optional("credentials", credentials) && credentials != "x509" && credentials != "password") {
    spec.problem("credentials", fmt::format("'{}' is not supported: use x509 or password", credentials));
  }
  const bool password = credentials == "password";
  if (password) account.credentials = OwnerCredentials::kPassword;
  read_tight(spec, account.tight);
  if (!password && account.tight != CredentialsTight::kInherited) {
    spec.problem("deviceCredentialsTight", "is for credentials: password; with x509 the owner's broker decides");
  }
  const config::Node* const connector = spec.child("connector");
  if (connector != nullptr && !password) spec.problem("connector", "is for credentials: password");
  if (connector == nullptr && password) {
    spec.problem("connector", "missing: how the owner's broker learns the passwords: {plugin: /path/of/owner.db} or {command: [...]}");
  }
  if (connector != nullptr && password) read_connector(*connector, spec.path("connector"), problems, account);
}

Account decode_account(const std::string& name, config::Object& spec, config::Problems& problems) {
  Account account;
  account.name = name;
  read_credentials(spec, problems, account);
  if (const config::Node* broker = spec.require("broker")) read_broker(*broker, spec.path("broker"), problems, account);
  return account;
}

Profile decode_profile(const std::string& name, config::Object& spec, config::Problems& problems) {
  Profile profile;
  profile.name = name;
  spec.required("account", profile.account);
  if (const config::Node* certificate = spec.child("certificate")) {
    config::Object object(*certificate, spec.path("certificate"), problems);
    if (object.optional("validity", profile.certificate_validity) &&
        (profile.certificate_validity < Millis(60'000) ||
         profile.certificate_validity > Millis(36'500LL * 86'400'000))) {
      object.problem("validity", "must be between 1m and 36500d");
    }
    object.optional("required", profile.wants_certificate);
    object.finish();
  }
  std::optional<int> retries;
  read_retries(spec, retries);
  profile.retry_max_attempts = retries.value_or(profile.retry_max_attempts);
  if (spec.optional("attemptTimeout", profile.attempt_timeout) &&
      (profile.attempt_timeout < Millis(1000) || profile.attempt_timeout > Millis(86'400'000))) {
    spec.problem("attemptTimeout", "must be between 1s and 24h");
  }
  if (const config::Node* configuration = spec.child("configuration")) {
    profile.configuration = decode_configurations(*configuration, spec.path("configuration"), problems);
  }
  if (const config::Node* packages = spec.child("packages")) {
    profile.packages = decode_packages(*packages, spec.path("packages"), problems);
  }
  return profile;
}

void read_activation_key(config::Object& spec, RequestManifest& request) {
  spec.optional("generateActivationKey", request.generate_activation_key);
  std::string key;
  if (!spec.optional("activationKey", key)) return;
  if (request.generate_activation_key) {
    spec.problem("activationKey", "give either generateActivationKey, or activationKey or activationKeyFile");
  }
  const bool ascii = std::all_of(key.begin(), key.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  if (key.empty() || key.size() > kMaxActivationKey || !ascii) {
    spec.problem("activationKey", fmt::format("must be 1 to {} characters of printable ASCII", kMaxActivationKey));
  }
  request.activation_key = Secret(std::move(key));
}

RequestManifest decode_request(config::Object& spec, config::Problems& problems) {
  RequestManifest request;
  spec.required("profile", request.profile);
  if (spec.required("clientId", request.client_id) && !protocol::is_client_id(request.client_id)) {
    spec.problem("clientId", "must be 1 to 64 of A-Z a-z 0-9 _ : @ = -");
  }
  if (spec.required("provisionUserUsername", request.username) &&
      (request.username.empty() || request.username.size() > kMaxUsername || !is_printable(request.username))) {
    spec.problem("provisionUserUsername", "must be 1 to 255 bytes without control characters");
  }
  std::string password;
  if (spec.optional("provisionUserPassword", password)) {
    if (password.empty() || password.size() > 1024 || !is_utf8(password)) {
      spec.problem("provisionUserPassword", "must be 1 to 1024 bytes of text; leave it out to have one generated");
    }
    request.password = Secret(std::move(password));
  }
  read_activation_key(spec, request);
  request.params = read_map(spec, "params");
  if (const config::Node* configuration = spec.child("configuration")) {
    request.configuration = decode_configurations(*configuration, spec.path("configuration"), problems);
  }
  if (const config::Node* packages = spec.child("packages")) {
    request.packages = decode_packages(*packages, spec.path("packages"), problems);
  }
  std::string status;
  if (spec.optional("status", status)) {
    if (status != "ENABLED" && status != "DISABLED") spec.problem("status", "must be ENABLED or DISABLED");
    request.enabled = status != "DISABLED";
  }
  spec.optional("activatesOn", request.activates_on);
  spec.optional("expiresOn", request.expires_on);
  if (request.activates_on && request.expires_on && *request.expires_on <= *request.activates_on) {
    spec.problem("expiresOn", "must be later than activatesOn");
  }
  read_retries(spec, request.retry_max_attempts);
  spec.optional("provisionSecureURL", request.secure_url);
  read_tight(spec, request.tight);
  spec.optional("overwriteIfDuplicate", request.overwrite_if_duplicate);
  if (spec.optional("optlock", request.optlock) && *request.optlock < 1) {
    spec.problem("optlock", "must be 1 or more, as `get requests NAME -o yaml` shows it; or leave it out");
  }
  return request;
}

}  // namespace

std::optional<Manifest> decode_manifest(const config::Node& document, config::Problems& problems) {
  const std::size_t problems_before = problems.list().size();
  config::Object object(document, "", problems);
  std::string api_version, kind, name;
  if (object.required("apiVersion", api_version) && api_version != kApiVersion) {
    object.problem("apiVersion", fmt::format("must be {}", kApiVersion));
  }
  object.required("kind", kind);
  std::map<std::string, std::string> labels;
  if (const config::Node* metadata = object.require("metadata")) {
    config::Object meta(*metadata, "metadata", problems);
    if (meta.required("name", name)) {
      if (kind == "Account" && !protocol::is_account(name)) {
        meta.problem("name", "must be 1 to 64 of A-Z a-z 0-9 _ -: it is a level of topics");
      } else if (!is_name(name)) {
        meta.problem("name", "must be 1 to 128 of A-Z a-z 0-9 . _ -, beginning with a letter or digit");
      }
    }
    if (kind == "ProvisionRequest") labels = read_map(meta, "labels");
    meta.finish();
  }

  std::optional<Manifest> manifest;
  if (const config::Node* node = object.require("spec")) {
    config::Object spec(*node, "spec", problems);
    if (kind == "Account") {
      manifest = decode_account(name, spec, problems);
    } else if (kind == "Profile") {
      manifest = decode_profile(name, spec, problems);
    } else if (kind == "ProvisionRequest") {
      RequestManifest request = decode_request(spec, problems);
      request.name = name;
      request.labels = std::move(labels);
      manifest = std::move(request);
    }
    if (manifest) spec.finish();
  }
  if (!manifest && !kind.empty()) {
    const std::vector<std::string> kinds{"Account", "Profile", "ProvisionRequest"};
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) {
      const std::string guess = nearest(kind, kinds);
      object.problem("kind", guess.empty() ? "must be Account, Profile or ProvisionRequest"
                                           : fmt::format("unknown kind '{}'; did you mean {}?", kind, guess));
    }
  }
  object.finish();
  if (problems.list().size() != problems_before) return std::nullopt;
  return manifest;
}

namespace {

constexpr std::size_t kMaxFile = 1024 * 1024;

config::Node* find_mutable(config::Node* node, std::string_view key) {
  if (node == nullptr) return nullptr;
  for (config::Node::Entry& entry : node->entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

// In `parent`, turns `file_key: path` into `key: contents`, or into `key: null` if there are none.
void inline_file(config::Node* parent, const std::string& path, std::string_view file_key, std::string_view key,
                 bool strip_newline, const std::filesystem::path& folder, config::Problems& problems) {
  config::Node* value = find_mutable(parent, file_key);
  if (value == nullptr || value->kind != config::Node::Kind::kScalar) return;
  const std::string where = fmt::format("{}.{}", path, file_key);
  if (find_mutable(parent, key) != nullptr) {
    problems.add(value->mark, where, fmt::format("give either {} or {}, not both", key, file_key));
    std::erase_if(parent->entries, [&](const config::Node::Entry& entry) { return entry.key == file_key; });
    return;
  }
  const std::filesystem::path file = folder / value->text;
  for (config::Node::Entry& entry : parent->entries) {
    if (entry.key == file_key) entry.key = std::string(key);
  }
  auto contents = read_file(file, kMaxFile);
  if (contents && !is_utf8(*contents)) contents = fail(ErrorCode::kMalformed, "{}: not a text file", file.string());
  if (!contents) {
    problems.add(value->mark, where, contents.error().message);
    value->kind = config::Node::Kind::kNull;
    return;
  }
  while (strip_newline && !contents->empty() && (contents->back() == '\n' || contents->back() == '\r'))
    contents->pop_back();
  value->text = std::move(*contents);
  value->quoted = true;
}

}  // namespace

void inline_files(config::Node& document, const std::filesystem::path& folder, config::Problems& problems) {
  config::Node* spec = find_mutable(&document, "spec");
  inline_file(find_mutable(spec, "broker"), "spec.broker", "caFile", "ca", false, folder, problems);
  inline_file(spec, "spec", "provisionUserPasswordFile", "provisionUserPassword", true, folder, problems);
  inline_file(spec, "spec", "activationKeyFile", "activationKey", true, folder, problems);
}

}  // namespace fleet::provisioner
