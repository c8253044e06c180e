// The state of a session as JSON, format 1. Binary values are lower-case hex, but for payloads, which are base64; times
// are milliseconds since 1970.
#include <boost/json.hpp>

#include "agent/session/session.hpp"

namespace fleet::agent {
namespace {

namespace json = boost::json;

constexpr std::int64_t kFormat = 1;

// --- writing

json::array to_array(const std::vector<std::string>& texts) {
  return json::array(texts.begin(), texts.end());
}

json::array to_json_value(const protocol::Configurations& configurations) {
  json::array components;
  for (const protocol::ComponentConfiguration& component : configurations) {
    json::array properties;
    for (const protocol::Property& property : component.properties) {
      properties.push_back(json::object{{"name", property.name},
                                        {"type", protocol::to_string(property.type)},
                                        {"array", property.array},
                                        {"encrypted", property.encrypted},
                                        {"values", to_array(property.values)}});
    }
    components.push_back(json::object{{"pid", component.pid}, {"properties", std::move(properties)}});
  }
  return components;
}

json::object to_json_value(const Package& package) {
  return {{"name", package.id.name}, {"version", package.id.version}, {"sha256", package.sha256}};
}

json::object to_json_value(const PackageJob& job) {
  json::object object{{"request_id", job.request_id},
                      {"requester", job.requester},
                      {"job_id", job.job_id},
                      {"package", to_json_value(job.package)},
                      {"uri", job.uri},
                      {"install", job.install},
                      {"downloads", job.downloads},
                      {"failed_stage", protocol::to_string(job.failed_stage)},
                      {"error", job.error}};
  if (job.outcome) object["outcome"] = protocol::to_string(*job.outcome);
  return object;
}

json::object to_json_value(const Staged& staged) {
  json::object trusted;
  for (const auto& [alias, pem] : staged.trusted_pem) trusted[alias] = pem;
  json::array packages;
  for (const Package& package : staged.packages) packages.push_back(to_json_value(package));
  return {{"device_chain", to_array(staged.device_chain_pem)},
          {"trusted", std::move(trusted)},
          {"packages", std::move(packages)},
          {"configurations", to_json_value(staged.configurations)}};
}

json::object to_json_value(const Attempt& attempt) {
  json::object replies;
  for (const auto& [request_id, reply] : attempt.replies) {
    replies[request_id] = json::object{{"topic", reply.topic}, {"payload", to_base64(reply.payload)}};
  }
  json::array jobs;
  for (const PackageJob& job : attempt.jobs) jobs.push_back(to_json_value(job));
  json::object object{{"nonce", to_hex(attempt.nonce)},
                      {"request_id", attempt.request_id},
                      {"reason", attempt.reason},
                      {"signing_chain", attempt.signing_chain_pem},
                      {"replies", std::move(replies)},
                      {"refused", attempt.refused},
                      {"refusal", attempt.refusal},
                      {"conf_request_id", attempt.conf_request_id},
                      {"jobs", std::move(jobs)},
                      {"staged", to_json_value(attempt.staged)}};
  if (attempt.generation) object["generation"] = *attempt.generation;
  return object;
}

// --- reading

fleet::Failure corrupt(std::string_view what, std::string_view why) {
  return fail(ErrorCode::kCorrupt, "session state: {}: {}", what, why);
}

// The members of one object, by name; each getter says which one is missing or wrong. `path` names the object.
class Reader {
 public:
  Reader(const json::object& object, std::string path) : object_(object), path_(std::move(path)) {}

  bool has(std::string_view name) const {
    const json::value* value = object_.if_contains(name);
    return value != nullptr && !value->is_null();
  }
  Result<std::string> text(std::string_view name) const {
    const json::value* value = object_.if_contains(name);
    if (value == nullptr || !value->is_string()) return wrong(name, "not a text");
    return std::string(value->get_string());
  }
  Result<bool> boolean(std::string_view name) const {
    const json::value* value = object_.if_contains(name);
    if (value == nullptr || !value->is_bool()) return wrong(name, "not true or false");
    return value->get_bool();
  }
  template <typename T>
  Result<T> number(std::string_view name) const {
    const json::value* value = object_.if_contains(name);
    boost::system::error_code error;
    if (value == nullptr || (!value->is_int64() && !value->is_uint64())) return wrong(name, "not a whole number");
    const T number = value->to_number<T>(error);
    if (error) return wrong(name, "a number out of range");
    return number;
  }
  Result<WallTime> time(std::string_view name) const {
    TRY_ASSIGN(const std::int64_t millis, number<std::int64_t>(name));
    return from_unix_millis(millis);
  }
  Result<Bytes> hex(std::string_view name) const {
    TRY_ASSIGN(const std::string digits, text(name));
    auto bytes = from_hex(digits);
    if (!bytes) return wrong(name, "not hex");
    return bytes;
  }
  Result<const json::object*> object(std::string_view name) const {
    const json::value* value = object_.if_contains(name);
    if (value == nullptr || !value->is_object()) return wrong(name, "not an object");
    return &value->get_object();
  }
  Result<const json::array*> array(std::string_view name) const {
    const json::value* value = object_.if_contains(name);
    if (value == nullptr || !value->is_array()) return wrong(name, "not a list");
    return &value->get_array();
  }
  Result<std::vector<std::string>> texts(std::string_view name) const {
    TRY_ASSIGN(const json::array* list, array(name));
    std::vector<std::string> texts;
    for (const json::value& entry : *list) {
      if (!entry.is_string()) return wrong(name, "not a list of texts");
      texts.emplace_back(entry.get_string());
    }
    return texts;
  }
  fleet::Failure wrong(std::string_view name, std::string_view why) const {
    return corrupt(path_ + std::string(name), why);
  }

 private:
  const json::object& object_;
  std::string path_;
};

// The objects in a list.
Result<std::vector<const json::object*>> objects(const Reader& reader, std::string_view name) {
  TRY_ASSIGN(const json::array* list, reader.array(name));
  std::vector<const json::object*> all;
  for (const json::value& entry : *list) {
    if (!entry.is_object()) return reader.wrong(name, "not a list of objects");
    all.push_back(&entry.get_object());
  }
  return all;
}

Result<protocol::Property> read_property(const Reader& reader) {
  protocol::Property property;
  TRY_ASSIGN(property.name, reader.text("name"));
  TRY_ASSIGN(const std::string type, reader.text("type"));
  const auto parsed = protocol::parse_property_type(type);
  if (!parsed) return reader.wrong("type", parsed.error().message);
  property.type = *parsed;
  TRY_ASSIGN(property.array, reader.boolean("array"));
  TRY_ASSIGN(property.encrypted, reader.boolean("encrypted"));
  TRY_ASSIGN(property.values, reader.texts("values"));
  return property;
}

Result<protocol::Configurations> read_configurations(const Reader& staged) {
  protocol::Configurations configurations;
  TRY_ASSIGN(const auto components, objects(staged, "configurations"));
  for (const json::object* component : components) {
    const Reader reader(*component, "configurations[].");
    protocol::ComponentConfiguration configuration;
    TRY_ASSIGN(configuration.pid, reader.text("pid"));
    TRY_ASSIGN(const auto properties, objects(reader, "properties"));
    for (const json::object* property : properties) {
      TRY_ASSIGN(auto value, read_property(Reader(*property, "configurations[].properties[].")));
      configuration.properties.push_back(std::move(value));
    }
    configurations.push_back(std::move(configuration));
  }
  return configurations;
}

Result<Package> read_package(const Reader& reader) {
  Package package;
  TRY_ASSIGN(package.id.name, reader.text("name"));
  TRY_ASSIGN(package.id.version, reader.text("version"));
  TRY_ASSIGN(package.sha256, reader.text("sha256"));
  if (!protocol::is_package_name(package.id.name)) return reader.wrong("name", "not a package's name");
  if (!protocol::is_package_version(package.id.version)) return reader.wrong("version", "not a package's version");
  if (!protocol::parse_hash_text(protocol::hash_text(package.sha256))) return reader.wrong("sha256", "not a digest");
  return package;
}

Result<PackageJob> read_job(const Reader& reader) {
  PackageJob job;
  TRY_ASSIGN(job.request_id, reader.text("request_id"));
  TRY_ASSIGN(job.requester, reader.text("requester"));
  TRY_ASSIGN(job.job_id, reader.number<std::int64_t>("job_id"));
  TRY_ASSIGN(const json::object* package, reader.object("package"));
  TRY_ASSIGN(job.package, read_package(Reader(*package, "attempt.jobs[].package.")));
  TRY_ASSIGN(job.uri, reader.text("uri"));
  TRY_ASSIGN(job.install, reader.boolean("install"));
  TRY_ASSIGN(job.downloads, reader.boolean("downloads"));
  TRY_ASSIGN(const std::string stage, reader.text("failed_stage"));
  const auto parsed = protocol::parse_deploy_stage(stage);
  if (!parsed) return reader.wrong("failed_stage", parsed.error().message);
  job.failed_stage = *parsed;
  TRY_ASSIGN(job.error, reader.text("error"));
  if (reader.has("outcome")) {
    TRY_ASSIGN(const std::string outcome, reader.text("outcome"));
    const auto status = protocol::parse_deploy_status(outcome);
    if (!status) return reader.wrong("outcome", status.error().message);
    job.outcome = *status;
  }
  return job;
}

Result<Staged> read_staged(const Reader& reader) {
  Staged staged;
  TRY_ASSIGN(staged.device_chain_pem, reader.texts("device_chain"));
  TRY_ASSIGN(const json::object* trusted, reader.object("trusted"));
  for (const auto& entry : *trusted) {
    if (!entry.value().is_string()) return reader.wrong("trusted", "not texts by alias");
    staged.trusted_pem.emplace(entry.key(), entry.value().get_string());
  }
  if (reader.has("packages")) {  // not there in a state of version 0.1
    TRY_ASSIGN(const auto packages, objects(reader, "packages"));
    for (const json::object* object : packages) {
      TRY_ASSIGN(Package package, read_package(Reader(*object, "attempt.staged.packages[].")));
      staged.packages.push_back(std::move(package));
    }
  }
  TRY_ASSIGN(staged.configurations, read_configurations(reader));
  return staged;
}

Result<std::map<std::string, SentReply>> read_replies(const Reader& attempt) {
  TRY_ASSIGN(const json::object* object, attempt.object("replies"));
  std::map<std::string, SentReply> replies;
  for (const auto& entry : *object) {
    if (!entry.value().is_object()) return attempt.wrong("replies", "not objects by request id");
    const Reader reader(entry.value().get_object(), "attempt.replies[].");
    SentReply reply;
    TRY_ASSIGN(reply.topic, reader.text("topic"));
    TRY_ASSIGN(const std::string payload, reader.text("payload"));
    auto bytes = from_base64(payload);
    if (!bytes) return reader.wrong("payload", "not base64");
    reply.payload = std::move(*bytes);
    replies.emplace(entry.key(), std::move(reply));
  }
  return replies;
}

Result<Attempt> read_attempt(const Reader& reader) {
  Attempt attempt;
  TRY_ASSIGN(attempt.nonce, reader.hex("nonce"));
  if (attempt.nonce.size() != 16) return reader.wrong("nonce", "not 16 bytes");
  TRY_ASSIGN(attempt.request_id, reader.text("request_id"));
  TRY_ASSIGN(attempt.reason, reader.text("reason"));
  TRY_ASSIGN(attempt.signing_chain_pem, reader.text("signing_chain"));
  TRY_ASSIGN(attempt.replies, read_replies(reader));
  TRY_ASSIGN(attempt.refused, reader.boolean("refused"));
  TRY_ASSIGN(attempt.refusal, reader.text("refusal"));
  TRY_ASSIGN(attempt.conf_request_id, reader.text("conf_request_id"));
  if (reader.has("generation")) {
    TRY_ASSIGN(attempt.generation, reader.number<std::uint64_t>("generation"));
  }
  if (reader.has("jobs")) {  // not there in a state of version 0.1
    TRY_ASSIGN(const auto jobs, objects(reader, "jobs"));
    for (const json::object* object : jobs) {
      TRY_ASSIGN(PackageJob job, read_job(Reader(*object, "attempt.jobs[].")));
      attempt.jobs.push_back(std::move(job));
    }
  }
  TRY_ASSIGN(const json::object* staged, reader.object("staged"));
  TRY_ASSIGN(attempt.staged, read_staged(Reader(*staged, "attempt.staged.")));
  return attempt;
}

Result<SessionState> read_state(const Reader& reader) {
  TRY_ASSIGN(const std::int64_t format, reader.number<std::int64_t>("format"));
  if (format != kFormat) return reader.wrong("format", fmt::format("{}; this agent reads {}", format, kFormat));
  SessionState state;
  TRY_ASSIGN(const std::string phase, reader.text("phase"));
  const auto parsed = parse_phase(phase);
  if (!parsed) return reader.wrong("phase", parsed.error().message);
  state.phase = *parsed;
  TRY_ASSIGN(state.enabled, reader.boolean("enabled"));
  TRY_ASSIGN(state.provisioned, reader.boolean("provisioned"));
  TRY_ASSIGN(state.attempts_failed, reader.number<int>("attempts_failed"));
  if (state.attempts_failed < 0) return reader.wrong("attempts_failed", "negative");
  TRY_ASSIGN(state.generation, reader.number<std::uint64_t>("generation"));
  TRY_ASSIGN(const std::int64_t wait_length, reader.number<std::int64_t>("wait_length"));
  state.wait_length = Millis(wait_length);
  if (reader.has("attempt")) {
    TRY_ASSIGN(const json::object* attempt, reader.object("attempt"));
    TRY_ASSIGN(state.attempt, read_attempt(Reader(*attempt, "attempt.")));
  }
  if (reader.has("wait_until")) {
    TRY_ASSIGN(state.wait_until, reader.time("wait_until"));
  }
  if (reader.has("owner_since")) {
    TRY_ASSIGN(state.owner_since, reader.time("owner_since"));
  }
  if (reader.has("pinned_issuer")) {
    TRY_ASSIGN(state.pinned_issuer, reader.hex("pinned_issuer"));
  }
  if (reader.has("last_time")) {
    TRY_ASSIGN(state.last_time, reader.time("last_time"));
  }
  if (reader.has("last_failure")) {
    TRY_ASSIGN(const json::object* object, reader.object("last_failure"));
    const Reader failure(*object, "last_failure.");
    state.last_failure.emplace();
    TRY_ASSIGN(state.last_failure->at, failure.time("at"));
    TRY_ASSIGN(state.last_failure->what, failure.text("what"));
  }
  return state;
}

}  // namespace

std::string to_json(const SessionState& state) {
  json::object object{{"format", kFormat},
                      {"phase", to_string(state.phase)},
                      {"enabled", state.enabled},
                      {"provisioned", state.provisioned},
                      {"attempts_failed", state.attempts_failed},
                      {"generation", state.generation},
                      {"wait_length", state.wait_length.count()}};
  if (state.attempt) object["attempt"] = to_json_value(*state.attempt);
  if (state.wait_until) object["wait_until"] = to_unix_millis(*state.wait_until);
  if (state.owner_since) object["owner_since"] = to_unix_millis(*state.owner_since);
  if (state.pinned_issuer) object["pinned_issuer"] = to_hex(*state.pinned_issuer);
  if (state.last_time) object["last_time"] = to_unix_millis(*state.last_time);
  if (state.last_failure) {
    object["last_failure"] =
        json::object{{"at", to_unix_millis(state.last_failure->at)}, {"what", state.last_failure->what}};
  }
  return json::serialize(object);
}

Result<SessionState> parse_session_state(std::string_view text) {
  boost::system::error_code error;
  json::value value;
  try {
    value = json::parse({text.data(), text.size()}, error);
  } catch (const std::exception& exception) {  // the parser reports depth and memory this way
    return corrupt("JSON", exception.what());
  }
  if (error) return corrupt("JSON", error.message());
  if (!value.is_object()) return corrupt("JSON", "not an object");
  return read_state(Reader(value.get_object(), ""));
}

}  // namespace fleet::agent
