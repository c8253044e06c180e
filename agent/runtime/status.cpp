#include "agent/runtime/status.hpp"

#include <boost/json.hpp>

namespace fleet::agent {
namespace {

namespace json = boost::json;

json::value text_or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::value to_value(const std::optional<Failure>& failure) {
  if (!failure) return nullptr;
  return json::object{{"at", format_time(failure->at)}, {"what", failure->what}};
}

// --- reading: missing members and null are "not known"; a wrong type is an error

const json::value* member(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

Result<std::string> text(const json::object& object, std::string_view name) {
  const json::value* value = member(object, name);
  if (value == nullptr) return std::string();
  if (!value->is_string()) return fail(ErrorCode::kMalformed, "status: {}: not a text", name);
  return std::string(value->get_string());
}

Result<bool> boolean(const json::object& object, std::string_view name) {
  const json::value* value = member(object, name);
  if (value == nullptr || !value->is_bool()) return fail(ErrorCode::kMalformed, "status: {}: not true or false", name);
  return value->get_bool();
}

Result<std::optional<std::int64_t>> number(const json::object& object, std::string_view name) {
  const json::value* value = member(object, name);
  if (value == nullptr) return std::optional<std::int64_t>();
  boost::system::error_code error;
  const auto result = value->to_number<std::int64_t>(error);
  if (error) return fail(ErrorCode::kMalformed, "status: {}: not a whole number", name);
  return std::optional(result);
}

Result<std::optional<WallTime>> time(const json::object& object, std::string_view name) {
  TRY_ASSIGN(const std::string value, text(object, name));
  if (value.empty()) return std::optional<WallTime>();
  TRY_ASSIGN(const WallTime parsed, parse_time(value));
  return std::optional(parsed);
}

Result<std::optional<Failure>> failure(const json::object& object, std::string_view name) {
  const json::value* value = member(object, name);
  if (value == nullptr) return std::optional<Failure>();
  if (!value->is_object()) return fail(ErrorCode::kMalformed, "status: {}: not an object", name);
  TRY_ASSIGN(const auto at, time(value->get_object(), "at"));
  TRY_ASSIGN(std::string what, text(value->get_object(), "what"));
  return std::optional(Failure{at.value_or(WallTime()), std::move(what)});
}

Result<std::vector<AgentStatus::Broker>> brokers(const json::object& object) {
  std::vector<AgentStatus::Broker> list;
  const json::value* value = member(object, "brokers");
  if (value == nullptr) return list;
  if (!value->is_array()) return fail(ErrorCode::kMalformed, "status: brokers: not a list");
  for (const json::value& entry : value->get_array()) {
    if (!entry.is_object()) return fail(ErrorCode::kMalformed, "status: brokers: not a list of objects");
    AgentStatus::Broker& broker = list.emplace_back();
    TRY_ASSIGN(broker.url, text(entry.get_object(), "url"));
    TRY_ASSIGN(broker.connection, text(entry.get_object(), "connection"));
    TRY_ASSIGN(broker.failure, failure(entry.get_object(), "lastFailure"));
  }
  return list;
}

Result<std::vector<Package>> packages(const json::object& object) {
  std::vector<Package> list;
  const json::value* value = member(object, "packages");
  if (value == nullptr) return list;
  if (!value->is_array()) return fail(ErrorCode::kMalformed, "status: packages: not a list");
  for (const json::value& entry : value->get_array()) {
    if (!entry.is_object()) return fail(ErrorCode::kMalformed, "status: packages: not a list of objects");
    Package& package = list.emplace_back();
    TRY_ASSIGN(package.id.name, text(entry.get_object(), "name"));
    TRY_ASSIGN(package.id.version, text(entry.get_object(), "version"));
    TRY_ASSIGN(package.sha256, text(entry.get_object(), "sha256"));
  }
  return list;
}

Result<AgentStatus> read(const json::object& object) {
  AgentStatus status;
  TRY_ASSIGN(status.pid, number(object, "pid"));
  TRY_ASSIGN(status.phase, text(object, "phase"));
  TRY_ASSIGN(status.enabled, boolean(object, "enabled"));
  TRY_ASSIGN(status.provisioned, boolean(object, "provisioned"));
  TRY_ASSIGN(const auto attempts, number(object, "attemptsFailed"));
  TRY_ASSIGN(const auto generation, number(object, "generation"));
  status.attempts_failed = static_cast<int>(attempts.value_or(0));
  status.generation = static_cast<std::uint64_t>(generation.value_or(0));
  TRY_ASSIGN(status.packages, packages(object));
  TRY_ASSIGN(status.client_id, text(object, "clientId"));
  TRY_ASSIGN(status.owner_broker, text(object, "ownerBroker"));
  TRY_ASSIGN(status.owner_connection, text(object, "ownerConnection"));
  TRY_ASSIGN(status.owner_failure, failure(object, "ownerFailure"));
  TRY_ASSIGN(status.last_failure, failure(object, "lastFailure"));
  TRY_ASSIGN(status.next_try, time(object, "nextTry"));
  TRY_ASSIGN(status.next, text(object, "next"));
  TRY_ASSIGN(status.brokers, brokers(object));
  return status;
}

}  // namespace

AgentStatus status_of(const SessionState& state) {
  AgentStatus status;
  status.phase = to_string(state.phase);
  status.enabled = state.enabled;
  status.provisioned = state.provisioned;
  status.attempts_failed = state.attempts_failed;
  status.generation = state.generation;
  status.last_failure = state.last_failure;
  status.next_try = next_try(state);
  status.next = what_next(state);
  return status;
}

std::string what_next(const SessionState& state) {
  switch (state.phase) {
    case Phase::kDisabled:
      return "nothing: provisioning is switched off (enabled: false)";
    case Phase::kWaiting:
      return "another provision attempt";
    case Phase::kConnecting:
      return "the provision broker is tried until it takes us";
    case Phase::kHello:
      return "the platform has to answer our hello; without an answer the attempt ends after `timeout`";
    case Phase::kInstalling:
      return "the platform has to send the rest; without it the attempt ends after `timeout`";
    case Phase::kConfirming:
      return "the platform has to confirm; then the owner's broker is connected to";
    case Phase::kAwaitingOwner:
      return "the owner's broker is tried until it takes us; after `owner-timeout` the platform is asked too";
    case Phase::kProvisioned:
      return "the connection to the owner's broker is kept, or made again";
    case Phase::kGaveUp:
      return "nothing before `provision-agent reset`: retry-max-attempts is used up";
  }
  return "";
}

std::string to_json(const AgentStatus& status) {
  json::array brokers;
  for (const AgentStatus::Broker& broker : status.brokers) {
    brokers.push_back(json::object{{"url", broker.url},
                                   {"connection", text_or_null(broker.connection)},
                                   {"lastFailure", to_value(broker.failure)}});
  }
  json::array packages;
  for (const Package& package : status.packages) {
    packages.push_back(
        json::object{{"name", package.id.name}, {"version", package.id.version}, {"sha256", package.sha256}});
  }
  json::object object{{"source", status.pid ? "agent" : "state-file"},
                      {"pid", nullptr},
                      {"phase", status.phase},
                      {"enabled", status.enabled},
                      {"provisioned", status.provisioned},
                      {"clientId", text_or_null(status.client_id)},
                      {"generation", status.generation},
                      {"packages", std::move(packages)},
                      {"ownerBroker", text_or_null(status.owner_broker)},
                      {"ownerConnection", text_or_null(status.owner_connection)},
                      {"ownerFailure", to_value(status.owner_failure)},
                      {"attemptsFailed", status.attempts_failed},
                      {"lastFailure", to_value(status.last_failure)},
                      {"nextTry", nullptr},
                      {"next", text_or_null(status.next)},
                      {"brokers", std::move(brokers)}};
  if (status.pid) object["pid"] = *status.pid;
  if (status.next_try) object["nextTry"] = format_time(*status.next_try);
  return json::serialize(object);
}

Result<AgentStatus> parse_status(std::string_view text) {
  boost::system::error_code error;
  json::value value;
  try {
    value = json::parse({text.data(), text.size()}, error);
  } catch (const std::exception& exception) {  // the parser reports depth and memory this way
    return fail(ErrorCode::kMalformed, "status: {}", exception.what());
  }
  if (error || !value.is_object()) return fail(ErrorCode::kMalformed, "status: not a JSON object");
  return read(value.get_object());
}

}  // namespace fleet::agent
