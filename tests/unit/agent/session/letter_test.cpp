// The device's side of the protocol by the letter: where it publishes, when, and what it takes a message for.
#include <doctest/doctest.h>

#include "core/protocol/proto_wire.hpp"
#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

Draft good_key_draft() {
  return key_draft(pki().device_certificate(kClientId, pki().device_key.public_key()));
}

std::vector<std::string> topics_since(const World& world, std::size_t begin) {
  std::vector<std::string> topics;
  for (std::size_t i = begin; i < world.published.size(); ++i) topics.push_back(world.published[i].topic);
  return topics;
}

using Topics = std::vector<std::string>;

TEST_CASE("PROV goes to the device's own tree, replies and notifications to the requester's, under the asker's app id") {
  World world;
  world.accept_certificate();
  const Bytes nonce = world.attempt().nonce;
  CHECK(topics_since(world, 0) ==
        Topics{"$EDC/provision/02FC00000001/MQTT/PROV", "$EDC/provision/provisioner/CERT-V1/REPLY/cert"});
  std::size_t begin = world.published.size();
  const auto ask = [&](const Draft& draft, const std::string& rid) {
    world.deliver(request(draft, rid, nonce));
    world.settle();
  };
  ask(good_key_draft(), "r1");
  ask(owner_ca_draft(pki().root.certificate), "r2");
  ask({"KEYS-V1", "POST", "keystores/entries/csr", {}}, "r3");
  CHECK(topics_since(world, begin) == Topics{"$EDC/provision/provisioner/KEYS-V2/REPLY/r1",
                                             "$EDC/provision/provisioner/KEYS-V1/REPLY/r2",
                                             "$EDC/provision/provisioner/KEYS-V1/REPLY/r3"});
  begin = world.published.size();
  ask(download_draft({7, {"app", "1.0"}, "https://packages.example/app.tgz", std::string(64, 'a'), true}), "r4");
  CHECK(topics_since(world, begin) == Topics{"$EDC/provision/provisioner/DEPLOY-V2/REPLY/r4",
                                             "$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/02FC00000001/download",
                                             "$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/02FC00000001/install"});
  begin = world.published.size();
  ask(inline_draft("tool_2.0.tar.gz", "content"), "r5");
  ask(conf_draft(owner_xml(false)), "r6");
  CHECK(topics_since(world, begin) == Topics{"$EDC/provision/provisioner/DEPLOY-V1/REPLY/r5",
                                             "$EDC/provision/provisioner/CONF-V1/REPLY/r6"});
}

TEST_CASE("whoever asks is answered: the requester is the one that the request names") {
  World world;
  world.accept_certificate();
  Draft draft = good_key_draft();
  const std::string topic = request_topic(draft);
  protocol::add_head(draft.payload, {"r", "cell-2", world.attempt().nonce});
  world.deliver({topic, protocol::encode(sign(draft.payload, topic, pki().signer.key))});
  CHECK(world.published.back().topic == "$EDC/provision/cell-2/KEYS-V2/REPLY/r");
}

TEST_CASE("nothing is published before the SUBACK") {
  World world;
  world.answers_subscribe = false;
  world.start();
  world.settle();
  REQUIRE(world.count<SubscribeProvision>() == 1);
  CHECK(world.published.empty());
  world.pass(Millis(20'000));
  CHECK(world.published.empty());
  world.feed(ProvisionSubscribed{});
  REQUIRE_FALSE(world.published.empty());
  CHECK(world.published.front().topic.ends_with("/MQTT/PROV"));
}

TEST_CASE("with the 200 the device says goodbye to the provision broker and only then goes to its owner's") {
  World world;
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned));
  std::optional<std::size_t> left, went;
  for (std::size_t i = 0; i < world.effects.size(); ++i) {
    if (const auto* leave = std::get_if<LeaveProvision>(&world.effects[i])) {
      CHECK(leave->goodbye);
      left = i;
    }
    if (std::holds_alternative<ConnectOwner>(world.effects[i]) && !went) went = i;
  }
  REQUIRE(left);
  REQUIRE(went);
  CHECK(*left < *went);
}

TEST_CASE("a device that waits in vain for the 200 leaves with the end of its timeout, configured") {
  World world;
  world.platform.keeps_final_200 = true;
  world.owner = [] { return Event(OwnerFailed{{ErrorCode::kUnavailable, "connection refused"}}); };
  world.start();
  REQUIRE(world.run_until(Phase::kConfirming));
  world.pass(world.config.timeout - Millis(1));
  CHECK(world.count<LeaveProvision>() == 0);
  world.pass(Millis(1));
  CHECK(world.count<LeaveProvision>() == 1);
  CHECK(world.state().phase == Phase::kAwaitingOwner);
  CHECK(world.state().attempts_failed == 0);
}

TEST_CASE("a CERT-V1 counts only with the nonce of this attempt") {
  World world;
  world.say_hello();
  const auto dropped = [&](const Message& message) {
    world.effects.clear();
    world.deliver(message);
    CHECK(world.code_of("cert") == 0);
    CHECK(world.attempt().signing_chain_pem.empty());
    CHECK(world.reported("prov.nonce"));
  };
  dropped(request(cert_draft(pki().signer), "cert", random_bytes(16)));
  Draft draft = cert_draft(pki().signer);
  const std::string topic = request_topic(draft);
  protocol::add_head(draft.payload, {"cert", std::string(kProvisioner), std::nullopt});
  dropped({topic, protocol::encode(sign(draft.payload, topic, pki().signer.key))});
  world.deliver(request(cert_draft(pki().signer), "cert", world.attempt().nonce));
  CHECK(world.code_of("cert") == 200);
}

TEST_CASE("an answer with the nonce of another attempt is not even a hint, one without a nonce is") {
  World world;
  world.say_hello();
  const protocol::Reply gone{.code = 410, .error = "gone", .retry_after_s = {}, .body = {}};
  world.deliver(prov_answer(gone, world.attempt().request_id, random_bytes(16)));
  CHECK(world.state().phase == Phase::kHello);
  world.deliver({"$EDC/provision/02FC00000001/PROV-V1/REPLY/" + world.attempt().request_id,
                 protocol::encode(protocol::to_payload(gone, 1))});
  CHECK(world.state().phase == Phase::kWaiting);
}

TEST_CASE("a position and unknown fields, which no signature covers, are ignored and cost a request nothing") {
  World world;
  world.accept_certificate();
  Message message = request(good_key_draft(), "r", world.attempt().nonce);
  Bytes position;
  protocol::wire::append_tag(position, 1, protocol::wire::Type::kFixed64);
  protocol::wire::append_fixed64(position, 0);
  protocol::wire::append_tag(position, 2, protocol::wire::Type::kFixed64);
  protocol::wire::append_fixed64(position, 0);
  protocol::wire::append_bytes_field(message.payload, 2, position);
  protocol::wire::append_bytes_field(message.payload, 4999, "an extension");
  protocol::wire::append_bytes_field(message.payload, 6000, "unknown");
  world.deliver(message);
  CHECK(world.code_of("r") == 200);
}

TEST_CASE("a request is read from gzip as well") {
  World world;
  world.accept_certificate();
  const Message message = request(good_key_draft(), "r", world.attempt().nonce);
  world.deliver({message.topic, protocol::encode_gzip(*protocol::decode(message.payload))});
  CHECK(world.code_of("r") == 200);
}

TEST_CASE("without ca-authentication an attempt that does not succeed pins nobody") {
  SessionConfig config = default_config();
  config.ca_authentication = false;
  World world(config);
  world.accept_certificate();
  CHECK_FALSE(world.state().pinned_issuer);
  world.pass(world.config.timeout);
  REQUIRE(world.state().phase == Phase::kWaiting);
  CHECK_FALSE(world.state().pinned_issuer);
  // so another platform may be the one
  REQUIRE(world.run_until(Phase::kHello));
  const Signer other = pki().make_signer(
      make_ca("Somebody's CA", crypto::CertificateProfile::kPlatformCa, make_root("Somebody's Root")));
  world.deliver(request(cert_draft(other), "other", world.attempt().nonce, other));
  CHECK(world.code_of("other") == 200);
}

TEST_CASE("an inline package of 512 KiB is taken, and one byte more is refused") {
  for (const std::size_t size : {std::size_t{512 * 1024}, std::size_t{512 * 1024 + 1}}) {
    World world;
    world.accept_certificate();
    world.deliver(request(inline_draft("app_1.tar.gz", Bytes(size, 'x')), "r", world.attempt().nonce));
    world.settle();
    CHECK(world.code_of("r") == (size == 512 * 1024 ? 200 : 400));
  }
}

TEST_CASE("the CONF reply is repeated every 5 s, not sooner and not later") {
  World world;
  world.platform.keeps_final_200 = true;
  world.start();
  REQUIRE(world.run_until(Phase::kConfirming));
  world.settle();
  const auto replies = [&] {
    std::size_t count = 0;
    for (const Message& message : world.published) count += message.topic.find("/CONF-V1/REPLY/") != std::string::npos;
    return count;
  };
  REQUIRE(replies() == 1);
  for (std::size_t i = 1; i <= 3; ++i) {
    world.pass(Millis(4'999));
    CHECK(replies() == i);
    world.pass(Millis(1));
    CHECK(replies() == i + 1);
  }
}

}  // namespace
}  // namespace fleet::agent::test
