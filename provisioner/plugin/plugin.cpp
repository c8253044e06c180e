// The C ABI of the Mosquitto plugin, API version 5 (broker 2.0): three exported functions, and callbacks through which
// no exception passes. Whatever goes wrong in one of them denies.
#include <algorithm>
#include <array>
#include <exception>

#include "provisioner/admission/events.hpp"
#include "provisioner/admission/outbound.hpp"
#include "provisioner/plugin/mode.hpp"

#define PLUGIN_EXPORT extern "C" __attribute__((visibility("default")))

namespace fleet::provisioner::plugin {
namespace {

template <typename Function>
int guarded(const char* what, int on_failure, Function&& function) noexcept {
  try {
    return function();
  } catch (const std::exception& e) {
    mosquitto_log_printf(MOSQ_LOG_ERR, "Error: provisioner_auth: %s: %s", what, e.what());
  } catch (...) {
    mosquitto_log_printf(MOSQ_LOG_ERR, "Error: provisioner_auth: %s: failed", what);
  }
  return on_failure;
}

Mode& mode_of(void* userdata) {
  return *static_cast<Mode*>(userdata);
}

int on_basic_auth(int, void* event, void* userdata) {
  return guarded("authentication", MOSQ_ERR_AUTH,
                 [&] { return mode_of(userdata).basic_auth(*static_cast<mosquitto_evt_basic_auth*>(event)); });
}

int on_acl_check(int, void* event, void* userdata) {
  return guarded("access check", MOSQ_ERR_ACL_DENIED,
                 [&] { return mode_of(userdata).acl_check(*static_cast<mosquitto_evt_acl_check*>(event)); });
}

int on_message(int, void* event, void* userdata) {
  return guarded("message", MOSQ_ERR_ACL_DENIED,
                 [&] { return mode_of(userdata).message(*static_cast<mosquitto_evt_message*>(event)); });
}

int on_control(int, void* event, void* userdata) {
  return guarded("control", MOSQ_ERR_SUCCESS,
                 [&] { return mode_of(userdata).control(*static_cast<mosquitto_evt_control*>(event)); });
}

int on_disconnect(int, void* event, void* userdata) {
  return guarded("disconnect", MOSQ_ERR_SUCCESS,
                 [&] { return mode_of(userdata).disconnect(*static_cast<mosquitto_evt_disconnect*>(event)); });
}

int on_tick(int, void*, void* userdata) {
  return guarded("tick", MOSQ_ERR_SUCCESS, [&] { return mode_of(userdata).tick(); });
}

struct Registration {
  int event;
  MOSQ_FUNC_generic_callback callback;
  const char* data;
};

Result<std::unique_ptr<Mode>> make_mode(const mosquitto_opt* options, int count) {
  OptionList list;
  for (int i = 0; i < count; ++i) list.emplace_back(view(options[i].key), view(options[i].value));
  TRY_ASSIGN(Options parsed, parse_options(list));
  if (auto* const owner = std::get_if<OwnerOptions>(&parsed)) return make_owner_mode(std::move(*owner));
  return make_provision_mode(std::get<ProvisionOptions>(std::move(parsed)));
}

int init(mosquitto_plugin_id_t* identifier, void** userdata, const mosquitto_opt* options, int count) {
  auto mode = make_mode(options, count);
  if (!mode) {
    mosquitto_log_printf(MOSQ_LOG_ERR, "Error: provisioner_auth: %s", mode.error().message.c_str());
    return MOSQ_ERR_UNKNOWN;
  }
  static const std::string kick_topic(kKickTopic), send_topic(kSendTopic);
  const std::array<Registration, 7> registrations{{
      {MOSQ_EVT_BASIC_AUTH, on_basic_auth, nullptr},
      {MOSQ_EVT_ACL_CHECK, on_acl_check, nullptr},
      {MOSQ_EVT_MESSAGE, on_message, nullptr},
      {MOSQ_EVT_CONTROL, on_control, kick_topic.c_str()},
      {MOSQ_EVT_CONTROL, on_control, send_topic.c_str()},
      {MOSQ_EVT_DISCONNECT, on_disconnect, nullptr},
      {MOSQ_EVT_TICK, on_tick, nullptr},
  }};
  for (const Registration& r : registrations) {
    const int result = mosquitto_callback_register(identifier, r.event, r.callback, r.data, mode->get());
    if (result != MOSQ_ERR_SUCCESS) {
      mosquitto_log_printf(MOSQ_LOG_ERR, "Error: provisioner_auth: event %d cannot be registered (%d)", r.event,
                           result);
      return result;
    }
  }
  *userdata = mode->release();
  return MOSQ_ERR_SUCCESS;
}

}  // namespace
}  // namespace fleet::provisioner::plugin

PLUGIN_EXPORT int mosquitto_plugin_version(int supported_version_count, const int* supported_versions) {
  const int* const end = supported_versions + supported_version_count;
  return std::find(supported_versions, end, MOSQ_PLUGIN_VERSION) != end ? MOSQ_PLUGIN_VERSION : -1;
}

PLUGIN_EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t* identifier, void** userdata, mosquitto_opt* options,
                                        int option_count) {
  using namespace fleet::provisioner::plugin;
  return guarded("start", MOSQ_ERR_UNKNOWN, [&] { return init(identifier, userdata, options, option_count); });
}

PLUGIN_EXPORT int mosquitto_plugin_cleanup(void* userdata, mosquitto_opt*, int) {
  delete static_cast<fleet::provisioner::plugin::Mode*>(userdata);
  return MOSQ_ERR_SUCCESS;
}
