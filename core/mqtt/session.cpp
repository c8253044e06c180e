#include <cstring>
#include <utility>

#include "core/mqtt/client_impl.hpp"

namespace fleet::mqtt {
namespace {

// "OpenSSL Error[0]: error:0A000086:SSL routines::certificate verify failed" → "certificate verify failed".
std::string_view reason_of(std::string_view line) {
  const std::size_t colon = line.rfind(':');
  if (colon == std::string_view::npos) return line;
  line.remove_prefix(colon + 1);
  while (line.starts_with(' ')) line.remove_prefix(1);
  return line;
}

// 3.1.1 keeps a session that is not clean until the next connection; MQTT 5 keeps it as long as CONNECT asks for, and
// that is not at all unless it says so. The library takes CONNECT's properties with its blocking connect only, but keeps
// them for those that follow: the call without a host is refused right behind that, and connects nothing.
int keep_session(mosquitto* handle) {
  constexpr std::uint32_t kForEver = 0xffffffff;  // MQTT 5 §3.1.2.11.2
  mosquitto_property* properties = nullptr;
  const int code = ::mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL, kForEver);
  if (code == MOSQ_ERR_SUCCESS) ::mosquitto_connect_bind_v5(handle, nullptr, 0, 0, nullptr, properties);
  ::mosquitto_property_free_all(&properties);
  return code;
}

}  // namespace

std::string Outcome::text() const {
  if (code != MOSQ_ERR_ERRNO) return ::mosquitto_strerror(code);
  // EPROTO is what the library makes of any failure inside TLS
  if (error_number == 0 || error_number == EPROTO) return "the connection broke";
  return std::strerror(error_number);
}

// A handle with everything set but the address.
Result<Handle> Client::Impl::make_handle() {
  // mosquitto_new() also sets SIGPIPE to SIG_IGN, which keeps a broken connection from killing the process.
  static const int initialised = ::mosquitto_lib_init();
  static_cast<void>(initialised);
  Handle made(::mosquitto_new(options.client_id.c_str(), options.clean_session, this));
  if (!made) return fail(ErrorCode::kUnavailable, "{}", std::strerror(errno));
  mosquitto* const handle = made.get();
  ::mosquitto_connect_with_flags_callback_set(handle, &Impl::on_connack);
  ::mosquitto_message_callback_set(handle, &Impl::on_message);
  ::mosquitto_publish_v5_callback_set(handle, &Impl::on_puback);
  ::mosquitto_subscribe_callback_set(handle, &Impl::on_suback);
  ::mosquitto_log_callback_set(handle, &Impl::on_log);

  int code = ::mosquitto_int_option(handle, MOSQ_OPT_PROTOCOL_VERSION, static_cast<int>(options.version));
  const auto then = [&code](int next) {
    if (code == MOSQ_ERR_SUCCESS) code = next;
  };
  then(::mosquitto_int_option(handle, MOSQ_OPT_SEND_MAXIMUM, 65535));
  // The library then leaves it to its threads, and here to us, to write what it queues. There are none.
  if (options.write_together) then(::mosquitto_threaded_set(handle, true));
  if (options.url.scheme != BrokerUrl::Scheme::kUnix) then(::mosquitto_int_option(handle, MOSQ_OPT_TCP_NODELAY, 1));
  if (options.username) {
    // a Secret is a whole std::string, so its bytes end with a NUL
    then(::mosquitto_username_pw_set(handle, options.username->c_str(),
                                     options.password ? options.password->reveal().data() : nullptr));
  }
  if (options.will) {
    then(::mosquitto_will_set(handle, options.will->topic.c_str(), static_cast<int>(options.will->payload.size()),
                              options.will->payload.data(), options.will->qos, options.will->retain));
  }
  if (options.version == Version::k5 && !options.clean_session) then(keep_session(handle));
  if (tls()) {
    // With a context of ours the library sets up nothing of its own: trust, versions and the host name check are all in
    // it.
    then(::mosquitto_int_option(handle, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0));
    then(::mosquitto_void_option(handle, MOSQ_OPT_SSL_CTX, options.tls.get()));
  }
  if (code != MOSQ_ERR_SUCCESS) return fail(ErrorCode::kUnavailable, "{}", ::mosquitto_strerror(code));
  return made;
}

void Client::Impl::on_connack(mosquitto*, void* self, int code, int flags) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  if (!impl.link->before_accepted()) return;  // a second CONNACK
  impl.link->connack = code;
  if (code != 0) return;  // the library closes the connection
  impl.link->stage = Stage::kAccepted;
  impl.attempt_over((flags & 1) != 0);
  impl.start_timer(impl.tick());
}

void Client::Impl::on_message(mosquitto*, void* self, const mosquitto_message* message) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  Message copy;
  copy.topic = message->topic;
  if (message->payloadlen > 0) {
    copy.payload.assign(static_cast<const char*>(message->payload), static_cast<std::size_t>(message->payloadlen));
  }
  copy.qos = message->qos;
  copy.retained = message->retain;
  impl.tell([&impl, copy = std::move(copy)]() mutable {
    if (impl.handlers.on_message) impl.handlers.on_message(std::move(copy));
  });
}

void Client::Impl::on_puback(mosquitto*, void* self, int id, int reason, const mosquitto_property*) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  if (impl.link->unacknowledged.erase(id) == 0) return;  // QoS 0: was only written
  if (reason >= 0x80) {
    return impl.tell([&impl, id, why = std::string(::mosquitto_reason_string(reason))] {
      if (impl.handlers.on_publish_refused) impl.handlers.on_publish_refused(id, why);
    });
  }
  impl.tell([&impl, id] {
    if (impl.handlers.on_published) impl.handlers.on_published(id);
  });
}

void Client::Impl::on_suback(mosquitto*, void* self, int id, int count, const int* granted) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  const bool accepted = count == 1 && granted[0] < 0x80;
  impl.tell([&impl, id, accepted] {
    if (impl.handlers.on_subscribed) impl.handlers.on_subscribed(id, accepted);
  });
}

void Client::Impl::on_log(mosquitto*, void* self, int level, const char* line) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  if (level != MOSQ_LOG_ERR || !impl.link || !std::string_view(line).starts_with("OpenSSL")) return;
  std::string& complaints = impl.link->complaints;
  std::string reason(reason_of(line));
  if (impl.options.explain_tls_failure) {
    if (const std::string more = impl.options.explain_tls_failure(); !more.empty()) reason += " (" + more + ")";
  }
  if (complaints.find(reason) != std::string::npos) return;
  if (!complaints.empty()) complaints += ", ";
  complaints += reason;
}

}  // namespace fleet::mqtt
