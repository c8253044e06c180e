// The broker of an owner account (edc §5): devices come with the certificates or the passwords that provisioning gave
// them. With certificates its listener must have `require_certificate true` and no `use_identity_as_username`, with which
// the broker asks no plugin at all.
#include <optional>
#include <utility>

#include "core/base/file.hpp"
#include "core/base/secret.hpp"
#include "core/crypto/digest.hpp"
#include "core/crypto/peer.hpp"
#include "core/protocol/topic.hpp"
#include "provisioner/admission/owner_passwords.hpp"
#include "provisioner/plugin/admission_reader.hpp"
#include "provisioner/plugin/mode.hpp"

namespace fleet::provisioner::plugin {
namespace {

// Says whether a device's username and password are those that the provisioner has handed over. Neither file has to be
// there when the broker starts: the first device brings them.
class Passwords {
 public:
  Passwords(const std::string& database, bool strict)
      : strict_(strict),
        key_file_(owner_password_key_file(database)),
        reader_(database, strict ? kOwnerLookupByClientId : kOwnerLookupByUsername) {}

  bool admit(std::string_view client_id, std::string_view username, std::string_view password) {
    const SteadyTime now = std::chrono::steady_clock::now();
    const auto row = find(strict_ ? client_id : username, now);
    report(row);
    if (!row) return false;
    const Bytes verifier = crypto::secret_verifier(key_.reveal(), kOwnerPasswordPurpose, username, password);
    return !refusal(*row ? &**row : nullptr, username, verifier, to_unix_millis(wall_now()));
  }

 private:
  Result<std::optional<AdmissionRow>> find(std::string_view key, SteadyTime now) {
    TRY(load_key(now));
    return reader_.find(key, now);
  }

  Result<void> load_key(SteadyTime now) {
    constexpr std::size_t kKeySize = 32;
    constexpr Seconds kPause{1};
    if (!key_.empty()) return {};
    if (tried_ && now - *tried_ < kPause) return fail(ErrorCode::kUnavailable, "{}: not read", key_file_);
    tried_ = now;
    TRY_ASSIGN(Bytes bytes, read_file(key_file_, kKeySize + 1));
    if (bytes.size() != kKeySize) return fail(ErrorCode::kCorrupt, "{}: must hold {} bytes", key_file_, kKeySize);
    key_ = Secret(std::move(bytes));
    return {};
  }

  // Logs when they become unreadable and when they are back, not each refusal in between.
  void report(const Result<std::optional<AdmissionRow>>& row) {
    if (std::exchange(unavailable_, !row) == !row) return;
    if (row) {
      mosquitto_log_printf(MOSQ_LOG_NOTICE, "provisioner_auth: password database readable again");
    } else {
      mosquitto_log_printf(MOSQ_LOG_ERR, "Error: provisioner_auth: every device is refused: %s",
                           row.error().message.c_str());
    }
  }

  bool strict_;
  std::string key_file_;
  AdmissionReader reader_;
  Secret key_;
  std::optional<SteadyTime> tried_;
  bool unavailable_ = false;
};

class OwnerMode final : public Mode {
 public:
  explicit OwnerMode(OwnerOptions options) : options_(std::move(options)) {
    if (!options_.password_db.empty()) passwords_.emplace(options_.password_db, options_.strict);
  }

  int basic_auth(const mosquitto_evt_basic_auth& event) override {
    if (is_local(event.client)) return MOSQ_ERR_SUCCESS;
    const std::string_view client_id = view(mosquitto_client_id(event.client));
    if (!protocol::is_client_id(client_id)) return MOSQ_ERR_AUTH;
    if (passwords_) {
      return passwords_->admit(client_id, view(event.username), view(event.password)) ? MOSQ_ERR_SUCCESS : MOSQ_ERR_AUTH;
    }
    const auto common_name = crypto::take_peer_common_name(mosquitto_client_certificate(event.client));
    if (!common_name) return MOSQ_ERR_AUTH;
    return !options_.strict || *common_name == client_id ? MOSQ_ERR_SUCCESS : MOSQ_ERR_AUTH;
  }

  int acl_check(const mosquitto_evt_acl_check& event) override {
    if (is_local(event.client)) return MOSQ_ERR_SUCCESS;
    return allowed_if(owner_device_may(options_.account, view(mosquitto_client_id(event.client)), action_of(event)));
  }

  int message(mosquitto_evt_message&) override { return MOSQ_ERR_SUCCESS; }
  int control(const mosquitto_evt_control&) override { return MOSQ_ERR_ACL_DENIED; }
  int disconnect(const mosquitto_evt_disconnect&) override { return MOSQ_ERR_SUCCESS; }
  int tick() override { return MOSQ_ERR_SUCCESS; }

 private:
  bool is_local(const mosquitto* client) const {
    return !options_.local_socket.empty() && view(mosquitto_client_address(client)) == options_.local_socket;
  }

  OwnerOptions options_;
  std::optional<Passwords> passwords_;
};

}  // namespace

std::unique_ptr<Mode> make_owner_mode(OwnerOptions options) {
  return std::make_unique<OwnerMode>(std::move(options));
}

}  // namespace fleet::provisioner::plugin
