#include "provisioner/edc/inbound.hpp"

#include <string>

#include <doctest/doctest.h>

#include "core/protocol/deploy.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/topic.hpp"

using namespace fleet;
using namespace fleet::provisioner;

namespace {

const std::string kRid = "00112233445566778899aabbccddeeff";

InboundMessage read(std::string_view topic, std::string_view payload) {
  return read_inbound("provision", "provisioner", "GW1", topic, payload);
}

protocol::Prov full_prov() {
  protocol::Prov prov;
  prov.username = "gw";
  prov.password = Secret("pw");
  prov.activation_key = Secret("key");
  prov.request_id = "h-1";
  prov.nonce = Bytes(16, 'n');
  prov.csr = Bytes("DER");
  prov.reason = "first-boot";
  prov.facts = {{"serial_number", "4711"}};
  return prov;
}

Bytes reply_payload(std::int32_t code, std::string error = "") {
  protocol::Reply reply;
  reply.code = code;
  reply.error = std::move(error);
  return protocol::encode(to_payload(reply, 1));
}

std::string why(const InboundMessage& message) {
  const auto* ignored = std::get_if<Ignored>(&message);
  return ignored == nullptr ? "" : ignored->why;
}

}  // namespace

TEST_CASE("A PROV becomes a hello with everything that it said, plain or gzip") {
  const auto payload = to_payload(full_prov(), "GW1", 1);
  for (const Bytes& bytes : {protocol::encode(payload), protocol::encode_gzip(payload)}) {
    const auto message = read("$EDC/provision/GW1/MQTT/PROV", bytes);
    REQUIRE(std::holds_alternative<HelloIn>(message));
    const Hello& hello = std::get<HelloIn>(message).hello;
    CHECK(hello.username == "gw");
    CHECK(hello.password.reveal() == "pw");
    CHECK(hello.activation_key->reveal() == "key");
    CHECK(hello.hello_id == "h-1");
    CHECK(hello.nonce == Bytes(16, 'n'));
    CHECK(hello.csr_der == Bytes("DER"));
    CHECK(hello.reason == "first-boot");
    CHECK(hello.facts.at("serial_number") == "4711");
  }
}

TEST_CASE("A PROV without anything optional is a hello too") {
  protocol::Prov prov;
  prov.username = "gw";
  prov.password = Secret("pw");
  const auto message = read("$EDC/provision/GW1/MQTT/PROV", protocol::encode(to_payload(prov, "GW1", 1)));
  REQUIRE(std::holds_alternative<HelloIn>(message));
  const Hello& hello = std::get<HelloIn>(message).hello;
  CHECK(!hello.hello_id);
  CHECK(!hello.nonce);
  CHECK(!hello.csr_der);
  CHECK(!hello.activation_key);
}

TEST_CASE("A malformed PROV keeps the id to answer to, if it has one") {
  auto payload = to_payload(full_prov(), "GW1", 1);
  std::erase_if(payload.metrics, [](const protocol::Metric& metric) { return metric.name == "password"; });
  const auto message = read("$EDC/provision/GW1/MQTT/PROV", protocol::encode(payload));
  REQUIRE(std::holds_alternative<MalformedHelloIn>(message));
  CHECK(std::get<MalformedHelloIn>(message).hello_id == "h-1");
  CHECK(std::get<MalformedHelloIn>(message).nonce == Bytes(16, 'n'));
  CHECK(std::get<MalformedHelloIn>(message).why.find("password") != std::string::npos);
}

TEST_CASE("A PROV that asks for its answer in another device's tree is malformed") {
  const auto payload = to_payload(full_prov(), "GW2", 1);
  CHECK(std::holds_alternative<MalformedHelloIn>(read("$EDC/provision/GW1/MQTT/PROV", protocol::encode(payload))));
}

TEST_CASE("Bytes that are no payload are a malformed hello without an id") {
  for (const Bytes& bytes : {Bytes(), Bytes("{\"metrics\":{}}"), Bytes("\x1f\x8b garbage"), Bytes(100, '\xff')}) {
    const auto message = read("$EDC/provision/GW1/MQTT/PROV", bytes);
    REQUIRE(std::holds_alternative<MalformedHelloIn>(message));
    CHECK(!std::get<MalformedHelloIn>(message).hello_id);
    CHECK(!std::get<MalformedHelloIn>(message).why.empty());
  }
}

TEST_CASE("A PROV over 64 KiB is malformed, however small its gzip is") {
  auto payload = to_payload(full_prov(), "GW1", 1);
  payload.body = Bytes(10 * protocol::kMaxProvSize, '\0');
  const Bytes bomb = protocol::encode_gzip(payload);
  REQUIRE(bomb.size() < 8 * 1024);
  CHECK(std::holds_alternative<MalformedHelloIn>(read("$EDC/provision/GW1/MQTT/PROV", bomb)));
  CHECK(std::holds_alternative<MalformedHelloIn>(read("$EDC/provision/GW1/MQTT/PROV", protocol::encode(payload))));
}

TEST_CASE("A PROV of exactly 64 KiB is read, and one byte more is malformed, as it comes and as it inflates") {
  // a PROV whose bytes are as many as wanted
  const auto of_size = [](std::size_t size) {
    auto payload = to_payload(full_prov(), "GW1", 1);
    payload.body = Bytes(60'000, 'x');
    payload.body->resize(payload.body->size() + size - protocol::encode(payload).size(), 'x');
    REQUIRE(protocol::encode(payload).size() == size);
    return payload;
  };
  const auto is_hello = [](const Bytes& bytes) {
    return std::holds_alternative<HelloIn>(read("$EDC/provision/GW1/MQTT/PROV", bytes));
  };
  CHECK(is_hello(protocol::encode(of_size(64 * 1024))));
  CHECK(is_hello(protocol::encode_gzip(of_size(64 * 1024))));
  CHECK_FALSE(is_hello(protocol::encode(of_size(64 * 1024 + 1))));
  CHECK_FALSE(is_hello(protocol::encode_gzip(of_size(64 * 1024 + 1))));
}

TEST_CASE("No secret of a malformed PROV is in what is said about it") {
  auto prov = full_prov();
  prov.password = Secret("very-secret-password");
  prov.activation_key = Secret("very-secret-key");
  prov.nonce = Bytes(3, 'n');
  const auto message = read("$EDC/provision/GW1/MQTT/PROV", protocol::encode(to_payload(prov, "GW1", 1)));
  REQUIRE(std::holds_alternative<MalformedHelloIn>(message));
  CHECK(std::get<MalformedHelloIn>(message).why.find("very-secret") == std::string::npos);
}

TEST_CASE("A reply names the step that it answers by its app id") {
  const std::vector<std::pair<std::string, StepKind>> apps{{"CERT-V1", StepKind::kSigningCertificates},
                                                           {"KEYS-V2", StepKind::kDeviceCertificate},
                                                           {"KEYS-V1", StepKind::kTrustedCertificate},
                                                           {"CONF-V1", StepKind::kConfiguration}};
  for (const auto& [app, kind] : apps) {
    CAPTURE(app);
    const auto message = read("$EDC/provision/provisioner/" + app + "/REPLY/" + kRid, reply_payload(400, "no"));
    REQUIRE(std::holds_alternative<StepReplyIn>(message));
    const StepReply& reply = std::get<StepReplyIn>(message).reply;
    CHECK(reply.rid == kRid);
    CHECK(reply.kind == kind);
    CHECK(reply.code == 400);
    CHECK(reply.error == "no");
  }
}

TEST_CASE("A PROV that is no payload keeps the id to answer to") {
  auto payload = to_payload(full_prov(), "GW1", 1);
  payload.add("username", std::string("again"));
  for (const Bytes& bytes : {protocol::encode(payload), Bytes(R"({"metrics":{"request.id":"h-1"}})")}) {
    const auto message = read("$EDC/provision/GW1/MQTT/PROV", bytes);
    REQUIRE(std::holds_alternative<MalformedHelloIn>(message));
    CHECK(std::get<MalformedHelloIn>(message).hello_id == "h-1");
  }
}

TEST_CASE("A reply of KEYS-V1 brings the signing request that was asked for, in either form") {
  protocol::Reply reply;
  reply.code = 200;
  for (const char* const body : {R"({"signingRequest":"PEM"})", R"("PEM")"}) {
    reply.body = body;
    const auto message =
        read("$EDC/provision/provisioner/KEYS-V1/REPLY/" + kRid, protocol::encode(to_payload(reply, 1)));
    REQUIRE(std::holds_alternative<StepReplyIn>(message));
    CHECK(std::get<StepReplyIn>(message).reply.signing_request_pem == "PEM");
  }
  reply.body = "OK";
  const auto other = read("$EDC/provision/provisioner/KEYS-V1/REPLY/" + kRid, protocol::encode(to_payload(reply, 1)));
  REQUIRE(std::holds_alternative<StepReplyIn>(other));
  CHECK(!std::get<StepReplyIn>(other).reply.signing_request_pem);
}

TEST_CASE("Replies that nobody asked for are ignored, with the reason") {
  const std::string topic = "$EDC/provision/provisioner/CONF-V1/REPLY/" + kRid;
  CHECK(why(read("$EDC/provision/provisioner/PROV-V1/REPLY/" + kRid, reply_payload(200))) != "");
  CHECK(why(read("$EDC/provision/provisioner/DEPLOY-V9/REPLY/" + kRid, reply_payload(200))) != "");
  CHECK(why(read("$EDC/other/provisioner/CONF-V1/REPLY/" + kRid, reply_payload(200))) == "a topic of another account");
  CHECK(why(read("$EDC/provision/GW2/CONF-V1/REPLY/" + kRid, reply_payload(200))) == "a reply to somebody else");
  CHECK(why(read("$EDC/provision/provisioner/CONF-V1/REPLY/" + std::string(65, 'a'), reply_payload(200))) != "");
  for (const Bytes& bytes : {Bytes(), Bytes("junk"), protocol::encode({})}) {
    const std::string reason = why(read(topic, bytes));
    CHECK(reason.starts_with("a reply that cannot be read"));
    CHECK(reason.find(kRid) == std::string::npos);
  }
}

TEST_CASE("A reply or notification that inflates to more than a message may have is ignored") {
  protocol::Reply reply;
  reply.code = 200;
  reply.body = Bytes(2 * 1024 * 1024, '\0');
  const Bytes bomb = protocol::encode_gzip(to_payload(reply, 1));
  REQUIRE(bomb.size() < 8 * 1024);
  CHECK(why(read("$EDC/provision/provisioner/CONF-V1/REPLY/" + kRid, bomb)).starts_with("a reply that cannot be read"));
  CHECK(why(read("$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/GW1/install", bomb))
            .starts_with("a notification that cannot be read"));
}

TEST_CASE("A device's leaving is told apart from its being found gone") {
  const auto goodbye = read("$EDC/provision/GW1/MQTT/DC", "");
  REQUIRE(std::holds_alternative<DeviceGoneIn>(goodbye));
  CHECK(std::get<DeviceGoneIn>(goodbye).said_goodbye);
  const auto lost = read("$EDC/provision/GW1/MQTT/LWT", "");
  REQUIRE(std::holds_alternative<DeviceGoneIn>(lost));
  CHECK(!std::get<DeviceGoneIn>(lost).said_goodbye);
}

TEST_CASE("Everything else is ignored, with the reason") {
  const Bytes prov = protocol::encode(to_payload(full_prov(), "GW1", 1));
  CHECK(why(read("$EDC/provision/GW2/MQTT/PROV", prov)) == "a topic of another device");
  CHECK(why(read("$EDC/other/GW1/MQTT/PROV", prov)) == "a topic of another account");
  CHECK(why(read("$EDC/provision/GW1/MQTT/BIRTH", prov)) != "");
  CHECK(why(read("$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/GW1/download", prov)) != "");
  CHECK(why(read("$EDC/provision/GW1/CONF-V1/PUT/configurations", prov)) != "");
  for (const auto* const topic :
       {"", "/", "$EDC", "$EDC/provision/GW1/MQTT", "data/GW1", "$EDC/+/GW1/MQTT/PROV", "$EDC//GW1/MQTT/PROV"}) {
    CAPTURE(topic);
    CHECK(why(read(topic, prov)) == "a topic outside of the protocol");
  }
}

TEST_CASE("A notification of a package becomes the domain's news of its job") {
  protocol::DeployNotification notification;
  notification.job_id = 4711;
  notification.progress = 30;
  const auto read_it = [&](const std::string& topic) {
    return read(topic, protocol::encode(to_payload(notification, 1)));
  };
  const std::string download = "$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/GW1/download";
  auto message = read_it(download);
  REQUIRE(std::holds_alternative<JobNoticeIn>(message));
  JobNotice notice = std::get<JobNoticeIn>(message).notice;
  CHECK(notice.job_id == 4711);
  CHECK(notice.phase == JobNotice::Phase::kDownload);
  CHECK(notice.state == JobNotice::State::kRunning);
  CHECK(notice.progress == 30);

  notification.stage = protocol::DeployStage::kInstall;
  const std::string install = "$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/GW1/install";
  for (const auto status : {protocol::DeployStatus::kCompleted, protocol::DeployStatus::kAlreadyDone}) {
    notification.status = status;
    message = read_it(install);
    REQUIRE(std::holds_alternative<JobNoticeIn>(message));
    CHECK(std::get<JobNoticeIn>(message).notice.phase == JobNotice::Phase::kInstall);
    CHECK(std::get<JobNoticeIn>(message).notice.state == JobNotice::State::kDone);
  }
  for (const auto status : {protocol::DeployStatus::kFailed, protocol::DeployStatus::kCancelled}) {
    notification.status = status;
    notification.error = "no room";
    message = read_it(install);
    REQUIRE(std::holds_alternative<JobNoticeIn>(message));
    CHECK(std::get<JobNoticeIn>(message).notice.state == JobNotice::State::kFailed);
    CHECK(std::get<JobNoticeIn>(message).notice.error == "no room");
  }
}

TEST_CASE("A notification elsewhere, of somebody else, or that cannot be read is ignored") {
  const Bytes good = protocol::encode(to_payload(protocol::DeployNotification{}, 1));
  CHECK(why(read("$EDC/other/provisioner/DEPLOY-V2/NOTIFY/GW1/download", good)) == "a topic of another account");
  CHECK(why(read("$EDC/provision/somebody/DEPLOY-V2/NOTIFY/GW1/download", good)) == "a notification to somebody else");
  CHECK(why(read("$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/GW2/download", good)) ==
        "a notification in the name of another device");
  CHECK(why(read("$EDC/provision/provisioner/CONF-V1/NOTIFY/GW1/download", good)) ==
        "a notification under an app id that has none");
  CHECK(why(read("$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/GW1/other", good)) ==
        "a notification of no stage of a package");
  for (const Bytes& bytes : {Bytes(), Bytes("junk"), Bytes(100, '\xff')}) {
    CHECK(why(read("$EDC/provision/provisioner/DEPLOY-V2/NOTIFY/GW1/download", bytes))
              .starts_with("a notification that cannot be read: "));
  }
}

TEST_CASE("Replies to packages are known by their app ids") {
  const auto v2 = read("$EDC/provision/provisioner/DEPLOY-V2/REPLY/" + kRid, reply_payload(200));
  REQUIRE(std::holds_alternative<StepReplyIn>(v2));
  CHECK(std::get<StepReplyIn>(v2).reply.kind == StepKind::kPackage);
  const auto v1 = read("$EDC/provision/provisioner/DEPLOY-V1/REPLY/" + kRid, reply_payload(500, "no"));
  REQUIRE(std::holds_alternative<StepReplyIn>(v1));
  CHECK(std::get<StepReplyIn>(v1).reply.kind == StepKind::kInlinePackage);
}
