// "Persist, commit, then send": what goes out to a device, and what the database held at that moment.
#include <doctest/doctest.h>

#include "core/crypto/certificate.hpp"
#include "core/crypto/digest.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/topic.hpp"
#include "provisioner/service/conductor.hpp"
#include "provisioner/store/sqlite.hpp"
#include "tests/unit/provisioner/service/stage.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view kId = "GW1";
const std::string kPassword = "a-password-of-the-device";
const Bytes kVerifierKey(32, 'k');

struct Sent {
  std::string app;
  int code = 0;     // of a reply
  std::string rid;  // of a request
  std::string committed;  // what another connection saw as it was sent
};

// Devices that are always there.
struct Devices final : DeviceLink {
  explicit Devices(std::filesystem::path file) : database(std::move(file)) {}
  bool publish(std::string_view topic, std::string_view payload) override {
    const auto parsed = protocol::parse_topic(topic).value();
    const auto decoded = protocol::decode(payload).value();
    if (const auto* reply = std::get_if<protocol::ReplyTopic>(&parsed)) {
      sent.push_back({reply->app, protocol::parse_reply(decoded).value().code, "", committed()});
    } else {
      const std::string* const rid = decoded.string("request.id");
      REQUIRE(rid != nullptr);
      sent.push_back({std::get<protocol::RequestTopic>(parsed).app, 0, *rid, committed()});
    }
    return true;
  }
  void kick(std::string_view /*client_id*/) override {}

  // "REQUEST/ATTEMPT/steps/answered steps"
  std::string committed() const {
    auto opened = sqlite::Database::open(database, {.read_only = true});
    REQUIRE(opened);
    auto query = opened->prepare(
        "SELECT (SELECT status FROM request WHERE client_id = 'GW1') || '/' || coalesce((SELECT max(state) FROM attempt), "
        "'') || '/' || (SELECT count(*) FROM step) || '/' || (SELECT count(*) FROM step WHERE reply_code = 200)");
    REQUIRE(query);
    REQUIRE(*query->next());
    return query->text(0);
  }
  std::vector<Sent> take() { return std::exchange(sent, {}); }

  std::filesystem::path database;
  std::vector<Sent> sent;
};

crypto::CertificateRequest wish(crypto::CertificateProfile profile, const std::string& name) {
  return {profile, name, {}, wall_now() - Seconds(60), wall_now() + Seconds(86'400)};
}

// One device with the client id GW1, whose request, profile and account are there.
struct Scene {
  Scene() {
    conductor.connect(devices);
    REQUIRE(store.run([&](Transaction& tx) -> Result<void> {
      TRY(tx.put_account({"plant", "mqtts://broker.plant:8883", {root.to_pem()}}));
      Profile profile;
      profile.name = "standard";
      profile.account = "plant";
      TRY(tx.put_profile(profile));
      ProvisionRequest request;
      request.name = "gw1";
      request.profile = "standard";
      request.client_id = kId;
      request.username = "user";
      request.connect_verifier = crypto::secret_verifier(kVerifierKey, kConnectPurpose, kId, kPassword);
      request.username_verifier = crypto::secret_verifier(kVerifierKey, kUsernamePurpose, "user", kPassword);
      request.created_at = request.updated_at = wall_now();
      return tx.insert_request(request);
    }));
    conductor.on_session(true);
    io.run_for(50ms);  // what waited in the broker is over
    store.let_all_through();
  }

  ExecutorSettings settings() {
    ExecutorSettings settings;
    settings.verifier_key = kVerifierKey;
    settings.signing_chain_pem = settings.device_ca_chain_pem = root.to_pem();
    settings.issue = [this](const std::string& client_id, const crypto::PublicKey& key, Millis validity, WallTime when) {
      return crypto::issue_unread({crypto::CertificateProfile::kDevice, client_id, {}, when, when + validity}, key,
                           crypto::Issuer{root, root_key});
    };
    return settings;
  }

  void say_hello() {
    protocol::Prov hello;
    hello.username = "user";
    hello.password = Secret(kPassword);
    hello.request_id = "h";
    hello.nonce = Bytes(16, 'n');
    hello.csr = crypto::Csr::create(device_key, "whatever").value();
    conductor.on_message(Inbound{std::string(kId), "$EDC/provision/GW1/MQTT/PROV"},
                         protocol::encode(protocol::to_payload(hello, kId, 0)));
  }
  void reply(const Sent& to) {
    conductor.on_message(Inbound{std::string(kId), "$EDC/provision/provisioner/" + to.app + "/REPLY/" + to.rid},
                         protocol::encode(protocol::to_payload(protocol::Reply{200, "", {}, {}}, 0)));
  }

  crypto::PrivateKey root_key = crypto::PrivateKey::generate().value(), device_key = crypto::PrivateKey::generate().value();
  crypto::Certificate root = crypto::issue_root(wish(crypto::CertificateProfile::kRootCa, "root"), root_key).value();
  boost::asio::io_context io;
  HoldingStore store;
  Devices devices{store.database()};
  EdcDialect dialect{"provision", "provisioner", crypto::PrivateKey::generate().value()};
  Executor executor{settings(), dialect};
  Conductor conductor{io, Stage::settings(), store, executor, dialect};
};

}  // namespace

TEST_CASE("Answer, steps and the 200 at the end go out when their commit is seen by everybody, and not before") {
  Scene scene;
  scene.say_hello();
  REQUIRE(scene.store.backlog() == 1);
  CHECK(scene.devices.take().empty());
  scene.store.let_through();
  const std::vector<Sent> begun = scene.devices.take();
  REQUIRE(begun.size() == 5);
  CHECK(begun[0].app == "PROV-V1");
  CHECK(begun[0].code == 202);
  for (const Sent& one : begun) CHECK(one.committed == "STARTED/OPEN/4/0");

  // what waits for the store goes together
  for (std::size_t i = 1; i < 4; ++i) scene.reply(begun[i]);
  REQUIRE(scene.store.backlog() == 1);
  CHECK(scene.devices.committed() == "STARTED/OPEN/4/0");
  scene.store.let_through();
  CHECK(scene.devices.take().empty());
  CHECK(scene.devices.committed() == "CONF_UPDATING/OPEN/4/3");
  scene.reply(begun[4]);
  REQUIRE(scene.store.backlog() == 1);
  CHECK(scene.devices.take().empty());
  scene.store.let_through();
  const std::vector<Sent> ended = scene.devices.take();
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].app == "PROV-V1");
  CHECK(ended[0].code == 200);
  CHECK(ended[0].committed == "COMPLETED/COMPLETED/4/4");
}

TEST_CASE("A reply that comes after a hello is not heard before it") {
  Scene scene;
  scene.say_hello();
  scene.store.let_through();
  const std::vector<Sent> begun = scene.devices.take();
  REQUIRE(begun.size() == 5);
  scene.reply(begun[1]);
  scene.say_hello();
  scene.reply(begun[2]);
  CHECK(scene.store.backlog() == 3);
  scene.store.let_through();
  CHECK(scene.devices.committed() == "RUNNING/OPEN/4/1");
  scene.store.let_all_through();
  CHECK(scene.devices.committed() == "RUNNING/OPEN/4/2");
}

TEST_CASE("A hello whose commit fails brings no step, only the word to come back; a reply whose commit fails brings nothing") {
  Scene scene;
  scene.say_hello();
  scene.store.fail_commit();
  const std::vector<Sent> refused = scene.devices.take();
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].code == 503);
  CHECK(refused[0].committed == "CREATED//0/0");

  scene.say_hello();
  scene.store.let_through();
  const std::vector<Sent> begun = scene.devices.take();
  REQUIRE(begun.size() == 5);
  for (std::size_t i = 1; i < 4; ++i) scene.reply(begun[i]);
  scene.store.let_all_through();
  scene.reply(begun[4]);
  scene.store.fail_commit();
  CHECK(scene.devices.take().empty());
  CHECK(scene.devices.committed() == "CONF_UPDATING/OPEN/4/3");
  // the device repeats it
  scene.reply(begun[4]);
  scene.store.let_through();
  REQUIRE(scene.devices.sent.size() == 1);
  CHECK(scene.devices.sent[0].code == 200);
  CHECK(scene.devices.sent[0].committed == "COMPLETED/COMPLETED/4/4");
}
