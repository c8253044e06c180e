#include "core/protocol/message.hpp"

#include <doctest/doctest.h>

#include "core/protocol/signature.hpp"
#include "tests/unit/core/protocol/samples.hpp"

using namespace fleet;
using namespace fleet::protocol;

namespace {

Prov full_prov() {
  Prov prov;
  prov.username = "02FC00000001-SN0001";
  prov.password = Secret("p4ss");
  prov.activation_key = Secret("KKKK");
  prov.request_id = "a1";
  prov.nonce = Bytes(16, '\x07');
  prov.csr = Bytes("\x30\x00", 2);
  prov.reason = "first-boot";
  prov.facts = {{"serial_number", "SN0001"}, {"display_name", "Zürich ☃"}};
  return prov;
}

KuraPayload payload_of(const Prov& prov) {
  return to_payload(prov, "dev", 5);
}

// The payload of full_prov() with one metric set, added or (nullopt) removed.
KuraPayload changed(std::string_view name, std::optional<MetricValue> value) {
  return test::changed(payload_of(full_prov()), name, std::move(value));
}

template <typename T>
void check_malformed(const Result<T>& result, std::string_view why) {
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kMalformed);
  CAPTURE(result.error().message);
  CHECK(result.error().message.find(why) != std::string::npos);
  CHECK(result.error().message.find("p4ss") == std::string::npos);
  CHECK(result.error().message.find("KKKK") == std::string::npos);
}

KuraPayload with_body(std::string body) {
  KuraPayload payload;
  payload.body = std::move(body);
  return payload;
}

}  // namespace

TEST_CASE("a PROV comes back as it was sent") {
  const auto prov = parse_prov(payload_of(full_prov()), "dev");
  REQUIRE(prov);
  const Prov sent = full_prov();
  CHECK(prov->username == sent.username);
  CHECK(prov->password.reveal() == "p4ss");
  REQUIRE(prov->activation_key);
  CHECK(prov->activation_key->reveal() == "KKKK");
  CHECK(prov->request_id == sent.request_id);
  CHECK(prov->nonce == sent.nonce);
  CHECK(prov->csr == sent.csr);
  CHECK(prov->reason == sent.reason);
  CHECK(prov->facts == sent.facts);
  CHECK(payload_of(sent).timestamp == 5);
  const KuraPayload payload = payload_of(sent);
  const auto requester = payload.string("requester.client.id");
  REQUIRE(requester);
  CHECK(*requester == "dev");
  const auto version = payload.string("provisioningCertificateVersion");
  REQUIRE(version);
  CHECK(*version == "PROV-V1");
}

TEST_CASE("a PROV needs no more than username and password") {
  KuraPayload payload;
  payload.add("username", std::string("u"));
  payload.add("password", std::string("p4ss"));
  const auto prov = parse_prov(payload, "dev");
  REQUIRE(prov);
  CHECK_FALSE(prov->activation_key);
  CHECK_FALSE(prov->request_id);
  CHECK_FALSE(prov->nonce);
  CHECK_FALSE(prov->csr);
  CHECK_FALSE(prov->reason);
  CHECK(prov->facts.empty());
  Prov minimal;
  minimal.username = "u";
  CHECK(payload_of(minimal).find("request.id") == nullptr);
  CHECK(payload_of(minimal).find("requester.client.id") == nullptr);
}

TEST_CASE("a PROV that breaks a rule is malformed, and the error names the metric and no secret") {
  const auto refused = [](std::string_view name, std::optional<MetricValue> value) {
    CAPTURE(name);
    check_malformed(parse_prov(changed(name, std::move(value)), "dev"), name);
  };
  refused("username", std::nullopt);
  refused("password", std::nullopt);
  for (const char* name : {"username", "password", "activationKey", "provisioningCertificateVersion", "request.id",
                           "requester.client.id", "prov.reason"}) {
    refused(name, Blob{"p4ss"});
    refused(name, std::int32_t{1});
  }
  for (const char* name : {"prov.nonce", "prov.csr"}) refused(name, std::string(20, 'x'));
  refused("provisioningCertificateVersion", std::string("PROV-V2"));
  refused("request.id", std::string());
  refused("request.id", std::string("a/b"));
  refused("request.id", std::string(65, 'a'));
  refused("requester.client.id", std::nullopt);
  refused("requester.client.id", std::string("another"));
  refused("prov.nonce", Blob{Bytes(15, 'n')});
  refused("prov.nonce", Blob{Bytes(33, 'n')});
  refused("prov.csr", Blob{});
  refused("prov.csr", Blob{Bytes(8 * 1024 + 1, 'c')});
  refused("prov.reason", std::string("boredom"));
  CHECK(parse_prov(changed("prov.nonce", Blob{Bytes(32, 'n')}), "dev"));
  CHECK(parse_prov(changed("prov.csr", Blob{Bytes(8 * 1024, 'c')}), "dev"));
  for (const char* reason : {"first-boot", "retry", "owner-unreachable", "reprovision"}) {
    CHECK(parse_prov(changed("prov.reason", std::string(reason)), "dev"));
  }
}

TEST_CASE("facts are the other STRING metrics, and too many or too long ones are left out") {
  KuraPayload payload = payload_of(full_prov());
  payload.add("uptime", std::int64_t{5});
  payload.add(std::string(kSignatureMetric), Blob{"s"});
  payload.add(std::string(kAlgorithmMetric), std::string("ES256"));
  payload.add("longest", std::string(256, 'x'));
  payload.add("too long", std::string(257, 'x'));
  payload.add(std::string(257, 'n'), std::string("x"));
  auto prov = parse_prov(payload, "dev");
  REQUIRE(prov);
  CHECK(prov->facts.size() == 3);
  CHECK(prov->facts.count("longest") == 1);

  for (int i = 0; i < 100; ++i) payload.add("fact " + std::to_string(i), std::string("x"));
  prov = parse_prov(payload, "dev");
  REQUIRE(prov);
  CHECK(prov->facts.size() == 64);
  CHECK(prov->facts.count("fact 60") == 1);
  CHECK(prov->facts.count("fact 61") == 0);
}

TEST_CASE("a fact cannot take the place of a metric of PROV") {
  Prov prov = full_prov();
  prov.facts["password"] = "other";
  const KuraPayload payload = payload_of(prov);
  CHECK(decode(encode(payload)));
  CHECK(*payload.string("password") == "p4ss");
}

TEST_CASE("a malformed PROV is answered only at a well-formed request id") {
  const auto id_of = [](const KuraPayload& payload) { return return_of_malformed(encode(payload)).request_id; };
  CHECK(id_of(changed("username", std::nullopt)) == "a1");
  CHECK_FALSE(id_of(changed("request.id", std::nullopt)));
  CHECK_FALSE(id_of(changed("request.id", std::string("a/b"))));
  CHECK_FALSE(id_of(changed("request.id", std::int32_t{1})));
}

TEST_CASE("what the answer to a malformed PROV needs is found in bytes that are no payload") {
  KuraPayload payload = payload_of(full_prov());
  const Bytes nonce = *payload.blob("prov.nonce");
  payload.add("username", std::string("twice"));
  const auto found = [&](const Bytes& bytes) {
    const ProvReturn back = return_of_malformed(bytes);
    return back.request_id == "a1" && back.nonce == nonce;
  };
  REQUIRE_FALSE(decode(encode(payload)));
  CHECK(found(encode(payload)));
  CHECK(found(encode_gzip(payload)));
  CHECK(found(encode(payload) + "\xff\xff\xff"));
  payload.body = Bytes(2 * kMaxProvSize, 'x');
  CHECK(found(encode(payload)));

  CHECK(return_of_malformed(R"({"sentOn":1,"metrics":{"request.id":"a1","username":"u"}})").request_id == "a1");
  CHECK_FALSE(return_of_malformed(R"({"metrics":{"request.id":"a/b"}})").request_id);
  CHECK_FALSE(return_of_malformed(R"({"metrics":{"request.id":7}})").request_id);
  CHECK_FALSE(return_of_malformed(R"({"metrics":[)").request_id);
  KuraPayload short_nonce = changed("prov.nonce", Blob{Bytes(15, 'n')});
  CHECK_FALSE(return_of_malformed(encode(short_nonce)).nonce);
  for (const Bytes& junk : {Bytes(), Bytes("{"), Bytes("\x1f\x8b"), Bytes(1000, '\xff'), Bytes(100000, '[')}) {
    CHECK_FALSE(return_of_malformed(junk).request_id);
  }
}

TEST_CASE("a signing request is found in both forms of the reply's body") {
  CHECK(parse_signing_request(R"({"signingRequest":"PEM"})") == "PEM");
  CHECK(parse_signing_request(R"("PEM")") == "PEM");
  for (const char* const bad : {"", "PEM", "{}", "[]", R"({"signingRequest":7})", R"({"signingRequest":"")"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_signing_request(bad));
  }
}

TEST_CASE("replies come back as they were sent") {
  const KuraPayload refusal = to_payload(Reply{429, "slowly", 30, std::nullopt}, 9);
  CHECK(refusal.timestamp == 9);
  CHECK(refusal.int32("response.code") == 429);
  CHECK(*refusal.string("response.exception.message") == "slowly");
  CHECK(refusal.int32("retry.after") == 30);
  const auto reply = parse_reply(refusal);
  REQUIRE(reply);
  CHECK(reply->code == 429);
  CHECK(reply->error == "slowly");
  CHECK(reply->retry_after_s == 30);
  CHECK_FALSE(reply->body);

  const auto fine = parse_reply(to_payload(Reply{200, "", std::nullopt, Bytes("{}")}, 9));
  REQUIRE(fine);
  CHECK(fine->error.empty());
  CHECK_FALSE(fine->retry_after_s);
  CHECK(fine->body == "{}");
  CHECK(to_payload(Reply{200, "", std::nullopt, std::nullopt}, 9).metrics.size() == 1);
}

TEST_CASE("a reply without an INT32 response code is malformed") {
  KuraPayload payload;
  check_malformed(parse_reply(payload), "response.code");
  payload.add("response.code", std::int64_t{200});
  check_malformed(parse_reply(payload), "response.code");
}

TEST_CASE("the head of a request is added and read back") {
  for (const auto& nonce : {std::optional<Bytes>(), std::optional<Bytes>(Bytes(16, 'n'))}) {
    KuraPayload payload;
    add_head(payload, {"9f86", "provisioner-1", nonce});
    const auto head = parse_head(payload);
    REQUIRE(head);
    CHECK(head->request_id == "9f86");
    CHECK(head->requester_client_id == "provisioner-1");
    CHECK(head->nonce == nonce);
  }
}

TEST_CASE("a request with an incomplete or ill-formed head is malformed") {
  const auto head = [](std::optional<MetricValue> id, std::optional<MetricValue> requester,
                       std::optional<MetricValue> nonce = std::nullopt) {
    KuraPayload payload;
    if (id) payload.add("request.id", *id);
    if (requester) payload.add("requester.client.id", *requester);
    if (nonce) payload.add("prov.nonce", *nonce);
    return parse_head(payload);
  };
  const std::string fine = "a";
  CHECK(head(fine, fine));
  check_malformed(head(std::nullopt, fine), "request.id");
  check_malformed(head(std::int32_t{1}, fine), "request.id");
  check_malformed(head(std::string("a/b"), fine), "request.id");
  check_malformed(head(fine, std::nullopt), "requester.client.id");
  check_malformed(head(fine, Blob{"a"}), "requester.client.id");
  check_malformed(head(fine, std::string("a/#")), "requester.client.id");
  check_malformed(head(fine, fine, std::string(16, 'n')), "prov.nonce");
  check_malformed(head(fine, fine, Blob{"short"}), "prov.nonce");
}

TEST_CASE("signing certificates come back as they were sent, and only for signing commands") {
  const std::string pem = "-----BEGIN CERTIFICATE-----\n";
  KuraPayload payload = to_payload(SigningCertificates{pem});
  CHECK(*payload.string("certificate.usage") == "COMMAND_SIGNING");
  CHECK(parse_signing_certificates(payload).value().chain_pem == pem);
  KuraPayload other = payload;
  other.metrics[0].value = std::string("TLS");
  check_malformed(parse_signing_certificates(other), "certificate.usage");
  other.metrics.clear();
  check_malformed(parse_signing_certificates(other), "certificate.usage");
  payload.body = "";
  check_malformed(parse_signing_certificates(payload), "body");
  payload.body.reset();
  check_malformed(parse_signing_certificates(payload), "body");
}

TEST_CASE("device and CA certificates come back as they were sent") {
  const std::string leaf = "-----BEGIN CERTIFICATE-----\n\"leaf\"\\\n", issuer = "issuer";
  const auto device =
      parse_device_certificate(to_payload(DeviceCertificate{std::string(kKeystorePid), "ssl-owner", {leaf, issuer}}));
  REQUIRE(device);
  CHECK(device->keystore_pid == kKeystorePid);
  CHECK(device->alias == "ssl-owner");
  CHECK(device->chain_pem == std::vector<std::string>{leaf, issuer});

  CHECK(owner_ca_alias(1) == "ssl-owner-ca-1");
  const auto trusted =
      parse_trusted_certificate(to_payload(TrustedCertificate{std::string(kKeystorePid), owner_ca_alias(2), leaf}));
  REQUIRE(trusted);
  CHECK(trusted->keystore_pid == kKeystorePid);
  CHECK(trusted->alias == "ssl-owner-ca-2");
  CHECK(trusted->certificate_pem == leaf);
}

TEST_CASE("KEYS bodies from other writers are read") {
  const auto device =
      parse_device_certificate(with_body(" {\"alias\" : \"ssl-owner\", \"extra\": [1, {}], \"privateKey\": null,\n"
                                         "\"keystoreServicePid\":\"pid\",\"certificateChain\":[\"a\\u000ab\"]} "));
  REQUIRE(device);
  CHECK(device->chain_pem == std::vector<std::string>{"a\nb"});
}

TEST_CASE("KEYS bodies that do not have their form are malformed") {
  check_malformed(parse_device_certificate(KuraPayload{}), "body");
  check_malformed(parse_trusted_certificate(KuraPayload{}), "body");
  for (const std::string bad : {"", "{", "null", "[]", "\"x\"", "{} x", "{\"alias\":\"\xff\"}", "{alias:1}", "NaN"}) {
    CAPTURE(bad);
    check_malformed(parse_device_certificate(with_body(bad)), "body");
    check_malformed(parse_trusted_certificate(with_body(bad)), "body");
  }
  check_malformed(parse_device_certificate(with_body(std::string(100'000, '['))), "JSON");
  const auto device = [](std::string_view rest) {
    return parse_device_certificate(with_body(fmt::format("{{\"keystoreServicePid\":\"p\",{}}}", rest)));
  };
  CHECK(device(R"("alias":"a","certificateChain":["x"])"));
  check_malformed(device(R"("certificateChain":["x"])"), "alias");
  check_malformed(device(R"("alias":1,"certificateChain":["x"])"), "alias");
  check_malformed(device(R"("alias":"../../etc/passwd","certificateChain":["x"])"), "alias");
  check_malformed(device(R"("alias":"a")"), "certificateChain");
  check_malformed(device(R"("alias":"a","certificateChain":"x")"), "certificateChain");
  check_malformed(device(R"("alias":"a","certificateChain":[])"), "certificateChain");
  check_malformed(device(R"("alias":"a","certificateChain":["x",1])"), "certificateChain");
  check_malformed(device(R"("alias":"a","certificateChain":[""])"), "certificateChain");
  check_malformed(device(R"("alias":"a","certificateChain":["x"],"privateKey":"k")"), "privateKey");
  check_malformed(parse_trusted_certificate(with_body(R"({"keystoreServicePid":"p","alias":"a"})")), "certificate");
  check_malformed(parse_trusted_certificate(with_body(R"({"alias":"a","certificate":"x"})")), "keystoreServicePid");
}
