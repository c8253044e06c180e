// Promises of the protocol that only the wire can show: what is never said.
#include <algorithm>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "core/protocol/gzip.hpp"
#include "tests/system/fake_platform.hpp"

using namespace fleet;
using namespace fleet::test;

TEST_CASE("a device that sent no request.id hears nothing but requests, leaves after its last reply, and is provisioned") {
  Rig& rig = installation();
  const std::string name = "silent-1";
  RawDevice device(rig, rig.request(name, "02FC71000001"));
  device.join();
  protocol::Prov hello = device.hello();
  hello.request_id.reset();
  SUBCASE("with a nonce") {}
  SUBCASE("without one, as EDC has it") {
    hello.nonce.reset();
  }
  device.say(hello);
  for (const std::string_view app : {protocol::kAppCert, protocol::kAppKeysV2, protocol::kAppKeysV1, protocol::kAppConf}) {
    device.reply(device.await(app));
  }
  SUBCASE("it leaves at once") {
    device.client().disconnect();
    CHECK(eventually([&] { return rig.status(name) == "COMPLETED"; }));
  }
  SUBCASE("it would have heard nothing more") {
    CHECK(eventually([&] {
      device.client().listen(Millis(100));
      return rig.status(name) == "COMPLETED";
    }));
    device.client().listen(Millis(1000));
  }
  INFO(rig.describe(name));
  CHECK(rig.sql("SELECT count(*) FROM attempt a JOIN request r ON a.request_id = r.id WHERE r.name = 'silent-1'") == "1");
  for (const mqtt::Message& message : device.client().received()) {
    CAPTURE(message.topic);
    const auto topic = must(protocol::parse_topic(message.topic));
    CHECK(std::holds_alternative<protocol::RequestTopic>(topic));
  }
  expect_ok(rig.cli({"delete", "request", name}), "delete");
}

namespace {

// All forms in which a private key could be said: as it lies on the disk, as DER, and its secret number alone, as bytes,
// hex, or base64 at whatever offset.
std::vector<Bytes> forms_of(const std::string& pem) {
  std::vector<Bytes> forms;
  std::string base64;
  for (std::size_t begin = 0, end = 0; (end = pem.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string line = pem.substr(begin, end - begin);
    if (!line.starts_with("-----")) base64 += line;
  }
  forms.push_back(pem);
  forms.push_back(base64);
  const Bytes der = must(from_base64(base64));
  forms.push_back(der);
  // RFC 5915: version 1, then the octets of the number
  const Bytes before("\x02\x01\x01\x04\x20", 5);
  const std::size_t at = der.find(before);
  REQUIRE(at != Bytes::npos);
  const Bytes number = der.substr(at + before.size(), 32);
  REQUIRE(number.size() == 32);
  forms.push_back(number);
  std::string hex = to_hex(number);
  forms.push_back(hex);
  std::transform(hex.begin(), hex.end(), hex.begin(), [](unsigned char c) { return std::toupper(c); });
  forms.push_back(hex);
  for (std::size_t offset = 0; offset < 3; ++offset) {
    // without the characters that what stands before or behind it has a part in
    const std::string text = to_base64(Bytes(offset, 'x') + number);
    forms.push_back(text.substr(4, 36));
  }
  return forms;
}

// A payload as it came, and what it is if it was compressed.
Bytes opened(const Bytes& payload) {
  return protocol::is_gzip(payload) ? payload + must(protocol::gunzip(payload, 16 * 1024 * 1024)) : payload;
}

}  // namespace

TEST_CASE("the private key never leaves the device: nothing that it says on either broker holds it in any form") {
  FakePlatform platform;
  RawClient ear(platform.port(), platform.folder() / "root.crt", "ear", "", "");
  REQUIRE(ear.connect());
  REQUIRE(ear.subscribe("$EDC/#"));
  REQUIRE(ear.subscribe("#"));
  const std::string id = "02FC71000002";
  auto agent = platform.agent(id, "20s");
  agent->start();
  const protocol::Prov hello = platform.await_hello(id);
  const std::string pem = must(read_file(agent->state() / "device.key"));

  // every step that has to do with keys, and one that the device refuses
  const auto send = [&](Draft draft, std::int32_t code) {
    CAPTURE(draft.topic);
    CHECK(platform.reply_to(platform.send(std::move(draft), platform.signer())) == code);
  };
  send(platform.certificates(id, hello, platform.signer()), 200);
  Draft wish = platform.certificates(id, hello, platform.signer());
  wish.topic = protocol::RequestTopic{std::string(kAccount), id, "KEYS-V1", "POST", "keystores/entries/csr"}.str();
  wish.payload.body = protocol::to_payload(protocol::SigningRequestWish{std::string(protocol::kKeystorePid),
                                                                        std::string(protocol::kOwnerAlias),
                                                                        "SHA256withECDSA", "CN=" + id})
                          .body;
  send(std::move(wish), 200);
  send(platform.device_certificate(id, hello), 200);
  // the owner's broker is this broker too
  Draft configuration = platform.configuration(id, hello);
  std::string& xml = *configuration.payload.body;
  const std::string nowhere = "mqtts://localhost:1<";
  REQUIRE(xml.find(nowhere) != std::string::npos);
  xml.replace(xml.find(nowhere), nowhere.size(), "mqtts://localhost:" + std::to_string(platform.port()) + "<");
  send(std::move(configuration), 200);
  platform.send(platform.answer(id, hello, {.code = 200, .error = {}, .retry_after_s = {}, .body = {}}), platform.signer());
  REQUIRE(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(agent->process().stop() == 0);

  const auto heard = [&](const std::string& end_of_topic) {
    return std::any_of(ear.received().begin(), ear.received().end(),
                       [&](const mqtt::Message& message) { return message.topic.ends_with(end_of_topic); });
  };
  INFO(agent->log());
  REQUIRE(ear.until([&] { return heard("acme/" + id + "/MQTT/DC"); }));
  CHECK(heard("provision/" + id + "/MQTT/PROV"));
  CHECK(heard("provision/" + id + "/MQTT/DC"));
  CHECK(heard("acme/" + id + "/MQTT/BIRTH"));
  CHECK(ear.received().size() > 10);

  CHECK_MESSAGE(must(read_file(agent->state() / "current/device.key")) == pem, "it is the key that is in use");
  const Bytes public_half = must(crypto::Csr::from_der(hello.csr.value())).public_key().spki_der();
  bool public_half_was_said = false;
  const std::vector<Bytes> forms = forms_of(pem);
  for (const mqtt::Message& message : ear.received()) {
    const Bytes said = message.topic + opened(message.payload);
    public_half_was_said = public_half_was_said || said.find(public_half) != Bytes::npos;
    for (const Bytes& form : forms) CHECK_MESSAGE(said.find(form) == Bytes::npos, message.topic);
  }
  CHECK_MESSAGE(public_half_was_said, "or the search looks at the wrong thing");
  for (const Bytes& form : forms) CHECK(agent->log().find(form) == std::string::npos);
}
