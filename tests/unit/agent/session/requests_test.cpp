// What each request does, and what is refused.
#include <doctest/doctest.h>

#include "tests/unit/agent/session/world.hpp"

namespace fleet::agent::test {
namespace {

std::string error_of(const World& world, const std::string& rid) {
  const auto payload = protocol::decode(world.reply_to(rid));
  REQUIRE(payload);
  return protocol::parse_reply(*payload)->error;
}

Draft good_key_draft() {
  return key_draft(pki().device_certificate(kClientId, pki().device_key.public_key()));
}

TEST_CASE("KEYS-V2 takes only an unexpired certificate for this device's key and name, under its alias") {
  World world;
  world.accept_certificate();
  const Bytes nonce = world.attempt().nonce;
  const auto check = [&](const Draft& draft, std::int32_t code, std::string_view why) {
    world.deliver(request(draft, "r", nonce));
    REQUIRE(world.code_of("r") == code);
    if (code != 200) CHECK_MESSAGE(error_of(world, "r").find(why) != std::string::npos, error_of(world, "r"));
    CHECK(world.attempt().staged.device_chain_pem.empty() == (code != 200));
  };
  SUBCASE("good") {
    check(good_key_draft(), 200, "");
  }
  SUBCASE("another alias") {
    check(key_draft(pki().device_certificate(kClientId, pki().device_key.public_key()), "root"), 400, "alias");
  }
  SUBCASE("another key") {
    check(key_draft(pki().device_certificate(kClientId, pki().signer.key.public_key())), 400,
          "not for this device's key");
  }
  SUBCASE("another name") {
    check(key_draft(pki().device_certificate("other", pki().device_key.public_key())), 400, "this device is");
  }
  SUBCASE("expired") {
    check(key_draft(pki().device_certificate(kClientId, pki().device_key.public_key(), kToday - Seconds(1))), 400,
          "expired");
  }
  SUBCASE("a chain with a broken certificate") {
    Draft draft = good_key_draft();
    draft.payload = protocol::to_payload(protocol::DeviceCertificate{
        std::string(protocol::kKeystorePid), "ssl-owner", {"-----BEGIN CERTIFICATE-----\nAAAA\n"}});
    check(draft, 400, "certificateChain[0]");
  }
  SUBCASE("another keystore") {
    Draft draft = good_key_draft();
    draft.payload = protocol::to_payload(
        protocol::DeviceCertificate{"some.other.Keystore",
                                    "ssl-owner",
                                    {pki().device_certificate(kClientId, pki().device_key.public_key()).to_pem()}});
    check(draft, 400, "keystore");
  }
}

TEST_CASE("KEYS-V1 takes CAs of the owner's broker under their aliases only") {
  World world;
  world.accept_certificate();
  const Bytes nonce = world.attempt().nonce;
  SUBCASE("good") {
    for (std::size_t i = 1; i <= 20; ++i) {
      const std::string rid = "r" + std::to_string(i);
      world.deliver(request(owner_ca_draft(pki().root.certificate, protocol::owner_ca_alias(i)), rid, nonce));
      CHECK(world.code_of(rid) == 200);
    }
    CHECK(world.attempt().staged.trusted_pem.size() == 20);
    world.deliver(request(owner_ca_draft(pki().root.certificate, protocol::owner_ca_alias(21)), "r21", nonce));
    CHECK(world.code_of("r21") == 400);
    CHECK(world.attempt().staged.trusted_pem.size() == 20);
  }
  SUBCASE("not a CA") {
    world.deliver(request(owner_ca_draft(pki().signer.chain[0]), "r", nonce));
    CHECK(world.code_of("r") == 400);
    CHECK(world.attempt().staged.trusted_pem.empty());
  }
  SUBCASE("aliases that look alike") {
    for (const std::string alias :
         {"ssl-owner", "ssl-owner-ca-0", "ssl-owner-ca-01", "ssl-owner-ca-1 ", "ssl-owner-ca-"}) {
      World one;
      one.accept_certificate();
      one.deliver(request(owner_ca_draft(pki().root.certificate, alias), "r", one.attempt().nonce));
      CHECK(one.code_of("r") == 400);
    }
  }
}

TEST_CASE("KEYS-V1 csr answers with the CSR of the device's key") {
  World world;
  world.accept_certificate();
  world.deliver(request({"KEYS-V1", "POST", "keystores/entries/csr", {}}, "r", world.attempt().nonce));
  REQUIRE(world.code_of("r") == 200);
  const auto reply = protocol::parse_reply(*protocol::decode(world.reply_to("r")));
  REQUIRE(reply->body);
  std::string pem = *reply->body;
  CHECK(pem.starts_with("{\"signingRequest\":\"-----BEGIN CERTIFICATE REQUEST-----"));
  pem = pem.substr(pem.find("-----BEGIN"));
  pem.resize(pem.rfind("\"}"));
  for (std::size_t at = pem.find("\\n"); at != std::string::npos; at = pem.find("\\n")) pem.replace(at, 2, "\n");
  const auto csr = crypto::Csr::from_pem(pem);
  REQUIRE(csr);
  CHECK(csr->public_key().spki_sha256() == pki().device_key.public_key().spki_sha256());
}

TEST_CASE("unknown resources get 404") {
  World world;
  world.accept_certificate();
  SUBCASE("of the configuration") {
    world.deliver(request({"CONF-V1", "GET", "configurations", {}}, "r", world.attempt().nonce));
  }
  SUBCASE("of packages") {
    world.deliver(request({"DEPLOY-V2", "EXEC", "uninstall", {}}, "r", world.attempt().nonce));
  }
  CHECK(world.code_of("r") == 404);
}

TEST_CASE("a repeated request gets the same reply word for word, also after a refusal and a restart") {
  World world;
  world.accept_certificate();
  const Bytes nonce = world.attempt().nonce;
  const Message good = request(good_key_draft(), "good", nonce);
  const Message bad = request(owner_ca_draft(pki().signer.chain[0]), "bad", nonce);
  const auto check_repeated = [&](const Message& message, const std::string& rid) {
    const std::size_t published = world.published.size();
    world.now.wall += Seconds(1);
    world.deliver(message);
    REQUIRE(world.published.size() == published + 1);
    CHECK(world.published.back().payload == world.reply_to(rid));
  };
  world.deliver(good);
  check_repeated(good, "good");
  world.deliver(bad);
  REQUIRE(world.code_of("bad") == 400);
  check_repeated(bad, "bad");
  check_repeated(good, "good");
  world.deliver(request(owner_ca_draft(pki().root.certificate), "later", nonce));
  CHECK(world.code_of("later") == 400);
  CHECK(error_of(world, "later").find("earlier request") != std::string::npos);

  const std::size_t published_before = world.published.size();
  world.reboot();
  world.settle();
  CHECK(world.published.size() == published_before);  // no PROV: it would open an attempt that must fail as well
  check_repeated(bad, "bad");
  check_repeated(good, "good");
  check_repeated(request(cert_draft(pki().signer), "cert", nonce), "cert");
  REQUIRE(world.run_until(Phase::kWaiting, Millis(16'000)));  // and then the attempt ends
  CHECK(world.state().attempts_failed == 1);
  CHECK(world.state().last_failure->what.find("not a CA") != std::string::npos);
  CHECK(world.installs.empty());
}

TEST_CASE("CONF-V1 needs a usable owner connection") {
  World world;
  world.accept_certificate();
  const auto check = [&](const std::string& xml, std::string_view why) {
    world.deliver(request(conf_draft(xml), "conf", world.attempt().nonce));
    REQUIRE(world.code_of("conf") == 400);
    CHECK_MESSAGE(error_of(world, "conf").find(why) != std::string::npos, error_of(world, "conf"));
    CHECK(world.installs.empty());
  };
  const auto without = [](std::string xml, const std::string& what, const std::string& with = "") {
    REQUIRE(xml.find(what) != std::string::npos);
    return xml.replace(xml.find(what), what.size(), with);
  };
  SUBCASE("no device certificate and no password") {
    check(owner_xml(false), "device certificate");
  }
  SUBCASE("no broker-url") {
    check(without(owner_xml(true), "broker-url", "broker-uri"), "broker-url");
  }
  SUBCASE("no account") {
    check(without(owner_xml(true), "topic.context.account-name", "topic.context"), "topic.context.account-name");
  }
  SUBCASE("an account that would break topics") {
    check(without(owner_xml(true), ">acme<", ">ac/me<"), "account-name");
  }
  SUBCASE("no owner connection") {
    check(without(owner_xml(true), "MqttDataTransport", "Other"), "no component");
  }
  SUBCASE("not XML") {
    check("{}", "");
  }
  const auto and_property = [&](const std::string& type, const std::string& name, const std::string& value) {
    return without(owner_xml(true), "</esf:properties>",
                   "<esf:property name=\"" + name + "\" array=\"false\" encrypted=\"false\" type=\"" + type +
                       "\"><esf:value>" + value + "</esf:value></esf:property></esf:properties>");
  };
  SUBCASE("a broker-url that is none") {
    check(without(owner_xml(true), "mqtts://owner", "http://owner"), "broker-url");
  }
  SUBCASE("a value that the connection cannot have") {
    check(and_property("Integer", "keep-alive", "1"), "keep-alive: '1' must be");
  }
  SUBCASE("a timeout that is none") {
    check(and_property("Integer", "timeout", "0"), "timeout: '0' must be a number from 1 to 600");
  }
  SUBCASE("a version of MQTT that is none") {
    check(and_property("Integer", "protocol-version", "6"), "protocol-version: '6' must be a number from 3 to 5");
  }
  SUBCASE("a will to everybody") {
    check(and_property("String", "lwt.topic", "a/#"), "lwt.topic: 'a/#' must be");
  }
  SUBCASE("a value of another type") {
    check(and_property("String", "clean-session", "maybe"), "clean-session: 'maybe' must be true or false");
  }
}

TEST_CASE("user name and password need no device certificate") {
  World world;
  world.platform.plan = {cert_draft(pki().signer), conf_draft(owner_xml(true))};
  world.start();
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.generations[0].device_chain_pem.empty());
}

TEST_CASE("a configuration that cannot be installed is answered 500 and fails the attempt") {
  World world;
  world.install = [] { return std::optional<Error>(Error{ErrorCode::kNoSpace, "generations/1: no space left"}); };
  world.start();
  REQUIRE(world.run_until(Phase::kWaiting, Millis(20'000)));
  CHECK(world.state().attempts_failed == 1);
  CHECK(world.state().generation == 0);
  CHECK(world.state().last_failure->what.find("no space left") != std::string::npos);
  CHECK(world.platform.completions == 0);
  CHECK(std::any_of(world.platform.codes.begin(), world.platform.codes.end(),
                    [](const auto& c) { return c.second == 500; }));
  world.install = [] { return std::optional<Error>(); };
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.platform.provs.back().reason == "retry");
}

TEST_CASE("while a configuration is being installed its repetition is not installed again, and the timeout waits") {
  World world;
  world.answers_install = false;
  world.start();
  REQUIRE_FALSE(world.run_until(Phase::kWaiting, 2 * world.config.timeout));
  CHECK(world.state().phase == Phase::kInstalling);
  REQUIRE(world.installs.size() == 1);
  world.answers_install = true;
  world.feed(world.installs[0]);
  REQUIRE(world.run_until(Phase::kProvisioned, Millis(30'000)));
  CHECK(world.installs.size() == 1);
  CHECK(world.platform.completions == 1);
}

TEST_CASE("an installation that ends while the connection is away is confirmed with the next one") {
  World world;
  world.answers_install = false;
  world.start();
  REQUIRE(world.run_until([&] { return world.installs.size() == 1; }));
  world.settle();
  world.feed(ProvisionLost{{ErrorCode::kUnavailable, "connection reset"}});
  const std::size_t published = world.published.size();
  world.feed(world.installs[0]);
  CHECK(world.state().phase == Phase::kConfirming);
  CHECK(world.published.size() == published);  // there is nobody to publish to
  REQUIRE(world.run_until(Phase::kProvisioned, Millis(10'000)));
  CHECK(world.platform.completions == 1);
}

TEST_CASE("a reply that cannot be saved becomes a 500, and nothing staged survives") {
  World world;
  world.accept_certificate();
  const Bytes nonce = world.attempt().nonce;
  const std::string on_disk = world.saved;
  world.disk_full = true;
  world.deliver(request(good_key_draft(), "r", nonce));
  world.settle();
  CHECK(world.code_of("r") == 500);
  CHECK(error_of(world, "r").find("cannot store its state") != std::string::npos);
  CHECK(world.state().phase == Phase::kWaiting);
  CHECK_FALSE(world.state().attempt);
  CHECK(world.saved == on_disk);
  CHECK(world.count<LeaveProvision>() == 1);

  // The disk stays full for an hour: calm tries, and nothing is sent that was not saved first.
  const std::size_t published = world.published.size();
  world.pass(Millis(3'600'000));
  CHECK(world.published.size() == published);
  CHECK(world.effects.size() < 2000);
  world.disk_full = false;
  world.platform.silent = false;
  REQUIRE(world.run_until(Phase::kProvisioned));
  CHECK(world.saved == to_json(world.state()));
}

TEST_CASE("a full disk at the last step does not keep the device from its owner") {
  World world;
  world.platform.keeps_final_200 = true;
  world.start();
  REQUIRE(world.run_until(Phase::kConfirming));
  world.platform.keeps_final_200 = false;
  world.disk_full = true;
  REQUIRE(world.run_until(Phase::kProvisioned, Millis(60'000)));
  world.feed(OwnerFailed{{ErrorCode::kUnavailable, "connection reset"}});
  world.settle();
  const std::size_t connects = world.count<ConnectOwner>();
  world.pass(Millis(10'000));
  CHECK(world.count<ConnectOwner>() == connects + 1);
  world.disk_full = false;
  world.pass(Millis(60'000));
  CHECK(world.saved == to_json(world.state()));
}

}  // namespace
}  // namespace fleet::agent::test
