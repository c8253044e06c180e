// The protocol by the letter: names, numbers and limits as literals. Both of our programs take them from the same
// constants, so that a wrong one would be agreed on everywhere but here, and with every other implementation.
#include <doctest/doctest.h>

#include "core/protocol/deploy.hpp"
#include "core/protocol/esf_xml.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/proto_wire.hpp"
#include "core/protocol/topic.hpp"
#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;
using namespace fleet::protocol::test;

namespace {

// "name: TYPE", in the order of the payload.
std::vector<std::string> metrics_of(const KuraPayload& payload) {
  static constexpr std::string_view kTypes[] = {"DOUBLE", "FLOAT", "INT64", "INT32", "BOOL", "STRING", "BYTES"};
  std::vector<std::string> texts;
  for (const Metric& metric : payload.metrics) {
    texts.push_back(fmt::format("{}: {}", metric.name, kTypes[metric.value.index()]));
  }
  return texts;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("requests have one of five methods, and each is read as such") {
  for (const std::string method : {"GET", "PUT", "POST", "DEL", "EXEC"}) {
    CAPTURE(method);
    const auto topic = parse_topic("$EDC/acc/dev/APP-V1/" + method + "/some/resource");
    REQUIRE(topic);
    CHECK(*topic == Topic(RequestTopic{"acc", "dev", "APP-V1", method, "some/resource"}));
  }
}

TEST_CASE("app ids, pids and aliases have their names") {
  const std::vector<std::pair<std::string_view, std::string_view>> names{
      {kAppProv, "PROV-V1"},
      {kAppCert, "CERT-V1"},
      {kAppKeysV1, "KEYS-V1"},
      {kAppKeysV2, "KEYS-V2"},
      {kAppDeployV1, "DEPLOY-V1"},
      {kAppDeployV2, "DEPLOY-V2"},
      {kAppConf, "CONF-V1"},
      {kKeystorePid, "org.eclipse.kura.core.keystore.SSLKeystore"},
      {kOwnerAlias, "ssl-owner"},
      {kMqttTransportPid, "org.eclipse.kura.core.data.transport.mqtt.MqttDataTransport"}};
  for (const auto& [name, letter] : names) CHECK(name == letter);
  CHECK(owner_ca_alias(1) == "ssl-owner-ca-1");
}

TEST_CASE("the limits are 64 KiB for PROV, 512 KiB for an inline package and nine packages") {
  CHECK(kMaxProvSize == 65'536);
  CHECK(kMaxInlinePackage == 524'288);
  CHECK(kMaxPackages == 9);
}

TEST_CASE("PROV has its metrics under their names and types") {
  Prov prov;
  prov.username = "u";
  prov.password = Secret("p");
  prov.activation_key = Secret("k");
  prov.request_id = "r";
  prov.nonce = Bytes(16, 'n');
  prov.csr = Bytes(1, 'c');
  prov.reason = "retry";
  prov.facts = {{"serial_number", "s"}};
  CHECK(metrics_of(to_payload(prov, "dev", 1)) ==
        Texts{"username: STRING", "password: STRING", "activationKey: STRING", "provisioningCertificateVersion: STRING",
              "request.id: STRING", "requester.client.id: STRING", "prov.nonce: BYTES", "prov.csr: BYTES",
              "prov.reason: STRING", "serial_number: STRING"});
}

TEST_CASE("requests, replies and their parts have their metrics under their names and types") {
  KuraPayload head;
  add_head(head, {"r", "provisioner", Bytes(16, 'n')});
  CHECK(metrics_of(head) == Texts{"request.id: STRING", "requester.client.id: STRING", "prov.nonce: BYTES"});
  CHECK(metrics_of(to_payload(Reply{429, "no", 5, std::nullopt}, 1)) ==
        Texts{"response.code: INT32", "response.exception.message: STRING", "retry.after: INT32"});
  CHECK(metrics_of(to_payload(SigningCertificates{"PEM"})) == Texts{"certificate.usage: STRING"});
  CHECK(metrics_of(to_payload(InlinePackage{"a_1.tgz", "x"})) == Texts{"deploy.filename: STRING"});
  KuraPayload installed;
  add_installed_package(installed, {"a", "1"});
  CHECK(metrics_of(installed) == Texts{"deploy.pkg.name: STRING", "deploy.pkg.version: STRING"});
  CHECK(metrics_of(to_payload(DownloadRequest{1, {"a", "1"}, "https://x", std::string(64, 'a'), true})) ==
        Texts{"job.id: INT64", "dp.uri: STRING", "dp.name: STRING", "dp.version: STRING",
              "dp.download.protocol: STRING", "dp.download.hash: STRING", "dp.install: BOOL"});
}

TEST_CASE("a notification has the metrics of its own stage under their names and types") {
  const auto metrics = [](DeployStage stage) {
    return metrics_of(to_payload(DeployNotification{stage, 1, 0, DeployStatus::kFailed, "why"}, 1));
  };
  CHECK(metrics(DeployStage::kDownload) == Texts{"job.id: INT64", "dp.download.progress: INT32",
                                                 "dp.download.status: STRING", "dp.download.error.message: STRING"});
  CHECK(metrics(DeployStage::kInstall) == Texts{"job.id: INT64", "dp.install.progress: INT32",
                                                "dp.install.status: STRING", "dp.install.error.message: STRING"});
  CHECK(to_string(DeployStage::kDownload) == "download");
  CHECK(to_string(DeployStage::kInstall) == "install");
}

TEST_CASE("the statuses of a job are written as Kura writes them") {
  CHECK(to_string(DeployStatus::kInProgress) == "IN_PROGRESS");
  CHECK(to_string(DeployStatus::kCompleted) == "COMPLETED");
  CHECK(to_string(DeployStatus::kFailed) == "FAILED");
  CHECK(to_string(DeployStatus::kAlreadyDone) == "ALREADY DONE");
  CHECK(to_string(DeployStatus::kCancelled) == "CANCELLED");
}

TEST_CASE("KEYS bodies have exactly their members") {
  CHECK(to_payload(DeviceCertificate{"pid", "alias", {"leaf", "ca"}}).body ==
        R"({"keystoreServicePid":"pid","alias":"alias","certificateChain":["leaf","ca"]})");
  CHECK(to_payload(TrustedCertificate{"pid", "alias", "pem"}).body ==
        R"({"keystoreServicePid":"pid","alias":"alias","certificate":"pem"})");
  CHECK(to_payload(SigningRequestWish{"pid", "alias", "SHA256withECDSA", "CN=x"}).body ==
        R"({"keystoreServicePid":"pid","alias":"alias","signatureAlgorithm":"SHA256withECDSA","attributes":"CN=x"})");
}

TEST_CASE("each field of a position has its own wire type") {
  const Bytes required = hex("090000000000000000 110000000000000000");
  // content of a field by wire type: varint, fixed64, bytes, fixed32
  static constexpr std::pair<unsigned, std::string_view> kContents[] = {
      {0, "01"}, {1, "0000000000000000"}, {2, "0100"}, {5, "00000000"}};
  for (unsigned field = 1; field <= 9; ++field) {
    const unsigned expected = field <= 6 ? 1U : 0U;  // doubles, then timestamp, satellites and status
    for (const auto& [type, content] : kContents) {
      CAPTURE(field);
      CAPTURE(type);
      Bytes payload;
      wire::append_bytes_field(payload, 2, required + Bytes(1, static_cast<char>(field << 3 | type)) + hex(content));
      CHECK(decode(payload).has_value() == (type == expected));
    }
  }
}
