// Who must not be provisioned is told so, by a code that it can act on; the operator reads why; and once the operator
// has done something about it, the same device arrives by itself.
#include <fstream>
#include <functional>

#include <doctest/doctest.h>

#include "tests/system/raw_device.hpp"
#include "tests/system/rig.hpp"

using namespace fleet;
using namespace fleet::test;

namespace {

std::string document(const Credentials& who, const std::string& spec) {
  return "apiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: " + who.name +
         "}\nspec:\n  profile: gateway\n" + "  clientId: \"" + who.client_id + "\"\n  provisionUserUsername: \"" +
         who.username + "\"\n" + spec;
}

// The agent is refused and says `agent_says`, the timeline of the request says `timeline_says`; after `remedy` the same
// agent arrives, without a hand laid on it.
void refused_then_arrives(Rig& rig, AgentRig& agent, const Credentials& gateway, const std::string& agent_says,
                          const std::string& timeline_says, const std::function<void()>& remedy) {
  agent.start();
  CHECK(eventually([&] { return holds(agent.last_failure(), agent_says); }, 20s));
  CHECK(eventually([&] { return holds(rig.describe(gateway.name), timeline_says); }));
  INFO("agent says: " << agent.last_failure() << "\n" << rig.describe(gateway.name));
  CHECK(agent.running());
  CHECK_FALSE(agent.provisioned());
  CHECK(rig.births(gateway.client_id) == 0);
  remedy();
  INFO("agent log:\n" << agent.log());
  CHECK(eventually([&] { return agent.provisioned(); }, 20s));
  CHECK(rig.status(gateway.name) == "COMPLETED");
  CHECK(agent.last_failure().empty());
}

constexpr const char* kRefusedAtConnect = "the provision broker refused us";

void write_secret(const std::filesystem::path& file, const std::string& secret) {
  std::ofstream(file, std::ios::trunc) << secret << "\n";
}

}  // namespace

TEST_CASE("a wrong password is refused, and the right one is let in") {
  Rig& rig = installation();
  Credentials gateway = rig.request("password", "02FC20000001");
  const std::string right = gateway.password;
  gateway.password = "NOTTHEPASSWORDNOTTHEPASSWORD2345";
  auto agent = rig.agent(gateway);
  refused_then_arrives(
      rig, *agent, gateway, kRefusedAtConnect, "connection refused by the broker: wrong-credentials", [&] {
        CHECK(holds(rig.describe("password"),
                    "the device was here: connection refused by the broker: wrong-credentials"));
        CHECK(holds(rig.describe("password"), "Give it the username, password and activation key of this request"));
        write_secret(agent->folder() / "password", right);
        agent->start();  // settings are read at the start
      });
}

TEST_CASE("a device that nobody knows is refused and logged, and arrives when its request is applied") {
  Rig& rig = installation();
  const Credentials stranger{"stranger", "02FC20000002", "02FC20000002-SN1", "AGOODPASSWORDOFTHIRTYTWOLETTERS2", ""};
  auto agent = rig.agent(stranger);
  agent->start();
  CHECK(eventually([&] { return holds(agent->last_failure(), kRefusedAtConnect); }, 20s));
  CHECK(holds(agent->last_failure(), "02FC20000002"));
  const auto logged = [&] {
    const std::string log = rig.provisioner_log();
    return holds(log, "client=02FC20000002") && holds(log, "why=unknown");
  };
  CHECK(eventually(logged));
  rig.apply(document(stranger, "  provisionUserPassword: " + stranger.password + "\n"));
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(rig.status("stranger") == "COMPLETED");
}

TEST_CASE("a disabled request keeps its device out until it is enabled") {
  Rig& rig = installation();
  const Credentials gateway = rig.request("disabled", "02FC20000003", "  status: DISABLED\n");
  auto agent = rig.agent(gateway);
  refused_then_arrives(rig, *agent, gateway, kRefusedAtConnect, "connection refused by the broker: disabled", [&] {
    CHECK(holds(rig.describe("disabled"), "provisioner enable request disabled"));
    expect_ok(rig.cli({"enable", "request", "disabled"}), "enable");
  });
}

TEST_CASE("an expired request keeps its device out until it is given a later end") {
  Rig& rig = installation();
  const Credentials gateway =
      rig.request("expired", "02FC20000004", "  activatesOn: 2020-01-01\n  expiresOn: 2020-02-01\n");
  auto agent = rig.agent(gateway);
  refused_then_arrives(rig, *agent, gateway, kRefusedAtConnect, "connection refused by the broker: expired", [&] {
    CHECK(holds(rig.describe("expired"), "set a later spec.expiresOn"));
    rig.apply(document(gateway, "  activatesOn: 2020-01-01\n  expiresOn: 2099-01-01\n"));
  });
}

TEST_CASE("a request that is not active yet keeps its device out until then") {
  Rig& rig = installation();
  const Credentials gateway = rig.request("early", "02FC20000005", "  activatesOn: 2099-01-01\n");
  auto agent = rig.agent(gateway);
  refused_then_arrives(rig, *agent, gateway, kRefusedAtConnect, "connection refused by the broker: not-yet-active",
                       [&] {
                         CHECK(holds(rig.describe("early"), "the device is refused until 2099-01-01"));
                         rig.apply(document(gateway, "  activatesOn: 2020-01-01\n"));
                       });
}

TEST_CASE("a device that fails too often is abandoned, and says and tells why; a retry lets it in again") {
  Rig& rig = installation();
  const Credentials gateway = rig.request("abandoned", "02FC20000006", "  retryMaxAttempts: 2\n");
  auto agent = rig.agent(gateway);
  // It trusts another platform: whatever this one asks, it refuses.
  const std::string right_root = rig.root_certificate().string();
  agent->set("platform-root-file", (rig.folder() / "owner" / "owner-root.crt").string());
  agent->start();
  CHECK(eventually([&] { return rig.status("abandoned") == "ABANDONED"; }, 30s));
  CHECK(rig.request_field("abandoned", "failures") == "2");
  CHECK(eventually([&] { return holds(agent->last_failure(), kRefusedAtConnect); }, 20s));
  CHECK(holds(agent->log(), "the platform's signing certificates are not trusted"));
  CHECK(eventually([&] { return holds(rig.describe("abandoned"), "connection refused by the broker: abandoned"); }));
  const std::string page = rig.describe("abandoned");
  INFO(page);
  CHECK(holds(page, "the device refused the signing-certificates (400)"));
  CHECK(holds(page, "not trusted"));
  CHECK(holds(page, "provisioner retry request abandoned"));

  agent->set("platform-root-file", right_root);
  agent->start();
  expect_ok(rig.cli({"retry", "request", "abandoned"}), "retry");
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(rig.status("abandoned") == "COMPLETED");
  CHECK(rig.request_field("abandoned", "failures") == "0");
  CHECK(rig.sql("SELECT count(*) FROM certificate WHERE client_id = '02FC20000006'") == "1");
}

TEST_CASE("a device that was provisioned and comes as new is told so until an operator arms its request") {
  Rig& rig = installation();
  const Credentials gateway = rig.request("again", "02FC20000007");
  auto agent = rig.agent(gateway);
  agent->start();
  REQUIRE(eventually([&] { return agent->provisioned(); }, 20s));
  agent->process().stop();
  expect_ok(agent->cli({"reset"}), "reset");
  agent->start();
  CHECK(eventually([&] { return holds(agent->last_failure(), "409"); }, 20s));
  CHECK(holds(agent->last_failure(), "the operator can allow it again by retrying the request"));
  CHECK(holds(rig.describe("again"), "hello refused: already provisioned"));
  CHECK(rig.status("again") == "COMPLETED");
  expect_ok(rig.cli({"retry", "request", "again"}), "retry");
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(rig.status("again") == "COMPLETED");
}

TEST_CASE("a wrong activation key is refused without saying which secret was wrong; only the operator reads that") {
  Rig& rig = installation();
  Credentials gateway = rig.request("activation", "02FC20000008", "  generateActivationKey: true\n");
  REQUIRE_FALSE(gateway.activation_key.empty());
  const std::string right = gateway.activation_key;
  gateway.activation_key = "NOTTHEKEYNOTTHEKEYNOTTHEKEY23456";
  auto agent = rig.agent(gateway);
  refused_then_arrives(rig, *agent, gateway, "401: wrong username, password or activation key",
                       "hello refused: activation key missing or wrong", [&] {
                         write_secret(agent->folder() / "activation-key", right);
                         agent->start();
                       });
  // and the key is spent
  CHECK(rig.sql("SELECT activation_key_used FROM request WHERE name = 'activation'") == "1");
}

TEST_CASE("an activation key from a file opens its request once, whatever is applied meanwhile, until a retry arms it") {
  Rig& rig = installation();
  const std::string right = "the key off the label 4711";
  write_secret(rig.folder() / "label.key", right);
  const std::string key_file = "  activationKeyFile: label.key\n";
  Credentials gateway = rig.request("label", "02FC20000012", key_file);
  CHECK(gateway.activation_key.empty());  // nothing was made up
  const auto hear = [&](const std::string& key) {
    gateway.activation_key = key;
    RawDevice device(rig, gateway);
    device.join();
    return device.say_and_hear(device.hello());
  };
  CHECK(hear("") == 401);
  CHECK(hear("the key off another label") == 401);
  CHECK(rig.request_field("label", "activationKey") == "unused");

  gateway.activation_key = right;
  RawDevice device(rig, gateway);
  device.join();
  CHECK(device.obey());
  CHECK(rig.request_field("label", "activationKey") == "used");
  // the same document again is no new permission
  rig.apply(document(gateway, key_file));
  CHECK(rig.request_field("label", "activationKey") == "used");
  CHECK(hear(right) == 409);

  expect_ok(rig.cli({"retry", "request", "label"}), "retry");
  CHECK(rig.request_field("label", "activationKey") == "unused");
  CHECK(hear(right) == 202);
  CHECK_FALSE(holds(rig.provisioner_log(), right));
  const std::string yaml = expect_ok(rig.cli({"get", "request", "label", "-o", "yaml", "--show-secrets"}), "get").output;
  CHECK(holds(yaml, "generateActivationKey: true"));  // as it is, it keeps the key
  CHECK_FALSE(holds(yaml, right));
  CHECK_FALSE(holds(rig.describe("label"), right));
}

TEST_CASE(
    "a certificate signing request that cannot be used is refused with its reason, and a good one is taken after it") {
  Rig& rig = installation();
  const Credentials gateway = rig.request("csr", "02FC20000009");
  RawDevice device(rig, gateway);
  device.join();

  const auto refused = [&](const std::optional<Bytes>& csr, const std::string& why) {
    CAPTURE(why);
    protocol::Prov hello = device.hello();
    hello.csr = csr;
    const auto answer = device.answer(device.say(hello));
    REQUIRE(answer.has_value());
    CHECK(answer->code == 400);
    CHECK(holds(answer->error, why));
    CHECK(holds(rig.describe("csr"), "hello refused: " + answer->error));
  };
  refused(Bytes("\x30\x03\x02\x01\x00", 5), "certificate signing request");

  // the key length of 1998
  const auto weak = rig.folder() / "weak.csr";
  expect_ok(run({"openssl", "req", "-new", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=02FC20000009", "-outform",
                 "DER", "-keyout", (rig.folder() / "weak.key").string(), "-out", weak.string()}),
            "openssl req");
  refused(expect_ok(run({"cat", weak.string()}), "cat").output, "RSA");

  // somebody else's public key: the signature does not prove that the device has the private one
  Bytes broken = *device.hello().csr;
  broken.back() = static_cast<char>(broken.back() ^ 1);
  refused(broken, "signature");

  CHECK(rig.sql("SELECT count(*) FROM attempt a JOIN request r ON r.id = a.request_id WHERE r.name = 'csr'") == "0");
  CHECK(rig.request_field("csr", "failures") == "0");
  CHECK(device.obey());
  CHECK(rig.status("csr") == "COMPLETED");
}

TEST_CASE("a key that belongs to another device is refused") {
  Rig& rig = installation();
  RawDevice first(rig, rig.request("key-owner", "02FC20000010"));
  first.join();
  CHECK(first.obey());
  RawDevice second(rig, rig.request("key-copy", "02FC20000011"));
  second.join();
  const crypto::PrivateKey own = second.key();
  second.use_key(first.key());
  const auto answer = second.answer(second.say(second.hello()));
  REQUIRE(answer.has_value());
  CHECK(answer->code == 400);
  CHECK(holds(answer->error, "the key is known for another device"));
  CHECK(holds(rig.describe("key-copy"), "the key is known for another device"));
  second.use_key(own);
  CHECK(second.obey());
  CHECK(
      rig.sql(
          "SELECT count(DISTINCT spki_sha256) FROM certificate WHERE client_id IN ('02FC20000010', '02FC20000011')") ==
      "2");
}
