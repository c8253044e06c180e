// What every message of the provisioner owes the protocol, whatever step it is: ids that nobody can guess (edc §3), a
// signature by the leaf that CERT-V1 carries (§4.2, §4.3), chains without their root (§4.2, §4.4).
#include <algorithm>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include "core/protocol/message.hpp"
#include "core/protocol/signature.hpp"
#include "core/protocol/topic.hpp"
#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

std::vector<crypto::Certificate> chain_of_signer(const std::vector<Heard>& messages) {
  const auto message = protocol::parse_signing_certificates(find(messages, "CERT-V1").payload).value();
  return crypto::Certificate::chain_from_pem(message.chain_pem).value();
}

// The world's root is also what devices shall trust for the owner's broker.
crypto::Certificate root_of(const std::vector<Heard>& messages) {
  const auto message = protocol::parse_trusted_certificate(find(messages, "KEYS-V1").payload).value();
  return crypto::Certificate::from_pem(message.certificate_pem).value();
}

}  // namespace

TEST_CASE("Every request has an id of 128 random bits in hex, and no id comes twice, over attempts and devices") {
  World world;
  std::set<std::string> ids;
  std::size_t requests = 0;
  for (const std::string client_id : {"GW1", "GW2"}) {
    const Device device = world.add_device(client_id);
    for (const std::string& nonce : {kNonce1, kNonce2}) {
      for (const Heard& message : world.hello(device, nonce)) {
        if (message.app == "PROV-V1") continue;
        CHECK(message.id.size() == 32);
        CHECK(message.id.find_first_not_of("0123456789abcdef") == std::string::npos);
        ids.insert(message.id);
        ++requests;
      }
    }
  }
  CHECK(requests == 16);
  CHECK(ids.size() == requests);
}

TEST_CASE("CERT-V1 carries its signer first and no root, and that signer signs all that follows, answers too") {
  World world;
  const Device device = world.add_device("GW1");
  auto messages = world.hello(device, kNonce1);
  for (Heard& last : world.accept_all(device, messages)) messages.push_back(std::move(last));
  REQUIRE(line_of(messages) == "202 CERT-V1 KEYS-V2 KEYS-V1 CONF-V1 200");
  const auto chain = chain_of_signer(messages);
  CHECK(std::none_of(chain.begin(), chain.end(), [](const auto& one) { return one.is_self_signed(); }));
  CHECK(crypto::check_command_signing_chain(chain));
  CHECK(crypto::verify_chain(chain, {root_of(messages)}, world.now));
  for (const Heard& message : messages) {
    CAPTURE(message.app);
    const auto parts = protocol::signature_of(message.payload);
    REQUIRE(parts.has_value());
    const protocol::RequestTopic request{"provision", "GW1", message.app,
                                         message.app.starts_with("KEYS") ? "POST" : "PUT",
                                         message.app == "CERT-V1"   ? "certificates"
                                         : message.app == "KEYS-V2" ? "keystores/entries/privatekey"
                                         : message.app == "KEYS-V1" ? "keystores/entries/certificate"
                                                                    : "configurations"};
    const protocol::ReplyTopic answer{"provision", "GW1", "PROV-V1", message.id};
    const std::string topic = message.app == "PROV-V1" ? answer.str() : request.str();
    CHECK(chain.front().public_key().verify(parts->algorithm, protocol::signing_input(topic, message.payload),
                                            parts->signature));
  }
}

TEST_CASE("A device certificate comes with what is between it and the root, and without the root") {
  World world;
  const Device device = world.add_device("GW1");
  const auto messages = world.hello(device, kNonce1);
  const auto body = protocol::parse_device_certificate(find(messages, "KEYS-V2").payload).value();
  REQUIRE(body.chain_pem.size() == 2);
  std::vector<crypto::Certificate> chain;
  for (const std::string& pem : body.chain_pem) chain.push_back(crypto::Certificate::from_pem(pem).value());
  CHECK(chain[0].subject_cn() == "GW1");
  CHECK_FALSE(chain[0].is_ca());
  CHECK(chain[1].is_ca());
  CHECK_FALSE(chain[1].is_self_signed());
  CHECK(crypto::verify_chain(chain, {root_of(messages)}, world.now));
}

TEST_CASE("A device that owes nothing may start over without that being a failure") {
  World world;
  world.change_account([](Account& account) { account.credentials = OwnerCredentials::kPassword; });
  const Device device = world.add_device("GW1");
  world.accept_all(device, world.hello(device, kNonce1));  // all but the configuration, which waits for the owner's broker
  world.hello(device, kNonce2);
  REQUIRE(world.attempts("gw1").size() == 2);
  CHECK(world.attempts("gw1")[0].state == AttemptState::kSuperseded);
  CHECK(world.request("gw1").failures == 0);
  CHECK(world.request("gw1").last_error.empty());
  // and now it owes
  world.hello(device, kNonce1);
  CHECK(world.request("gw1").failures == 1);
}

TEST_CASE("A nonce of a failed attempt begins another one, whose ids are its own") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, kNonce1);
  world.reply(device, find(first, "CERT-V1"), 400, "no");
  const auto second = world.hello(device, kNonce1);
  REQUIRE(line_of(second) == line_of(first));
  CHECK(world.reply(device, find(first, "CONF-V1")).empty());
  CHECK(world.request("gw1").status == JobStatus::kStarted);
  CHECK(line_of(world.reply(device, find(second, "CONF-V1"))) == "200");
}
