#include "core/protocol/topic.hpp"

#include <algorithm>
#include <array>

#include "core/base/bytes.hpp"

namespace fleet::protocol {
namespace {

constexpr std::string_view kRoot = "$EDC";
constexpr std::string_view kLifecycle = "MQTT";
constexpr std::string_view kReply = "REPLY";
constexpr std::string_view kNotify = "NOTIFY";
constexpr std::array<std::string_view, 5> kMethods{"GET", "PUT", "POST", "DEL", "EXEC"};
constexpr std::size_t kMaxName = 64;

bool is_alphanumeric(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_name(std::string_view text, std::string_view punctuation) {
  return !text.empty() && text.size() <= kMaxName && std::all_of(text.begin(), text.end(), [&](char c) {
    return is_alphanumeric(c) || punctuation.find(c) != std::string_view::npos;
  });
}

// Takes the first level and its slash off `rest`.
std::string_view take_level(std::string_view& rest) {
  const std::size_t slash = rest.find('/');
  const std::string_view level = rest.substr(0, slash);
  rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
  return level;
}

bool is_one_level(std::string_view text) {
  return !text.empty() && text.find('/') == std::string_view::npos;
}

}  // namespace

bool is_client_id(std::string_view text) {
  return is_name(text, "_:@=-");
}
bool is_account(std::string_view text) {
  return is_name(text, "_-");
}
bool is_request_id(std::string_view text) {
  return is_name(text, "_.:-");
}

std::string RequestTopic::str() const {
  return fmt::format("{}/{}/{}/{}/{}/{}", kRoot, account, client_id, app, method, resource);
}

std::string ReplyTopic::str() const {
  return fmt::format("{}/{}/{}/{}/{}/{}", kRoot, account, requester, app, kReply, request_id);
}

std::string NotifyTopic::str() const {
  return fmt::format("{}/{}/{}/{}/{}/{}/{}", kRoot, account, requester, app, kNotify, client_id, resource);
}

std::string LifecycleTopic::str() const {
  return fmt::format("{}/{}/{}/{}/{}", kRoot, account, client_id, kLifecycle, event);
}

Result<Topic> parse_topic(std::string_view topic) {
  const auto malformed = [](std::string_view why) { return fail(ErrorCode::kMalformed, "topic: {}", why); };
  if (topic.find_first_of(std::string_view("+#\0", 3)) != std::string_view::npos) {
    return malformed("a wildcard or NUL in it");
  }
  if (!is_utf8(topic)) return malformed("not UTF-8");
  if (topic.empty() || topic.front() == '/' || topic.back() == '/' || topic.find("//") != std::string_view::npos) {
    return malformed("an empty level");
  }
  std::string_view rest = topic;
  if (take_level(rest) != kRoot) return malformed("does not begin with $EDC");
  const std::string_view account = take_level(rest);
  const std::string_view client = take_level(rest);  // or the requester
  const std::string_view app = take_level(rest);
  if (app == kLifecycle) {
    if (!is_one_level(rest)) return malformed("MQTT wants one event behind it");
    return LifecycleTopic{std::string(account), std::string(client), std::string(rest)};
  }
  const std::string_view method = take_level(rest);
  if (rest.empty()) return malformed("too few levels");
  if (method == kReply) {
    if (!is_one_level(rest)) return malformed("REPLY wants one request id behind it");
    return ReplyTopic{std::string(account), std::string(client), std::string(app), std::string(rest)};
  }
  if (method == kNotify) {
    const std::string_view sender = take_level(rest);
    if (rest.empty()) return malformed("NOTIFY wants a client id and a resource behind it");
    return NotifyTopic{std::string(account), std::string(client), std::string(app), std::string(sender),
                       std::string(rest)};
  }
  if (std::find(kMethods.begin(), kMethods.end(), method) == kMethods.end()) return malformed("unknown method");
  return RequestTopic{std::string(account), std::string(client), std::string(app), std::string(method),
                      std::string(rest)};
}

std::string device_filter(std::string_view account, std::string_view client_id) {
  return fmt::format("{}/{}/{}/#", kRoot, account, client_id);
}

}  // namespace fleet::protocol
