// Who may publish and receive what: the tables of edc §1 (provision broker) and §5 (owner's broker). Pure.
#pragma once

#include <string>
#include <string_view>

namespace fleet::provisioner::plugin {

enum class Access { kPublish, kReceive, kSubscribe, kUnsubscribe };

// One thing that a client wants to do. `topic` is a filter for kSubscribe and kUnsubscribe.
struct Action {
  Access access = Access::kPublish;
  std::string_view topic;
  bool retain = false;
};

// The two names that the provision broker's table is about.
struct ProvisionNames {
  std::string account;
  std::string provisioner_id;
};

// A device on the provision broker (edc §1). `client_id` must have its form, or nothing is allowed.
bool device_may(const ProvisionNames& names, std::string_view client_id, const Action& action);

// Of these, what its will may be: `$EDC/{acc}/{cid}/MQTT/LWT`, not retained.
bool device_may_will(const ProvisionNames& names, std::string_view client_id, const Action& action);

// The provisioner's client: sends through the plugin and kicks, receives what the plugin addresses to it. What it may send it may
// also publish by itself, as one of an older version does.
bool provisioner_may(const ProvisionNames& names, const Action& action);
// What it may send: into devices' trees.
bool provisioner_may_send(const ProvisionNames& names, std::string_view topic);

// A topic as it may be reported: without a REPLY's request id that may be an open one of the provisioner (edc §3).
std::string reportable(std::string_view topic);

// A device on the owner's broker (edc §5).
bool owner_device_may(std::string_view account, std::string_view client_id, const Action& action);

}  // namespace fleet::provisioner::plugin
