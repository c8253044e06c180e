#include "provisioner/edc/dialect.hpp"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "core/crypto/certificate.hpp"
#include "core/protocol/deploy.hpp"
#include "core/protocol/message.hpp"
#include "core/protocol/signature.hpp"
#include "core/protocol/topic.hpp"

using namespace fleet;
using namespace fleet::provisioner;

namespace {

const WallTime kNow = from_unix_millis(1'800'000'000'000);
const std::string kRid = "00112233445566778899aabbccddeeff";
const Bytes kNonce(16, 'n');

struct Speaker {
  crypto::PrivateKey key = crypto::PrivateKey::generate().value();
  EdcDialect dialect{"provision", "provisioner", key};

  // Reads a message as a device would: signature, then payload.
  protocol::KuraPayload accept(const Outgoing& message) const {
    const auto payload = protocol::decode(message.payload);
    REQUIRE(payload.has_value());
    const auto parts = protocol::signature_of(*payload);
    REQUIRE(parts.has_value());
    CHECK(parts->algorithm == key.algorithm());
    REQUIRE(key.public_key()
                .verify(parts->algorithm, protocol::signing_input(message.topic, *payload), parts->signature)
                .has_value());
    CHECK(payload->timestamp == to_unix_millis(kNow));
    return *payload;
  }

  protocol::KuraPayload step(const StepContent& content, const std::string& topic) const {
    const auto message = dialect.step_message("GW1", kNonce, kRid, content, kNow);
    REQUIRE(message.has_value());
    CHECK(message->client_id == "GW1");
    CHECK(message->topic == topic);
    const protocol::KuraPayload payload = accept(*message);
    const auto head = protocol::parse_head(payload);
    REQUIRE(head.has_value());
    CHECK(head->request_id == kRid);
    CHECK(head->requester_client_id == "provisioner");
    CHECK(head->nonce == kNonce);
    return payload;
  }
};

std::string some_certificate() {
  const auto key = crypto::PrivateKey::generate().value();
  return crypto::issue_root({crypto::CertificateProfile::kRootCa, "root", {}, kNow, kNow + Seconds(3600)}, key)
      .value()
      .to_pem();
}

}  // namespace

TEST_CASE("Signing certificates are put under CERT-V1 and read back") {
  const std::string pem = some_certificate();
  const auto payload = Speaker{}.step(SigningCertificatesContent{pem}, "$EDC/provision/GW1/CERT-V1/PUT/certificates");
  CHECK(protocol::parse_signing_certificates(payload).value().chain_pem == pem);
}

TEST_CASE("A signing request is asked for under KEYS-V1") {
  const auto payload =
      Speaker{}.step(SigningRequestContent{"GW1"}, "$EDC/provision/GW1/KEYS-V1/POST/keystores/entries/csr");
  CHECK(payload.body == R"({"keystoreServicePid":"org.eclipse.kura.core.keystore.SSLKeystore","alias":"ssl-owner",)"
                        R"("signatureAlgorithm":"SHA256withECDSA","attributes":"CN=GW1"})");
}

TEST_CASE("A device certificate is posted under KEYS-V2 and read back") {
  const std::vector<std::string> chain{some_certificate(), some_certificate()};
  const auto payload =
      Speaker{}.step(DeviceCertificateContent{chain}, "$EDC/provision/GW1/KEYS-V2/POST/keystores/entries/privatekey");
  const auto read = protocol::parse_device_certificate(payload);
  REQUIRE(read.has_value());
  CHECK(read->alias == "ssl-owner");
  CHECK(read->keystore_pid == protocol::kKeystorePid);
  CHECK(read->chain_pem == chain);
}

TEST_CASE("A CA of the owner's broker is posted under KEYS-V1 by its number and read back") {
  const std::string pem = some_certificate();
  const auto payload = Speaker{}.step(TrustedCertificateContent{2, pem},
                                      "$EDC/provision/GW1/KEYS-V1/POST/keystores/entries/certificate");
  const auto read = protocol::parse_trusted_certificate(payload);
  REQUIRE(read.has_value());
  CHECK(read->alias == "ssl-owner-ca-2");
  CHECK(read->certificate_pem == pem);
}

TEST_CASE("A package to download is asked for under DEPLOY-V2, to be installed, and read back") {
  PackageContent package{"app", "1.2.0", "https://x.test/app.tgz", std::string(64, 'a')};
  package.job_id = 4711;
  const auto payload = Speaker{}.step(package, "$EDC/provision/GW1/DEPLOY-V2/EXEC/download");
  CHECK(protocol::parse_download_request(payload).value() ==
        protocol::DownloadRequest{4711, {"app", "1.2.0"}, "https://x.test/app.tgz", std::string(64, 'a'), true});
}

TEST_CASE("An inline package is brought under DEPLOY-V1 by a file name that holds its name and version") {
  const auto payload = Speaker{}.step(InlinePackageContent{"app", "1.2.0", "whatever.tar.gz", "content"},
                                      "$EDC/provision/GW1/DEPLOY-V1/EXEC/install");
  const auto read = protocol::parse_inline_package(payload);
  REQUIRE(read.has_value());
  CHECK(read->file_name == "app_1.2.0.tar.gz");
  CHECK(read->content == "content");
}

TEST_CASE("An inline package of 512 KiB is sent, and one byte more is not") {
  const Speaker speaker;
  const auto sent = [&](std::size_t size) {
    return speaker.dialect.step_message("GW1", kNonce, kRid, InlinePackageContent{"a", "1", "a", Bytes(size, 'x')}, kNow)
        .has_value();
  };
  CHECK(sent(512 * 1024));
  CHECK_FALSE(sent(512 * 1024 + 1));
}

TEST_CASE("A configuration is put under CONF-V1 as XML and read back") {
  const protocol::Configurations configurations{
      {"org.plant.Modbus", {{"host", protocol::PropertyType::kString, false, false, {"a<b>&\"c\""}}}}};
  const auto payload =
      Speaker{}.step(ConfigurationContent{configurations}, "$EDC/provision/GW1/CONF-V1/PUT/configurations");
  REQUIRE(payload.body.has_value());
  CHECK(protocol::parse_xml(*payload.body).value() == configurations);
}

TEST_CASE("A configuration that XML cannot carry is refused") {
  const protocol::Configurations bad{
      {"p", {{"x", protocol::PropertyType::kString, false, false, {std::string("\x01")}}}}};
  const auto message = Speaker{}.dialect.step_message("GW1", kNonce, kRid, ConfigurationContent{bad}, kNow);
  REQUIRE(!message.has_value());
  CHECK(message.error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("An altered message does not verify") {
  const Speaker speaker;
  const auto message =
      speaker.dialect.step_message("GW1", kNonce, kRid, SigningCertificatesContent{"PEM"}, kNow).value();
  auto payload = protocol::decode(message.payload).value();
  const auto parts = protocol::signature_of(payload).value();
  const auto verifies = [&](std::string_view topic) {
    return speaker.key.public_key()
        .verify(parts.algorithm, protocol::signing_input(topic, payload), parts.signature)
        .has_value();
  };
  CHECK(verifies(message.topic));
  CHECK(!verifies("$EDC/provision/GW2/CERT-V1/PUT/certificates"));
  payload.body->push_back('!');
  CHECK(!verifies(message.topic));
}

TEST_CASE("A device that sent no nonce gets none") {
  const Speaker speaker;
  const auto step = speaker.dialect.step_message("GW1", "", kRid, SigningCertificatesContent{"PEM"}, kNow).value();
  CHECK(speaker.accept(step).find("prov.nonce") == nullptr);
  const auto answer = speaker.dialect.answer_message("GW1", "", "h1", {.answer = Answer::kAccepted}, kNow).value();
  CHECK(speaker.accept(answer).find("prov.nonce") == nullptr);
}

TEST_CASE("Answers have the codes of the protocol and lie in the device's own tree") {
  const Speaker speaker;
  const std::vector<std::pair<Answer, int>> codes{
      {Answer::kRecorded, 200},  {Answer::kAccepted, 202},
      {Answer::kMalformed, 400}, {Answer::kWrongCredentials, 401},
      {Answer::kForbidden, 403}, {Answer::kAlreadyProvisioned, 409},
      {Answer::kGone, 410},      {Answer::kTooMany, 429},
      {Answer::kNotNow, 503},
  };
  for (const auto& [answer, code] : codes) {
    CAPTURE(to_string(answer));
    const bool later = answer == Answer::kTooMany || answer == Answer::kNotNow;
    AnswerDetails details{.answer = answer, .message = code < 300 ? "" : "why not"};
    if (later) details.retry_after = Seconds(60);
    const auto message = speaker.dialect.answer_message("GW1", kNonce, "h-1", details, kNow);
    REQUIRE(message.has_value());
    CHECK(message->topic == "$EDC/provision/GW1/PROV-V1/REPLY/h-1");
    const auto payload = speaker.accept(*message);
    REQUIRE(payload.blob("prov.nonce") != nullptr);
    CHECK(*payload.blob("prov.nonce") == kNonce);
    const auto reply = protocol::parse_reply(payload).value();
    CHECK(reply.code == code);
    CHECK(reply.error == details.message);
    CHECK(reply.retry_after_s == (later ? std::optional<std::int32_t>(60) : std::nullopt));
  }
}

TEST_CASE("Every kind of signing key makes messages that verify") {
  for (const auto type :
       {crypto::KeyType::kP256, crypto::KeyType::kP384, crypto::KeyType::kEd25519, crypto::KeyType::kRsa2048}) {
    const auto key = crypto::PrivateKey::generate(type).value();
    const Speaker speaker{key, EdcDialect("provision", "provisioner", key)};
    const auto message = speaker.dialect.answer_message("GW1", kNonce, "h1", {.answer = Answer::kRecorded}, kNow);
    REQUIRE(message.has_value());
    speaker.accept(*message);
  }
}
