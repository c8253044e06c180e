// `describe`: a page for a person at three in the morning.
#include <sysexits.h>

#include <boost/json.hpp>

#include "core/base/bytes.hpp"
#include "provisioner/cli/call.hpp"
#include "provisioner/cli/commands.hpp"
#include "provisioner/cli/output.hpp"

namespace fleet::provisioner {
namespace {

namespace json = boost::json;

constexpr std::size_t kAttemptsInFull = 2;

std::string state_line(const json::object& request) {
  std::string text = text_at(request, "status");
  if (!flag_at(request, "enabled")) text += ", DISABLED";
  const std::int64_t failures = number_at(request, "failures");
  const std::int64_t limit = number_at(request, "retryMaxAttempts");
  if (failures > 0) text += fmt::format(", {} failed attempt{}", failures, failures == 1 ? "" : "s");
  if (failures > 0 && limit > 0) text += fmt::format(" of {} allowed", limit);
  return text;
}

// What a device was told last, if it was refused since anything else has happened to it; "" otherwise. A lockout is not
// looked at: it follows from refusals, which tell why.
std::string last_refusal(const json::array& timeline) {
  for (auto line = timeline.rbegin(); line != timeline.rend(); ++line) {
    const std::string kind = text_at(line->as_object(), "kind");
    if (kind == "refused") return text_at(line->as_object(), "text");
    if (kind != "locked") break;
  }
  return {};
}

// Whether the device asked again for what it has, since it got it.
bool came_back(const json::array& timeline) {
  for (std::size_t i = timeline.size(); i-- > 0;) {
    const json::object& line = timeline[i].as_object();
    if (text_at(line, "kind") == "completed") return false;
    if (text_at(line, "kind") == "refused" && text_at(line, "text").find("already provisioned") != std::string::npos) {
      return true;
    }
  }
  return false;
}

// What can be done about it, if no state of the request is the reason.
std::string_view remedy(std::string_view refusal) {
  for (const std::string_view secret : {"wrong-credentials", "wrong username", "activation key"}) {
    if (refusal.find(secret) == std::string_view::npos) continue;
    return "Give it the username, password and activation key of this request, or apply the request with another "
           "spec.provisionUserPassword";
  }
  return "Put that right on the device; it tries again by itself";
}

// What the person who reads this can do, beginning with what keeps the device out altogether.
std::string next_step(const json::object& request, const json::array& timeline, WallTime now) {
  const std::string name = text_at(request, "name");
  const std::string status = text_at(request, "status");
  const std::string last_error = text_at(request, "lastError");
  if (status == "COMPLETED" && came_back(timeline)) {
    return fmt::format(
        "the device came back after it was completed: it was reset, or it cannot reach its owner's broker. Check url "
        "and CA of account {}, then: provisioner retry request {}",
        text_at(request, "account"), name);
  }
  if (status == "COMPLETED") {
    return fmt::format("nothing: it is provisioned. To provision it anew: provisioner retry request {}", name);
  }
  if (!flag_at(request, "enabled"))
    return fmt::format("the device is refused while this is disabled: provisioner enable request {}", name);
  if (const auto closes = parse_time(text_at(request, "expiresOn")); closes && *closes <= now) {
    return "it has expired and the device is refused: set a later spec.expiresOn and apply it";
  }
  if (const auto opens = parse_time(text_at(request, "activatesOn")); opens && *opens > now) {
    return fmt::format("the device is refused until {}: wait, or set an earlier spec.activatesOn and apply it",
                       format_time(*opens));
  }
  if (!last_error.empty()) return last_error;
  if (const std::string refusal = last_refusal(timeline); status == "CREATED" && !refusal.empty()) {
    return fmt::format("the device was here: {}. {}", refusal, remedy(refusal));
  }
  if (status == "CREATED")
    return "waiting for the device to connect with the client id, username and password of this request";
  return "in progress: the attempt below shows what the device owes";
}

// "password, STRICT (deviceCredentialsTight: INHERITED), over mqtt:// (provisionSecureURL: false)"
std::string owner_login(const json::object& request) {
  std::string text = text_at(request, "ownerLogin");
  if (text.starts_with("password")) {
    text += fmt::format(" (deviceCredentialsTight: {})", text_at(request, "deviceCredentialsTight"));
  }
  return flag_at(request, "provisionSecureURL") ? text : text + ", over mqtt:// (provisionSecureURL: false)";
}

std::vector<std::pair<std::string, std::string>> summary(const json::object& request, const json::array& timeline,
                                                         WallTime now) {
  const std::string opens = text_at(request, "activatesOn"), closes = text_at(request, "expiresOn");
  std::string params;
  for (const json::value& param : array_at(request, "params")) {
    if (param.is_string()) params += (params.empty() ? "" : ", ") + std::string(param.get_string());
  }
  return {{"Request", text_at(request, "name")},
          {"State", state_line(request)},
          {"What next", next_step(request, timeline, now)},
          {"Client id", text_at(request, "clientId")},
          {"Username", text_at(request, "username")},
          {"Activation key", text_at(request, "activationKey")},
          {"Profile", text_at(request, "profile")},
          {"Account", fmt::format("{} at {}", text_at(request, "account"), text_at(request, "ownerBroker"))},
          {"Owner login", owner_login(request)},
          {"Labels", join_map(object_at(request, "labels"))},
          {"Params", params.empty() ? "" : params + " (values are not shown)"},
          {"Opens", opens.empty() ? "at once" : with_age(opens, now)},
          {"Closes", closes.empty() ? "never" : with_age(closes, now)},
          {"Created", with_age(text_at(request, "createdAt"), now)},
          {"Changed", with_age(text_at(request, "updatedAt"), now)},
          {"Completed", with_age(text_at(request, "completedAt"), now)}};
}

// An attempt that has ended waits for nothing.
std::string reply_text(const json::object& step, bool ended, WallTime now) {
  const std::string code = text_at(step, "replyCode");
  if (code.empty()) return ended ? "" : "no reply yet";
  const std::string words = text_at(step, "replyError");
  return fmt::format("{}{} {}", code, words.empty() ? "" : " " + words, with_age(text_at(step, "repliedAt"), now));
}

void print_steps(const json::object& attempt, WallTime now) {
  const json::array& steps = array_at(attempt, "steps");
  if (steps.empty()) return;
  print(fmt::format("\nSteps of attempt {}\n", text_at(attempt, "number")));
  const bool ended = !text_at(attempt, "endedAt").empty();
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : steps) {
    const json::object& step = value.as_object();
    const std::int64_t times = number_at(step, "timesSent");
    rows.push_back({text_at(step, "summary"),
                    text_at(step, "sentAt") + (times > 1 ? fmt::format(" ({} times)", times) : ""),
                    reply_text(step, ended, now)});
  }
  print_table({"STEP", "SENT", "REPLY"}, rows);
}

void print_attempts(const json::array& attempts, WallTime now) {
  if (attempts.empty()) return;
  print("\nAttempts\n");
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : attempts) {
    const json::object& attempt = value.as_object();
    const std::string deadline = text_at(attempt, "deadline");
    rows.push_back({text_at(attempt, "number"), text_at(attempt, "state"), with_age(text_at(attempt, "startedAt"), now),
                    deadline.empty() ? text_at(attempt, "endedAt") : "fails at " + deadline + " if nothing moves",
                    text_at(attempt, "error")});
  }
  print_table({"NO", "STATE", "STARTED", "ENDED", "WHY"}, rows);
  const std::size_t first = attempts.size() > kAttemptsInFull ? attempts.size() - kAttemptsInFull : 0;
  for (std::size_t i = first; i < attempts.size(); ++i) print_steps(attempts[i].as_object(), now);
}

void print_certificates(const json::array& certificates, WallTime now) {
  if (certificates.empty()) return;
  print("\nCertificates\n");
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : certificates) {
    const json::object& certificate = value.as_object();
    rows.push_back({text_at(certificate, "serial"), with_age(text_at(certificate, "issuedAt"), now),
                    with_age(text_at(certificate, "notAfter"), now)});
  }
  print_table({"SERIAL", "ISSUED", "EXPIRES"}, rows);
}

void print_timeline(const json::array& timeline, WallTime now) {
  if (timeline.empty()) return;
  print("\nTimeline\n");
  std::vector<std::vector<std::string>> rows;
  for (const json::value& value : timeline) {
    const json::object& line = value.as_object();
    rows.push_back({text_at(line, "at"), age_of(text_at(line, "at"), now), text_at(line, "attempt"),
                    text_at(line, "kind"), text_at(line, "text")});
  }
  print_table({"AT", "AGO", "ATTEMPT", "WHAT", ""}, rows);
}

}  // namespace

Result<int> describe_request(const DataLayout& layout, const std::string& name, OutputFormat format) {
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", "/v1/requests/" + percent_encode(name)));
  if (format != OutputFormat::kTable) {
    print_value(answer, format);
    return EX_OK;
  }
  const WallTime now = wall_now();
  const json::object& request = object_at(answer, "request");
  print_fields(summary(request, array_at(answer, "timeline"), now));
  const json::object& facts = object_at(request, "facts");
  if (!facts.empty()) {
    print("\nWhat the device said of itself\n");
    std::vector<std::pair<std::string, std::string>> fields;
    for (const auto& [key, value] : facts) fields.emplace_back(printable(key), text_at(facts, key));
    print_fields(fields);
  }
  print_attempts(array_at(answer, "attempts"), now);
  print_certificates(array_at(answer, "certificates"), now);
  print_timeline(array_at(answer, "timeline"), now);
  return EX_OK;
}

Result<int> describe_certificate(const DataLayout& layout, const std::string& serial, bool only_pem,
                                 OutputFormat format) {
  TRY_ASSIGN(const json::object answer, call_service(layout, "GET", "/v1/certificates/" + percent_encode(serial)));
  const json::object& certificate = object_at(answer, "certificate");
  if (only_pem) {
    print(text_at(certificate, "pem"));
    return EX_OK;
  }
  if (format != OutputFormat::kTable) {
    print_value(certificate, format);
    return EX_OK;
  }
  const WallTime now = wall_now();
  const std::string request = text_at(certificate, "request");
  print_fields({{"Serial", text_at(certificate, "serial")},
                {"Subject", text_at(certificate, "subject")},
                {"Client id", text_at(certificate, "clientId")},
                {"Request", request.empty() ? "deleted" : request},
                {"Key", "SHA-256 " + text_at(certificate, "keySha256")},
                {"Valid from", with_age(text_at(certificate, "notBefore"), now)},
                {"Expires", with_age(text_at(certificate, "notAfter"), now)},
                {"Issued", with_age(text_at(certificate, "issuedAt"), now)}});
  return EX_OK;
}

}  // namespace fleet::provisioner
