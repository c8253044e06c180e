// What the plugin does at each of the broker's events; one implementation a mode.
#pragma once

#include <memory>

#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#include "core/base/result.hpp"
#include "provisioner/plugin/options.hpp"
#include "provisioner/plugin/rights.hpp"

namespace fleet::provisioner::plugin {

// Called on the broker's only thread; must take microseconds, and a parcel of messages no more than publishing them would. Answers are MOSQ_ERR_… codes.
class Mode {
 public:
  virtual ~Mode() = default;
  virtual int basic_auth(const mosquitto_evt_basic_auth& event) = 0;
  virtual int acl_check(const mosquitto_evt_acl_check& event) = 0;
  virtual int message(mosquitto_evt_message& event) = 0;
  virtual int control(const mosquitto_evt_control& event) = 0;
  virtual int disconnect(const mosquitto_evt_disconnect& event) = 0;
  virtual int tick() = 0;
};

Result<std::unique_ptr<Mode>> make_provision_mode(ProvisionOptions options);
std::unique_ptr<Mode> make_owner_mode(OwnerOptions options);

// The broker's C strings may be null.
inline std::string_view view(const char* text) {
  return text != nullptr ? std::string_view(text) : std::string_view();
}

// kReceive for anything that is not a publish or a (un)subscribe.
inline Action action_of(const mosquitto_evt_acl_check& event) {
  Action action{Access::kReceive, view(event.topic), event.retain};
  if (event.access == MOSQ_ACL_WRITE) action.access = Access::kPublish;
  if (event.access == MOSQ_ACL_SUBSCRIBE) action.access = Access::kSubscribe;
  if (event.access == MOSQ_ACL_UNSUBSCRIBE) action.access = Access::kUnsubscribe;
  return action;
}

inline int allowed_if(bool allowed) {
  return allowed ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED;
}

}  // namespace fleet::provisioner::plugin
