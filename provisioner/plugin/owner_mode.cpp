// The broker of an owner account (edc §5): devices come with the certificates that provisioning gave them. Its listener
// must have `require_certificate true` and no `use_identity_as_username`, with which the broker asks no plugin at all.
#include "core/crypto/peer.hpp"
#include "core/protocol/topic.hpp"
#include "provisioner/plugin/mode.hpp"

namespace fleet::provisioner::plugin {
namespace {

class OwnerMode final : public Mode {
 public:
  explicit OwnerMode(OwnerOptions options) : options_(std::move(options)) {}

  int basic_auth(const mosquitto_evt_basic_auth& event) override {
    if (is_local(event.client)) return MOSQ_ERR_SUCCESS;
    const std::string_view client_id = view(mosquitto_client_id(event.client));
    const auto common_name = crypto::take_peer_common_name(mosquitto_client_certificate(event.client));
    if (!common_name || !protocol::is_client_id(client_id)) return MOSQ_ERR_AUTH;
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
};

}  // namespace

std::unique_ptr<Mode> make_owner_mode(OwnerOptions options) {
  return std::make_unique<OwnerMode>(std::move(options));
}

}  // namespace fleet::provisioner::plugin
