// Topics of provisioning over MQTT (edc §1, §3, §4, §5) and the forms of the names in them.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "core/base/result.hpp"

namespace fleet::protocol {

// App ids that the two ends speak.
inline constexpr std::string_view kAppProv = "PROV-V1";
inline constexpr std::string_view kAppCert = "CERT-V1";
inline constexpr std::string_view kAppKeysV1 = "KEYS-V1";
inline constexpr std::string_view kAppKeysV2 = "KEYS-V2";
inline constexpr std::string_view kAppDeployV1 = "DEPLOY-V1";
inline constexpr std::string_view kAppDeployV2 = "DEPLOY-V2";
inline constexpr std::string_view kAppConf = "CONF-V1";

// The forms of edc §1 and §3. A name that does not have its form never gets into a topic.
bool is_client_id(std::string_view text);   // [A-Za-z0-9_:@=-]{1,64}
bool is_account(std::string_view text);     // [A-Za-z0-9_-]{1,64}; also the provisioner's client id
bool is_request_id(std::string_view text);  // [A-Za-z0-9_.:-]{1,64}

// `$EDC/{account}/{client id}/{app}/{method}/{resource}`
struct RequestTopic {
  std::string account, client_id, app, method, resource;
  std::string str() const;
  friend bool operator==(const RequestTopic&, const RequestTopic&) = default;
};

// `$EDC/{account}/{requester}/{app}/REPLY/{request id}`
struct ReplyTopic {
  std::string account, requester, app, request_id;
  std::string str() const;
  friend bool operator==(const ReplyTopic&, const ReplyTopic&) = default;
};

// `$EDC/{account}/{requester}/{app}/NOTIFY/{client id}/{resource}`
struct NotifyTopic {
  std::string account, requester, app, client_id, resource;
  std::string str() const;
  friend bool operator==(const NotifyTopic&, const NotifyTopic&) = default;
};

// `$EDC/{account}/{client id}/MQTT/{PROV|BIRTH|DC|LWT|…}`
struct LifecycleTopic {
  std::string account, client_id, event;
  std::string str() const;
  friend bool operator==(const LifecycleTopic&, const LifecycleTopic&) = default;
};

using Topic = std::variant<RequestTopic, ReplyTopic, NotifyTopic, LifecycleTopic>;

// Any `$EDC/…` topic; kMalformed if it is none of the four, has an empty level or a wildcard. Names are not checked
// against their forms beyond that: compare them with the ones that you expect.
Result<Topic> parse_topic(std::string_view topic);

// `$EDC/{account}/{client id}/#`: what a device subscribes to.
std::string device_filter(std::string_view account, std::string_view client_id);

}  // namespace fleet::protocol
