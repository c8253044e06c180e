// Messages that must change nothing, and platforms that must not be believed.
#include <doctest/doctest.h>

#include "core/protocol/signature.hpp"
#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

// The device drops `message`, says so, and is as it was.
void check_dropped(World& world, const Message& message, std::string_view report) {
  const std::string before = to_json(world.state());
  const std::size_t published = world.published.size(), saves = static_cast<std::size_t>(world.saves);
  world.effects.clear();
  world.deliver(message);
  CHECK(to_json(world.state()) == before);
  CHECK(world.published.size() == published);
  CHECK(static_cast<std::size_t>(world.saves) == saves);
  CHECK_MESSAGE(world.reported(report), "no report with: " << report);
}

Draft good_key_draft() {
  return key_draft(pki().device_certificate(kClientId, pki().device_key.public_key()));
}

TEST_CASE("requests that do not verify are dropped, reported and change nothing") {
  World world;
  world.accept_certificate();
  const Bytes nonce = world.attempt().nonce;
  const Draft draft = good_key_draft();
  const std::string topic = request_topic(draft);

  SUBCASE("unsigned") {
    auto payload = draft.payload;
    protocol::add_head(payload, {"r1", std::string(kProvisioner), nonce});
    check_dropped(world, {topic, protocol::encode(payload)}, "dropped");
  }
  SUBCASE("stripped of its signature") {
    auto payload = *protocol::decode(request(draft, "r1", nonce).payload);
    std::erase_if(payload.metrics, [](const auto& metric) { return metric.name == protocol::kSignatureMetric; });
    check_dropped(world, {topic, protocol::encode(payload)}, "dropped");
  }
  SUBCASE("altered in its body") {
    auto payload = *protocol::decode(request(draft, "r1", nonce).payload);
    payload.body->back() = ' ';
    check_dropped(world, {topic, protocol::encode(payload)}, "dropped");
  }
  SUBCASE("altered in its request id") {
    auto payload = *protocol::decode(request(draft, "r1", nonce).payload);
    for (auto& metric : payload.metrics) {
      if (metric.name == "request.id") metric.value = std::string("r2");
    }
    check_dropped(world, {topic, protocol::encode(payload)}, "dropped");
  }
  SUBCASE("replayed from another attempt") {
    check_dropped(world, request(draft, "r1", random_bytes(16)), "prov.nonce is not the one of this attempt");
  }
  SUBCASE("without a nonce") {
    auto payload = draft.payload;
    protocol::add_head(payload, {"r1", std::string(kProvisioner), std::nullopt});
    check_dropped(world, {topic, protocol::encode(sign(payload, topic, pki().signer.key))}, "no prov.nonce");
  }
  SUBCASE("moved to another topic") {
    auto message = request(draft, "r1", nonce);
    message.topic = "$EDC/provision/02FC00000001/KEYS-V1/POST/keystores/entries/csr";
    check_dropped(world, message, "dropped");
  }
  SUBCASE("on another device's topic") {
    const std::string other = "$EDC/provision/02FC00000002/KEYS-V1/POST/keystores/entries/csr";
    auto payload = draft.payload;
    protocol::add_head(payload, {"r1", std::string(kProvisioner), nonce});
    check_dropped(world, {other, protocol::encode(sign(payload, other, pki().signer.key))}, "another device");
  }
  SUBCASE("signed by a device's key") {
    check_dropped(world, request(draft, "r1", nonce, {pki().device_key, {}}), "dropped");
  }
  SUBCASE("signed by another leaf of the same platform") {
    check_dropped(world, request(draft, "r1", nonce, pki().make_signer(pki().platform_ca)), "dropped");
  }
  SUBCASE("malformed") {
    check_dropped(world, {topic, "\x08\x80"}, "dropped");
  }
  SUBCASE("empty topic levels") {
    check_dropped(world, {"$EDC//x", ""}, "dropped");
  }
  SUBCASE("without request.id") {
    auto payload = draft.payload;
    check_dropped(world, {topic, protocol::encode(sign(payload, topic, pki().signer.key))}, "dropped");
  }
  SUBCASE("larger than a message may be") {
    check_dropped(world, {topic, Bytes(2 * 1024 * 1024, 'x')}, "dropped");
  }
  SUBCASE("a gzip bomb") {
    protocol::KuraPayload bomb;
    bomb.body = Bytes(8 * 1024 * 1024, '\0');
    const Bytes packed = protocol::encode_gzip(bomb);
    REQUIRE(packed.size() < 64 * 1024);
    check_dropped(world, {topic, packed}, "dropped");
  }
  SUBCASE("a spoofed 200 to our PROV") {
    protocol::KuraPayload payload = protocol::to_payload(protocol::Reply{200, {}, {}, {}}, 1);
    payload.add("prov.nonce", protocol::Blob{nonce});
    check_dropped(
        world, {"$EDC/provision/02FC00000001/PROV-V1/REPLY/" + world.attempt().request_id, protocol::encode(payload)},
        "dropped");
  }
  SUBCASE("a refusal of our PROV, replayed from another attempt") {
    check_dropped(world,
                  prov_answer({.code = 410, .error = {}, .retry_after_s = {}, .body = {}}, world.attempt().request_id,
                              random_bytes(16)),
                  "prov.nonce is not the one");
  }
  SUBCASE("an answer to another PROV") {
    check_dropped(world, prov_answer({.code = 410, .error = {}, .retry_after_s = {}, .body = {}}, "other", nonce),
                  "not asked");
  }
  // The genuine message still counts afterwards.
  world.deliver(request(draft, "r1", nonce));
  CHECK(world.code_of("r1") == 200);
}

TEST_CASE("app ids MQTT and BA in our own tree are ignored without a word") {
  World world;
  world.accept_certificate();
  world.effects.clear();
  world.deliver({"$EDC/provision/02FC00000001/MQTT/BIRTH", "anything"});
  world.deliver({"$EDC/provision/02FC00000001/BA/GET/anything", "anything"});
  CHECK(world.count<Report>() == 0);
  CHECK(world.count<PublishProvision>() == 0);
}

TEST_CASE("nothing but CERT-V1 is handled before an accepted CERT-V1") {
  World world;
  world.say_hello();
  const Bytes nonce = world.attempt().nonce;
  check_dropped(world, request(good_key_draft(), "r1", nonce), "before an accepted CERT-V1");
  check_dropped(world, request(conf_draft(owner_xml(true)), "r2", nonce), "before an accepted CERT-V1");
  CHECK(world.installs.empty());
}

TEST_CASE("a CERT-V1 that is not signed by the leaf that it carries is dropped") {
  World world;
  world.say_hello();
  check_dropped(world,
                request(cert_draft(pki().signer), "r1", world.attempt().nonce, pki().make_signer(pki().platform_ca)),
                "dropped");
}

// The device answers 400, gives the attempt up and applies nothing.
void check_refused_platform(const Signer& signer, std::string_view report) {
  World world;
  world.config.retry_max_attempts = 1;
  world.say_hello();
  world.deliver(request(cert_draft(signer), "cert", world.attempt().nonce, signer));
  CHECK(world.code_of("cert") == 400);
  // Whoever cannot prove to be the platform cannot make a device give up for good either.
  CHECK(world.state().phase == Phase::kWaiting);
  CHECK(world.state().attempts_failed == 1);
  CHECK_FALSE(world.state().attempt);
  CHECK_FALSE(world.state().last_time);
  CHECK_MESSAGE(world.reported(report), "no report with: " << report);
  CHECK(world.installs.empty());
}

TEST_CASE("platforms that must not be believed get 400 and the attempt ends") {
  SUBCASE("a chain that ends in another root") {
    const auto root = make_root("Somebody's Root");
    check_refused_platform(pki().make_signer(make_ca("Somebody's CA", crypto::CertificateProfile::kPlatformCa, root)),
                           "not trusted");
  }
  SUBCASE("a device certificate as signing leaf") {
    check_refused_platform(pki().make_signer(pki().device_ca, crypto::CertificateProfile::kDevice), "not trusted");
  }
  SUBCASE("a signing leaf from the CA that issues device certificates") {
    check_refused_platform(pki().make_signer(pki().device_ca), "not trusted");
  }
  SUBCASE("a CA as signing leaf") {
    check_refused_platform({pki().platform_ca.key, {pki().platform_ca.certificate}}, "not trusted");
  }
  SUBCASE("an expired leaf") {
    check_refused_platform(pki().make_signer(pki().platform_ca, crypto::CertificateProfile::kCommandSigning, kLastYear,
                                             kToday - std::chrono::days(1)),
                           "expired");
  }
  SUBCASE("an expired leaf that a broken chain hides behind") {
    Signer signer = pki().make_signer(pki().platform_ca);
    signer.chain.pop_back();  // the intermediate is missing
    check_refused_platform(signer, "not trusted");
  }
}

TEST_CASE("a chain that the roots do not vouch for is told with the setting that names them, to the platform as well") {
  World world;
  world.say_hello();
  const Signer other = pki().make_signer(
      make_ca("Somebody's CA", crypto::CertificateProfile::kPlatformCa, make_root("Somebody's Root")));
  world.deliver(request(cert_draft(other), "cert", world.attempt().nonce, other));
  CHECK(world.reported("platform-root-file"));
  CHECK(world.state().last_failure->what.find("platform-root-file") != std::string::npos);
  CHECK(world.reply_to("cert").find("platform-root-file") != Bytes::npos);
}

TEST_CASE("a chain for another purpose is not blamed on the roots") {
  World world;
  world.say_hello();
  const Signer device = pki().make_signer(pki().device_ca, crypto::CertificateProfile::kDevice);
  world.deliver(request(cert_draft(device), "cert", world.attempt().nonce, device));
  CHECK(world.state().last_failure->what.find("not trusted") != std::string::npos);
  CHECK(world.state().last_failure->what.find("platform-root-file") == std::string::npos);
}

TEST_CASE("a clock set back does not bring an expired leaf to life again") {
  World world;
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned));
  SessionState state = world.state();
  state.provisioned = false;
  state.enabled = true;
  state.phase = Phase::kWaiting;
  World again(default_config(), state);
  again.now.wall = kLastYear;
  again.platform.silent = true;
  again.start();
  again.settle();
  const Signer old = pki().make_signer(pki().platform_ca, crypto::CertificateProfile::kCommandSigning, kLastYear,
                                       kToday - std::chrono::hours(1));
  again.deliver(request(cert_draft(old), "cert", again.attempt().nonce, old));
  CHECK(again.code_of("cert") == 400);
}

TEST_CASE("an accepted leaf that expires in the middle of the attempt is not obeyed any more") {
  World world;
  world.say_hello();
  const Signer brief = pki().make_signer(pki().platform_ca, crypto::CertificateProfile::kCommandSigning, kLastYear,
                                         kToday + Seconds(30));
  world.deliver(request(cert_draft(brief), "cert", world.attempt().nonce, brief));
  REQUIRE(world.code_of("cert") == 200);
  world.pass(Millis(60'000));
  check_dropped(world, request(good_key_draft(), "r1", world.attempt().nonce, brief), "expired");
}

TEST_CASE("another trusted leaf within the attempt is refused, an untrusted one is dropped") {
  World world;
  world.accept_certificate();
  const Bytes nonce = world.attempt().nonce;
  SUBCASE("untrusted") {
    const auto root = make_root("Somebody's Root");
    const Signer other = pki().make_signer(make_ca("Somebody's CA", crypto::CertificateProfile::kPlatformCa, root));
    check_dropped(world, request(cert_draft(other), "cert2", nonce, other), "dropped");
  }
  SUBCASE("trusted, signed by itself") {
    const Signer other = pki().make_signer(pki().platform_ca);
    world.deliver(request(cert_draft(other), "cert2", nonce, other));
    CHECK(world.code_of("cert2") == 400);
    CHECK(world.attempt().refused);
  }
  SUBCASE("trusted, signed by the accepted one") {
    world.deliver(request(cert_draft(pki().make_signer(pki().platform_ca)), "cert2", nonce));
    CHECK(world.code_of("cert2") == 400);
    CHECK(world.attempt().refused);
  }
  SUBCASE("the same leaf again") {
    world.deliver(request(cert_draft(pki().signer), "cert2", nonce));
    CHECK(world.code_of("cert2") == 200);
    CHECK_FALSE(world.attempt().refused);
  }
}

TEST_CASE("without ca-authentication the issuer is pinned at the first success and required from then on") {
  SessionConfig config = default_config();
  config.ca_authentication = false;
  config.platform_roots.clear();
  World world(config);
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.state().pinned_issuer == pki().platform_ca.certificate.public_key().spki_sha256());
  CHECK_FALSE(world.state().last_time);  // nobody vouches for it

  SessionState state = world.state();
  state.provisioned = false;
  state.enabled = true;
  state.phase = Phase::kWaiting;
  SUBCASE("another issuer") {
    World again(config, state);
    again.platform.silent = true;
    again.start();
    again.settle();
    const Signer other = pki().make_signer(
        make_ca("Somebody's CA", crypto::CertificateProfile::kPlatformCa, make_root("Somebody's Root")));
    again.deliver(request(cert_draft(other), "cert", again.attempt().nonce, other));
    CHECK(again.code_of("cert") == 400);
    CHECK(again.state().phase == Phase::kWaiting);
  }
  SUBCASE("another leaf of the same issuer") {
    World again(config, state);
    again.platform.silent = true;
    again.start();
    again.settle();
    const Signer other = pki().make_signer(pki().platform_ca);
    again.deliver(request(cert_draft(other), "cert", again.attempt().nonce, other));
    CHECK(again.code_of("cert") == 200);
  }
}

TEST_CASE("without ca-authentication a leaf for another purpose or an expired one is still refused") {
  SessionConfig config = default_config();
  config.ca_authentication = false;
  const auto refused = [&](const Signer& signer) {
    World world(config);
    world.say_hello();
    world.deliver(request(cert_draft(signer), "cert", world.attempt().nonce, signer));
    return world.code_of("cert") == 400 && !world.state().pinned_issuer;
  };
  CHECK(refused(pki().make_signer(pki().device_ca, crypto::CertificateProfile::kDevice)));
  CHECK(refused(pki().make_signer(pki().device_ca)));
  CHECK(refused(pki().make_signer(pki().platform_ca, crypto::CertificateProfile::kCommandSigning, kLastYear,
                                  kToday - std::chrono::days(1))));
}

}  // namespace
}  // namespace fleet::agent::test
