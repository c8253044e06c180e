// Devices that bring no signing request with their hello are asked for it (edc §4.4): plain EDC devices, for one.
#include <boost/json.hpp>
#include <doctest/doctest.h>

#include "tests/unit/provisioner/provisioning/world.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

Hello without_request(const Device& device, const std::string& nonce, const std::string& hello_id) {
  Hello hello = device.hello(nonce, hello_id);
  hello.csr_der.reset();
  return hello;
}

// CERT-V1 is accepted; the rest of what was sent.
Heard asked_for_key(World& world, const Device& device, const std::vector<Heard>& messages) {
  CHECK(world.reply(device, find(messages, "CERT-V1")).empty());
  return find(messages, "KEYS-V1");
}

}  // namespace

TEST_CASE(
    "A device without a signing request is asked for it, and gets the rest of the plan for the key that it names") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, without_request(device, kNonce1, "h"));
  REQUIRE(line_of(first) == "202 CERT-V1 KEYS-V1");
  const Heard wish = asked_for_key(world, device, first);
  const auto body = boost::json::parse(wish.payload.body.value()).as_object();
  CHECK(body.at("keystoreServicePid") == "org.eclipse.kura.core.keystore.SSLKeystore");
  CHECK(body.at("alias") == "ssl-owner");
  CHECK(body.at("signatureAlgorithm").is_string());
  CHECK(body.at("attributes") == "CN=GW1");
  CHECK(world.issued == 0);

  const auto rest = world.bring_request(device, wish, device.request_pem());
  REQUIRE(line_of(rest) == "KEYS-V2 KEYS-V1 CONF-V1");
  for (const Heard& message : rest) CHECK(message.nonce == kNonce1);
  CHECK(world.issued == 1);
  const auto chain = boost::json::parse(find(rest, "KEYS-V2").payload.body.value()).at("certificateChain").as_array();
  const auto leaf = crypto::Certificate::from_pem(std::string(chain.at(0).as_string())).value();
  CHECK(leaf.subject_cn() == "GW1");
  CHECK(leaf.public_key().spki_sha256() == device.key.public_key().spki_sha256());
  CHECK(world.request("gw1").status == JobStatus::kRunning);

  // its reply once more, word for word, changes nothing
  CHECK(world.bring_request(device, wish, device.request_pem()).empty());
  CHECK(line_of(world.accept_all(device, rest)) == "200");
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
  CHECK(world.issued == 1);
}

TEST_CASE("A plain EDC device, without nonce, request id and signing request, is provisioned in silence") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, without_request(device, "", ""));
  REQUIRE(line_of(first) == "CERT-V1 KEYS-V1");
  for (const Heard& message : first) CHECK(!message.nonce);
  const auto rest = world.bring_request(device, asked_for_key(world, device, first), device.request_pem());
  CHECK(line_of(rest) == "KEYS-V2 KEYS-V1 CONF-V1");
  CHECK(world.accept_all(device, rest).empty());
  CHECK(world.request("gw1").status == JobStatus::kCompleted);
  CHECK(world.hello(device, without_request(device, "", "")).empty());
}

TEST_CASE("What is unanswered is sent again, before and after the signing request came") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, without_request(device, kNonce1, "h"));
  world.now += kResendAfter;
  const auto again = world.sweep();
  REQUIRE(line_of(again) == "CERT-V1 KEYS-V1");
  CHECK(again[1].raw == find(first, "KEYS-V1").raw);
  const auto rest = world.bring_request(device, asked_for_key(world, device, first), device.request_pem());
  world.now += kResendAfter;
  CHECK(line_of(world.sweep()) == "KEYS-V2 KEYS-V1 CONF-V1");
  world.now += Seconds(2);
  const auto after_hello = world.hello(device, without_request(device, kNonce1, "h2"));
  REQUIRE(line_of(after_hello) == "202 KEYS-V2 KEYS-V1 CONF-V1");
  CHECK(after_hello[1].raw == rest[0].raw);
}

TEST_CASE("The same key gets the same certificate in the next attempt, however it is named") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, without_request(device, kNonce1, "h"));
  world.bring_request(device, asked_for_key(world, device, first), device.request_pem());
  world.hello(device, kNonce2);
  CHECK(world.issued == 1);
  CHECK(world.attempts("gw1").size() == 2);
}

TEST_CASE("A signing request that is missing, damaged or of a key known for another device ends the attempt") {
  const auto cause_of = [](const std::function<std::string(World&, const Device&)>& request_of) {
    World world;
    const Device device = world.add_device("GW1");
    const auto first = world.hello(device, without_request(device, kNonce1, "h"));
    const Heard wish = asked_for_key(world, device, first);
    const std::string pem = request_of(world, device);
    CHECK((pem.empty() ? world.reply(device, wish) : world.bring_request(device, wish, pem)).empty());
    CHECK(world.request("gw1").status == JobStatus::kFailed);
    CHECK(world.request("gw1").failures == 1);
    CHECK(world.certificates("GW1").empty());
    return world.attempts("gw1").at(0).error;
  };
  CHECK(cause_of([](World&, const Device&) { return ""; }).find("holds none") != std::string::npos);
  CHECK(cause_of([](World&, const Device&) { return "junk"; }).find("not a certificate request") != std::string::npos);
  CHECK(cause_of([](World& world, const Device&) {
          const Device other = world.add_device("GW2");
          world.hello(other, kNonce1);
          return other.request_pem();
        }).find("known for another device") != std::string::npos);
}

TEST_CASE("A device that refuses to name its key ends the attempt") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, without_request(device, kNonce1, "h"));
  world.reply(device, asked_for_key(world, device, first), 500, "no entropy");
  CHECK(world.request("gw1").status == JobStatus::kFailed);
  CHECK(world.request("gw1").last_error.find("no entropy") != std::string::npos);
}

TEST_CASE("A CA that is away when the signing request comes costs the device nothing: it is asked again") {
  World world;
  const Device device = world.add_device("GW1");
  const auto first = world.hello(device, without_request(device, kNonce1, "h"));
  const Heard wish = asked_for_key(world, device, first);
  world.ca_works = false;
  CHECK(world.bring_request(device, wish, device.request_pem()).empty());
  CHECK(world.request("gw1").failures == 0);
  CHECK(world.request("gw1").last_error.find("the CA is away") != std::string::npos);
  world.ca_works = true;
  world.now += kResendAfter;
  const auto again = world.sweep();
  REQUIRE(line_of(again) == "KEYS-V1");
  const auto rest = world.bring_request(device, again[0], device.request_pem());
  CHECK(line_of(world.accept_all(device, rest)) == "200");
}
