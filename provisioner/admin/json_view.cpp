#include "provisioner/admin/json_view.hpp"

#include <algorithm>
#include <map>

#include <boost/json.hpp>

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

// What devices said may be anything; JSON is UTF-8.
json::value text(const std::string& value) {
  if (is_utf8(value)) return json::value(value);
  std::string repaired = value;
  std::replace_if(
      repaired.begin(), repaired.end(), [](char c) { return static_cast<unsigned char>(c) >= 0x80; }, '?');
  return json::value(repaired);
}

json::value time(const std::optional<WallTime>& value) {
  return value ? json::value(format_time(*value)) : json::value(nullptr);
}

json::object map(const std::map<std::string, std::string>& values) {
  json::object object;
  for (const auto& [key, value] : values) object[text(key).as_string()] = text(value);
  return object;
}

json::array to_json(const std::vector<Applied>& applied) {
  json::array list;
  for (const Applied& item : applied) {
    list.push_back({{"document", item.document}, {"kind", item.kind}, {"name", item.name}, {"change", item.change}});
  }
  return list;
}

json::value secret(const std::optional<Secret>& value) {
  return value ? json::value(value->reveal()) : json::value(nullptr);
}

std::string_view activation_key_state(const ProvisionRequest& request) {
  if (!request.activation_key_verifier) return "none";
  return request.activation_key_used ? "used" : "unused";
}

// What the device logs in to its owner's broker with, and what of that is bound to its client id.
json::value owner_login(const std::optional<Account>& account) {
  if (!account) return nullptr;
  if (account->credentials != OwnerCredentials::kPassword) return "certificate";
  return account->is_strict() ? "password, STRICT" : "password, LOOSE";
}

json::object to_json(const Step& step) {
  return {{"kind", to_string(step.kind)},
          {"summary", text(step.summary)},
          {"held", step.held},
          {"sentAt", step.held ? json::value(nullptr) : json::value(format_time(step.sent_at))},
          {"timesSent", step.send_count},
          {"replyCode", step.reply_code ? json::value(*step.reply_code) : json::value(nullptr)},
          {"replyError", text(step.reply_error)},
          {"repliedAt", time(step.replied_at)},
          {"progress", step.job_id ? json::value(step.progress / 2) : json::value(nullptr)},
          {"installed", step.installed ? json::value(*step.installed) : json::value(nullptr)}};
}

json::object to_json(const RequestDescription::AttemptAndSteps& item) {
  const Attempt& attempt = item.attempt;
  json::array steps;
  for (const Step& step : item.steps) steps.push_back(to_json(step));
  return {{"number", attempt.number},
          {"state", to_string(attempt.state)},
          {"startedAt", format_time(attempt.started_at)},
          {"movedAt", format_time(attempt.moved_at)},
          {"endedAt", time(attempt.ended_at)},
          {"deadline",
           attempt.ended_at ? json::value(nullptr) : json::value(format_time(attempt.moved_at + attempt.timeout))},
          {"error", text(attempt.error)},
          {"ownerCredentials", to_string(attempt.handover)},
          {"ownerUsername", text(attempt.owner_username)},
          {"steps", std::move(steps)}};
}

json::object to_json(const IssuedCertificate& certificate) {
  return {{"serial", certificate.serial},
          {"notBefore", format_time(certificate.not_before)},
          {"notAfter", format_time(certificate.not_after)},
          {"issuedAt", format_time(certificate.issued_at)}};
}

json::array to_json(const std::vector<TimelineEntry>& timeline, const std::map<std::int64_t, int>& attempt_numbers) {
  json::array lines;
  for (const TimelineEntry& entry : timeline) {
    json::value number = nullptr;
    if (entry.attempt_id) {
      if (const auto found = attempt_numbers.find(*entry.attempt_id); found != attempt_numbers.end())
        number = found->second;
    }
    lines.push_back(
        {{"at", format_time(entry.at)}, {"kind", entry.kind}, {"text", text(entry.text)}, {"attempt", number}});
  }
  return lines;
}

}  // namespace

json::object to_json(const ProvisionRequest& request) {
  return {{"name", request.name},
          {"clientId", request.client_id},
          {"username", request.username},
          {"profile", request.profile},
          {"labels", map(request.labels)},
          {"status", to_string(request.status)},
          {"enabled", request.enabled},
          {"provisionSecureURL", request.secure_url},
          {"deviceCredentialsTight", to_string(request.tight)},
          {"activatesOn", time(request.activates_on)},
          {"expiresOn", time(request.expires_on)},
          {"failures", request.failures},
          {"lastError", text(request.last_error)},
          {"optlock", request.optlock},
          {"createdAt", format_time(request.created_at)},
          {"updatedAt", format_time(request.updated_at)},
          {"completedAt", time(request.completed_at)}};
}

json::object to_json(const Account& account) {
  return {{"name", account.name},
          {"brokerUrl", account.broker_url},
          {"credentials", to_string(account.credentials)},
          {"deviceCredentialsTight", to_string(account.tight)},
          {"caCertificates", account.ca_pem.size()}};
}

json::object to_json(const Profile& profile) {
  json::array components;
  for (const protocol::ComponentConfiguration& component : profile.configuration)
    components.emplace_back(component.pid);
  return {{"name", profile.name},
          {"account", profile.account},
          {"components", std::move(components)},
          {"certificateValidity", format_duration(profile.certificate_validity)},
          {"retryMaxAttempts", profile.retry_max_attempts},
          {"attemptTimeout", format_duration(profile.attempt_timeout)}};
}

json::object to_json(const RequestProgress& progress) {
  json::object statuses;
  for (const auto& [status, count] : progress.by_status) statuses[to_string(status)] = count;
  json::array reasons;
  for (const FailureReason& reason : progress.reasons) {
    reasons.push_back({{"cause", text(reason.cause)}, {"requests", reason.requests}, {"example", text(reason.example)}});
  }
  return {{"total", progress.total},       {"statuses", std::move(statuses)}, {"disabled", progress.disabled},
          {"expired", progress.expired},   {"notYet", progress.not_yet},      {"stuck", progress.stuck},
          {"reasons", std::move(reasons)}};
}

json::object to_json(const CertificateRecord& record) {
  json::object object = to_json(record.certificate);
  object["clientId"] = record.certificate.client_id;
  object["subject"] = "CN=" + record.certificate.client_id;  // as issue_device_certificate has it
  object["request"] = record.request ? json::value(*record.request) : json::value(nullptr);
  object["keySha256"] = to_hex(record.certificate.spki_sha256);
  return object;
}

json::object to_json(const RequestDescription& description) {
  const ProvisionRequest& request = description.request;
  json::object object = to_json(request);
  std::optional<int> retries = request.retry_max_attempts;
  if (!retries && description.profile) retries = description.profile->retry_max_attempts;
  object["retryMaxAttempts"] = retries ? json::value(*retries) : json::value(nullptr);
  object["account"] = description.account ? json::value(description.account->name) : json::value(nullptr);
  object["ownerBroker"] = description.account ? json::value(description.account->broker_url) : json::value(nullptr);
  object["ownerLogin"] = owner_login(description.account);
  object["activationKey"] = activation_key_state(request);
  // a parameter may well be somebody's Wi-Fi password: its name is enough
  json::array params;
  for (const auto& [name, value] : request.params) params.push_back(text(name));
  object["params"] = std::move(params);
  object["facts"] = map(request.facts);

  json::array attempts, certificates;
  std::map<std::int64_t, int> numbers;
  for (const auto& item : description.attempts) {
    numbers[item.attempt.id] = item.attempt.number;
    attempts.push_back(to_json(item));
  }
  for (const IssuedCertificate& certificate : description.certificates) certificates.push_back(to_json(certificate));
  return {{"request", std::move(object)},
          {"attempts", std::move(attempts)},
          {"certificates", std::move(certificates)},
          {"timeline", to_json(description.timeline, numbers)}};
}

json::object to_json(const std::vector<AuditEntry>& entries) {
  json::array lines;
  for (const AuditEntry& entry : entries) {
    lines.push_back({{"at", format_time(entry.at)},
                     {"until", format_time(entry.until)},
                     {"times", entry.times},
                     {"kind", entry.kind},
                     {"who", text(entry.who)},
                     {"clientId", text(entry.client_id)},
                     {"text", text(entry.text)}});
  }
  return {{"audit", std::move(lines)}};
}

json::object to_json(const ApplyReport& report) {
  json::array secrets;
  for (const GeneratedSecret& item : report.secrets) {
    secrets.push_back({{"name", item.name},
                       {"clientId", item.client_id},
                       {"username", item.username},
                       {"password", secret(item.password)},
                       {"activationKey", secret(item.activation_key)}});
  }
  return {{"applied", to_json(report.applied)}, {"secrets", std::move(secrets)}};
}

json::object to_json_of_check(const ApplyReport& report) {
  json::array secrets;
  for (const GeneratedSecret& item : report.secrets) {
    secrets.push_back({{"name", item.name},
                       {"password", item.password.has_value()},
                       {"activationKey", item.activation_key.has_value()}});
  }
  return {{"applied", to_json(report.applied)}, {"secrets", std::move(secrets)}};
}

}  // namespace fleet::provisioner
