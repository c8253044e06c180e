#include "provisioner/plugin/rights.hpp"

#include <algorithm>
#include <array>

#include "core/protocol/topic.hpp"
#include "provisioner/admission/events.hpp"
#include "provisioner/admission/outbound.hpp"

namespace fleet::provisioner::plugin {
namespace {

constexpr std::array<std::string_view, 6> kReplyApps{
    protocol::kAppCert,     protocol::kAppKeysV1,   protocol::kAppKeysV2,
    protocol::kAppDeployV1, protocol::kAppDeployV2, protocol::kAppConf,
};

// The plugin puts a prefix in front of a device's topic, and MQTT's length field has 16 bits: what no longer fits would
// reach the provisioner as an empty topic and end its connection, at every reconnect anew. The protocol's are far shorter.
constexpr std::size_t kLongestTopic = 1024;

// Removes `prefix` from the front of `rest`; false, and `rest` as it was, if it is not there.
bool take(std::string_view& rest, std::string_view prefix) {
  if (!rest.starts_with(prefix)) return false;
  rest.remove_prefix(prefix.size());
  return true;
}

// Removes "`level`/".
bool take_level(std::string_view& rest, std::string_view level) {
  std::string_view tried = rest;
  if (!take(tried, level) || !take(tried, "/")) return false;
  rest = tried;
  return true;
}

bool take_account(std::string_view& rest, std::string_view account) {
  return take(rest, "$EDC/") && take_level(rest, account);
}

bool is_one_level(std::string_view rest) {
  return !rest.empty() && rest.find('/') == std::string_view::npos;
}

// `rest` = "{app}/REPLY/{one level}" or "DEPLOY-V2/NOTIFY/{client id}/#"
bool is_answer(std::string_view rest, std::string_view client_id) {
  std::string_view notify = rest;
  if (take_level(notify, protocol::kAppDeployV2) && take_level(notify, "NOTIFY") && take_level(notify, client_id)) {
    return !notify.empty();
  }
  return std::any_of(kReplyApps.begin(), kReplyApps.end(), [&](std::string_view app) {
    std::string_view reply = rest;
    return take_level(reply, app) && take_level(reply, "REPLY") && is_one_level(reply);
  });
}

bool device_may_publish(const ProvisionNames& names, std::string_view client_id, std::string_view topic) {
  if (topic.size() > kLongestTopic || !take_account(topic, names.account)) return false;
  std::string_view own = topic;
  if (take_level(own, client_id)) return take_level(own, "MQTT") && !own.empty();
  return take_level(topic, names.provisioner_id) && is_answer(topic, client_id);
}

}  // namespace

bool device_may(const ProvisionNames& names, std::string_view client_id, const Action& action) {
  // The form keeps `+`, `#` and `/` out of the comparisons below.
  if (!protocol::is_client_id(client_id) || client_id == names.provisioner_id) return false;
  if (action.access == Access::kPublish) {
    return !action.retain && device_may_publish(names, client_id, action.topic);
  }
  std::string_view rest = action.topic;
  return take_account(rest, names.account) && take_level(rest, client_id) && !rest.empty();
}

bool device_may_will(const ProvisionNames& names, std::string_view client_id, const Action& action) {
  std::string_view rest = action.topic;
  return device_may(names, client_id, action) && take_account(rest, names.account) && take_level(rest, client_id) &&
         rest == "MQTT/LWT";
}

bool provisioner_may(const ProvisionNames& names, const Action& action) {
  if (action.access != Access::kPublish) {
    return (action.topic.starts_with(kEventPrefix) && action.topic.size() > kEventPrefix.size()) || action.topic == kParcelsTaken;
  }
  if (action.retain) return false;
  return action.topic == kKickTopic || action.topic == kSendTopic || provisioner_may_send(names, action.topic);
}

bool provisioner_may_send(const ProvisionNames& names, std::string_view topic) {
  if (!take_account(topic, names.account)) return false;
  const std::size_t slash = topic.find('/');
  return slash != std::string_view::npos && slash > 0 && slash + 1 < topic.size();
}

std::string reportable(std::string_view topic) {
  constexpr std::size_t kReported = 200;
  if (topic.size() > kReported) return reportable(topic.substr(0, kReported)) + "…";
  constexpr std::string_view kReply = "/REPLY/";
  constexpr std::size_t kRequestIdSize = 32;  // 128 bits in hex: what is shorter is none of the provisioner's
  const std::size_t at = topic.find(kReply);
  if (at == std::string_view::npos || topic.size() - at - kReply.size() < kRequestIdSize) return std::string(topic);
  return std::string(topic.substr(0, at + kReply.size())) + "(id)";
}

bool owner_device_may(std::string_view account, std::string_view client_id, const Action& action) {
  if (!protocol::is_client_id(client_id)) return false;
  std::string_view rest = action.topic;
  take(rest, "$EDC/");
  return take_level(rest, account) && take_level(rest, client_id) && !rest.empty();
}

}  // namespace fleet::provisioner::plugin
