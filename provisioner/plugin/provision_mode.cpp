// The provision broker (edc §1): admission from the projection, rights by the table, the provisioner told of it all.
#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <utility>

#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"
#include "core/protocol/topic.hpp"
#include "provisioner/admission/lockout.hpp"
#include "provisioner/admission/outbound.hpp"
#include "provisioner/plugin/admission_reader.hpp"
#include "provisioner/plugin/event_batch.hpp"
#include "provisioner/plugin/mode.hpp"

namespace fleet::provisioner::plugin {
namespace {

constexpr std::size_t kVerifierKeySize = 32;
constexpr std::size_t kMaxIncidents = 256;       // distinct refusals and denials a flush
constexpr std::size_t kEventsPerMessage = 1000;  // keeps a message well below the broker's packet limit
constexpr Seconds kFlushPause{1};

class ProvisionMode final : public Mode {
 public:
  ProvisionMode(ProvisionOptions options, Secret verifier_key, AdmissionReader admission)
      : names_{std::move(options.account), std::move(options.provisioner_id)},
        local_socket_(std::move(options.local_socket)),
        verifier_key_(std::move(verifier_key)),
        admission_(std::move(admission)) {}

  int basic_auth(const mosquitto_evt_basic_auth& event) override {
    const std::string_view client_id = view(mosquitto_client_id(event.client));
    const std::string_view address = view(mosquitto_client_address(event.client));
    if (const auto reason = why_refused(client_id, address, event)) {
      refused_.add(client_id, *reason, address);
      return MOSQ_ERR_AUTH;
    }
    live_[std::string(client_id)] = event.client;
    if (client_id != names_.provisioner_id) {
      // a device that came back within one flush is simply connected
      disconnected_.drop(client_id, "");
      connected_.add(client_id, "", address);
    }
    return MOSQ_ERR_SUCCESS;
  }

  int acl_check(const mosquitto_evt_acl_check& event) override {
    const std::string_view client_id = view(mosquitto_client_id(event.client));
    const Action action = action_of(event);
    // By client id: a persistent session without a connection has no address, and only the local socket gets this id.
    if (client_id == names_.provisioner_id) return allowed_if(provisioner_may(names_, action));
    const bool will = action.access == Access::kPublish && !is_live(client_id, event.client);
    if (will ? device_may_will(names_, client_id, action) : device_may(names_, client_id, action)) {
      return MOSQ_ERR_SUCCESS;
    }
    if (action.access == Access::kPublish || action.access == Access::kSubscribe) {
      const std::string_view verb = action.access == Access::kPublish ? "publish" : "subscribe";
      denied_.add(client_id, fmt::format("{} {}", verb, reportable(action.topic)), view(mosquitto_client_address(event.client)));
    }
    return MOSQ_ERR_ACL_DENIED;
  }

  // Runs after the ACL check. Wills do not come by here: they keep their own topic, below $EDC/, where nobody but the
  // device itself may listen, so not even an allowed will reaches the provisioner.
  int message(mosquitto_evt_message& event) override {
    const std::string_view client_id = view(mosquitto_client_id(event.client));
    if (client_id == names_.provisioner_id) return MOSQ_ERR_SUCCESS;
    const std::string topic = inbound_topic(client_id, view(event.topic));
    char* const replacement = mosquitto_strdup(topic.c_str());
    if (replacement == nullptr) return MOSQ_ERR_NOMEM;
    mosquitto_free(event.topic);
    event.topic = replacement;
    return MOSQ_ERR_SUCCESS;
  }

  // A failure is only logged: a code other than success would cost the provisioner its connection.
  int control(const mosquitto_evt_control& event) override {
    if (!is_provisioner(event.client)) return MOSQ_ERR_ACL_DENIED;
    const std::string_view payload(static_cast<const char*>(event.payload), event.payloadlen);
    if (view(event.topic) == kSendTopic) {
      send(payload);
    } else {
      kick(payload);
    }
    return MOSQ_ERR_SUCCESS;
  }

  int disconnect(const mosquitto_evt_disconnect& event) override {
    const char* const id = mosquitto_client_id(event.client);
    if (id == nullptr) return MOSQ_ERR_SUCCESS;  // was never admitted
    // When a client id is taken over, the old connection ends after the new one was admitted: that is no disconnect.
    if (!is_live(id, event.client)) return MOSQ_ERR_SUCCESS;
    live_.erase(id);
    if (names_.provisioner_id != id) disconnected_.add(id, "", view(mosquitto_client_address(event.client)));
    return MOSQ_ERR_SUCCESS;
  }

  int tick() override {
    const SteadyTime now = std::chrono::steady_clock::now();
    if (now - flushed_ < kFlushPause) return MOSQ_ERR_SUCCESS;
    flushed_ = now;
    // While the provisioner is away the batches wait for it: they are bounded, its queue in the broker is not.
    if (!live_.contains(names_.provisioner_id)) return MOSQ_ERR_SUCCESS;
    flush(EventKind::kRefused, refused_);
    flush(EventKind::kDenied, denied_);
    flush(EventKind::kLocked, locked_);
    // In this order: what is in both batches connected first, see basic_auth.
    flush(EventKind::kConnected, connected_);
    flush(EventKind::kDisconnected, disconnected_);
    return MOSQ_ERR_SUCCESS;
  }

 private:
  bool is_provisioner(const mosquitto* client) const {
    return view(mosquitto_client_id(client)) == names_.provisioner_id &&
           view(mosquitto_client_address(client)) == local_socket_;
  }

  void send(std::string_view parcel) {
    const auto messages = parse_outbound(parcel);
    if (!messages) {
      mosquitto_log_printf(MOSQ_LOG_WARNING, "Warning: provisioner_auth: %s", messages.error().message.c_str());
      return;
    }
    for (const OutboundMessage& message : *messages) {
      const bool is_topic =
          mosquitto_pub_topic_check2(message.topic.data(), message.topic.size()) == MOSQ_ERR_SUCCESS &&
          mosquitto_validate_utf8(message.topic.data(), static_cast<int>(message.topic.size())) == MOSQ_ERR_SUCCESS;
      if (!is_topic || !provisioner_may_send(names_, message.topic)) {
        mosquitto_log_printf(MOSQ_LOG_WARNING, "Warning: provisioner_auth: message for devices: not a topic of theirs");
        continue;
      }
      const int result =
          mosquitto_broker_publish_copy(nullptr, std::string(message.topic).c_str(), static_cast<int>(message.payload.size()),
                                        message.payload.data(), 1, false, nullptr);
      if (result != MOSQ_ERR_SUCCESS) {
        mosquitto_log_printf(MOSQ_LOG_WARNING, "Warning: provisioner_auth: message for devices: not published (%d)", result);
      }
    }
  }

  void kick(std::string_view client_id) {
    if (!protocol::is_client_id(client_id) || client_id == names_.provisioner_id) {
      mosquitto_log_printf(MOSQ_LOG_WARNING, "Warning: provisioner_auth: kick: not a device's client id");
      return;
    }
    // What was sent before has gone out: the broker begins each round with what plugins publish, and takes one packet of a
    // client in it.
    mosquitto_kick_client_by_clientid(std::string(client_id).c_str(), false);
  }

  // Between BASIC_AUTH and DISCONNECT. The broker sends a will after DISCONNECT, and checks it as a publish: what a
  // client publishes without being live is its will.
  bool is_live(std::string_view client_id, const mosquitto* client) const {
    const auto found = live_.find(std::string(client_id));
    return found != live_.end() && found->second == client;
  }

  std::optional<std::string_view> why_refused(std::string_view client_id, std::string_view address,
                                              const mosquitto_evt_basic_auth& event) {
    const bool reserved = client_id == names_.provisioner_id;
    if (address == local_socket_) {
      if (reserved) return std::nullopt;
      return "bad-client-id";
    }
    if (reserved) return "reserved-client-id";
    if (!protocol::is_client_id(client_id)) return "bad-client-id";
    const SteadyTime now = std::chrono::steady_clock::now();
    const auto row = admission_.find(client_id, now);
    report(row);
    if (!row) return "unavailable";
    const AdmissionRow* const known = *row ? &**row : nullptr;
    // Known and unknown client ids are locked alike, so that a lockout tells nobody which there are.
    const std::string who = lockout_key(client_id, address);
    const std::uint64_t secret = known != nullptr ? name_of(known->verifier) : 0;
    if (lockout_.pause_of(who, now, secret)) return "locked";
    const Bytes verifier =
        crypto::secret_verifier(verifier_key_.reveal(), kConnectPurpose, client_id, view(event.password));
    const auto reason = refusal(known, view(event.username), verifier, to_unix_millis(wall_now()));
    if (!reason || !is_guess(*reason)) {
      lockout_.right(who);
    } else if (const auto lock = lockout_.wrong(who, now, secret)) {
      locked_.add(client_id,
                  fmt::format("{} wrong tries in a row, not listened to for {}", lock->wrong_tries,
                              format_duration(lock->pause)),
                  address);
    }
    return reason;
  }

  // Tells one secret from another in the lockout; says nothing that helps to guess it.
  static std::uint64_t name_of(std::string_view verifier) {
    std::uint64_t name = 0;
    std::memcpy(&name, verifier.data(), std::min(sizeof name, verifier.size()));
    return name;
  }

  // Logs when the projection becomes unreadable and when it is back, not each refusal in between.
  void report(const Result<std::optional<AdmissionRow>>& row) {
    if (std::exchange(unavailable_, !row) == !row) return;
    if (row) {
      mosquitto_log_printf(MOSQ_LOG_NOTICE, "provisioner_auth: admission database readable again");
    } else {
      mosquitto_log_printf(MOSQ_LOG_ERR, "Error: provisioner_auth: every device is refused: %s",
                           row.error().message.c_str());
    }
  }

  static void flush(EventKind kind, EventBatch& batch) {
    std::vector<BrokerEvent> events = batch.take();
    while (!events.empty()) {
      const std::size_t begin = events.size() - std::min(events.size(), kEventsPerMessage);
      const std::vector<BrokerEvent> part(std::make_move_iterator(events.begin() + static_cast<std::ptrdiff_t>(begin)),
                                          std::make_move_iterator(events.end()));
      events.resize(begin);
      const std::string payload = format_events(part);
      mosquitto_broker_publish_copy(nullptr, std::string(event_topic(kind)).c_str(), static_cast<int>(payload.size()),
                                    payload.data(), 1, false, nullptr);
    }
  }

  ProvisionNames names_;
  std::string local_socket_;
  Secret verifier_key_;
  AdmissionReader admission_;
  bool unavailable_ = false;
  Lockout lockout_;

  // The connection that a client id belongs to now. The pointers are only compared.
  std::unordered_map<std::string, const mosquitto*> live_;
  EventBatch refused_{kMaxIncidents};
  EventBatch denied_{kMaxIncidents};
  EventBatch locked_{kMaxIncidents};
  // Only admitted devices get here, so the projection bounds these.
  EventBatch connected_{std::numeric_limits<std::size_t>::max()};
  EventBatch disconnected_{std::numeric_limits<std::size_t>::max()};
  SteadyTime flushed_{};
};

}  // namespace

Result<std::unique_ptr<Mode>> make_provision_mode(ProvisionOptions options) {
  TRY_ASSIGN(Secret key, read_file(options.verifier_key_file, kVerifierKeySize + 1).map([](Bytes bytes) {
    return Secret(std::move(bytes));
  }));
  if (key.reveal().size() != kVerifierKeySize) {
    return fail(ErrorCode::kInvalidArgument, "{}: must hold exactly {} bytes", options.verifier_key_file,
                kVerifierKeySize);
  }
  AdmissionReader admission(options.admission_db);
  TRY(admission.open(std::chrono::steady_clock::now()));
  return std::make_unique<ProvisionMode>(std::move(options), std::move(key), std::move(admission));
}

}  // namespace fleet::provisioner::plugin
