// Devices that do what no honest device does. Each is admitted with good credentials, harms nobody but itself, is
// written down where an operator looks, and can be provisioned as soon as it behaves.
#include <fstream>
#include <thread>

#include <doctest/doctest.h>

#include "core/protocol/gzip.hpp"
#include "tests/system/raw_device.hpp"
#include "tests/system/rig.hpp"

using namespace fleet;
using namespace fleet::test;

namespace {

std::string count_attempts(const Rig& rig, const std::string& name, const std::string& condition = "1") {
  return rig.sql("SELECT count(*) FROM attempt a JOIN request r ON r.id = a.request_id WHERE r.name = '" + name +
                 "' AND " + condition);
}

bool timeline_says(const Rig& rig, const std::string& name, const std::string& text) {
  return eventually([&] { return holds(rig.describe(name), text); });
}

Bytes encoded(const protocol::Prov& hello, const std::string& client_id) {
  return protocol::encode(protocol::to_payload(hello, client_id, to_unix_millis(wall_now())));
}

}  // namespace

TEST_CASE("a hello that cannot be read opens nothing, is noted, and does not keep a good one from being taken") {
  Rig& rig = installation();
  static int subcase = 0;  // each has a device of its own
  const std::string name = "malformed-" + std::to_string(++subcase);
  RawDevice device(rig, rig.request(name, "02FC3100000" + std::to_string(subcase)));
  device.join();
  const std::string& client_id = device.credentials().client_id;
  const protocol::Prov good = device.hello();
  const Bytes whole = encoded(good, client_id);

  CHECK(device.say_bytes("this is no KuraPayload at all"));
  CHECK(timeline_says(rig, name, "hello refused: "));
  CHECK(device.say_bytes(""));
  CHECK(device.say_bytes(whole.substr(0, whole.size() / 2)));
  CHECK(device.say_bytes(protocol::gzip(whole).substr(0, 60)));

  SUBCASE("a gzip bomb is not blown up") {
    const Bytes bomb = protocol::gzip(Bytes(40 * 1024 * 1024, '\0'));
    REQUIRE(bomb.size() < protocol::kMaxProvSize);
    CHECK(device.say_bytes(bomb));
    CHECK(timeline_says(rig, name, "hello refused: gzip"));
  }
  SUBCASE("one of more than 64 KiB is not looked into") {
    protocol::Prov large = good;
    for (int i = 0; i < 40; ++i) large.facts["fact." + std::to_string(i)] = std::string(2000, 'x');
    REQUIRE(encoded(large, client_id).size() > protocol::kMaxProvSize);
    CHECK(device.say_bytes(encoded(large, client_id)));
    CHECK(timeline_says(rig, name, "65536"));
  }
  SUBCASE("a packet of more than 1 MiB costs the device its connection") {
    CHECK_FALSE(device.say_bytes(Bytes(1100 * 1024, 'x')));
    CHECK(device.client().until([&] { return !device.client().connected(); }));
    device.join();
  }
  SUBCASE("what can be answered is answered 400 with the reason") {
    protocol::Prov short_nonce = device.hello();
    short_nonce.nonce = "short";
    auto answer = device.answer(device.say(short_nonce));
    REQUIRE(answer.has_value());
    CHECK(answer->code == 400);
    CHECK(holds(answer->error, "prov.nonce has 5 bytes"));

    protocol::KuraPayload no_user = protocol::to_payload(device.hello(), client_id, 0);
    const std::string request_id = *no_user.string("request.id");
    std::erase_if(no_user.metrics, [](const protocol::Metric& metric) { return metric.name == "username"; });
    CHECK(device.say_bytes(protocol::encode(no_user)));
    answer = device.answer(request_id);
    REQUIRE(answer.has_value());
    CHECK(answer->code == 400);
    CHECK(holds(answer->error, "username"));
    // an answer is never sent into somebody else's tree
    protocol::KuraPayload other = protocol::to_payload(device.hello(), "02FC39999999", 0);
    const std::string other_id = *other.string("request.id");
    CHECK(device.say_bytes(protocol::encode(other)));
    answer = device.answer(other_id);
    REQUIRE(answer.has_value());
    CHECK(answer->code == 400);
  }
  CHECK(count_attempts(rig, name) == "0");
  CHECK(rig.request_field(name, "failures") == "0");
  CHECK(device.obey());
  CHECK(rig.status(name) == "COMPLETED");
}

TEST_CASE("a retained hello is denied: it would greet for the device for ever") {
  Rig& rig = installation();
  RawDevice device(rig, rig.request("retained", "02FC30000002"));
  const Credentials& who = device.credentials();
  const auto file = rig.folder() / "retained.prov";
  const protocol::Prov hello = device.hello();
  std::ofstream(file, std::ios::binary) << encoded(hello, who.client_id);
  expect_ok(run({"mosquitto_pub",
                 "-h",
                 "localhost",
                 "-p",
                 std::to_string(rig.provision_port()),
                 "--cafile",
                 rig.root_certificate().string(),
                 "-i",
                 who.client_id,
                 "-u",
                 who.username,
                 "-P",
                 who.password,
                 "-q",
                 "1",
                 "-r",
                 "-t",
                 device.lifecycle_topic(),
                 "-f",
                 file.string()}),
            "mosquitto_pub");
  CHECK(timeline_says(rig, "retained", "denied by the broker: publish " + device.lifecycle_topic()));
  CHECK(count_attempts(rig, "retained") == "0");
  device.join();
  device.client().listen(Millis(200));
  CHECK(device.client().received().empty());
  CHECK(device.obey());
}

TEST_CASE("a device reaches neither another device, nor the broker, nor the provisioner's own topics") {
  Rig& rig = installation();
  RawDevice victim(rig, rig.request("victim", "02FC30000003"));
  RawDevice attacker(rig, rig.request("attacker", "02FC30000004"));
  victim.join();
  attacker.join();

  for (const std::string filter :
       {"$EDC/provision/02FC30000003/#", "$EDC/provision/+/MQTT/PROV", "$EDC/provision/#", "$EDC/#", "#", "+/#",
        "$SYS/#", "$PROVISIONER/#", "$PROVISIONER/in/02FC30000003/#", "$CONTROL/#", "$EDC/provision/provisioner/#",
        "$share/g/$EDC/provision/02FC30000003/#", "$share/g/#"}) {
    CAPTURE(filter);
    CHECK_FALSE(attacker.client().subscribe(filter));
  }
  CHECK(timeline_says(rig, "attacker", "denied by the broker: subscribe $EDC/provision/02FC30000003/#"));

  // The victim's hello, said by another: of whom it is said counts, not what is said.
  const Bytes hello = encoded(victim.hello(), "02FC30000003");
  const std::vector<std::string> forbidden{"$EDC/provision/02FC30000003/MQTT/PROV",
                                           "$EDC/provision/02FC30000003/CERT-V1/PUT/certificates",
                                           "$EDC/provision/02FC30000003/PROV-V1/REPLY/1",
                                           "$EDC/other/02FC30000004/MQTT/PROV",
                                           "$PROVISIONER/in/02FC30000003/$EDC/provision/02FC30000003/MQTT/PROV",
                                           "$PROVISIONER/connected",
                                           "$PROVISIONER/refused",
                                           "$CONTROL/provisioner/v1",
                                           "$CONTROL/dynamic-security/v1",
                                           "$EDC/provision/provisioner/PROV-V1/REPLY/1",
                                           "$EDC/provision/02FC30000004/CERT-V1/PUT/certificates",
                                           "weather"};
  // of what is denied within a second eight are told by name: so a few at a time, and after the above
  attacker.client().listen(Millis(2000));
  constexpr std::size_t kAtOnce = 4;
  for (std::size_t begin = 0; begin < forbidden.size(); begin += kAtOnce) {
    const std::vector<std::string> some(forbidden.begin() + begin, forbidden.begin() + begin + kAtOnce);
    for (const std::string& topic : some) {
      attacker.client().publish(topic, topic == "$CONTROL/provisioner/v1" ? Bytes("02FC30000003") : hello);
      if (!attacker.client().connected()) attacker.join();
    }
    for (const std::string& topic : some) {
      CAPTURE(topic);
      CHECK(timeline_says(rig, "attacker", "denied by the broker: publish " + topic));
    }
  }
  // Mosquitto itself refuses this one, without asking the plugin, and ends the connection over it
  attacker.client().publish("$SYS/broker/version", "1");
  CHECK(attacker.client().until([&] { return !attacker.client().connected(); }));
  attacker.join();
  // said in the attacker's own tree, it is the attacker with the wrong password
  const protocol::Prov borrowed = victim.hello();
  CHECK(attacker.say_bytes(encoded(borrowed, "02FC30000004")));
  const auto answer = attacker.answer(*borrowed.request_id);
  REQUIRE(answer.has_value());
  CHECK(answer->code == 401);

  CHECK(victim.client().connected());  // was not kicked
  CHECK(victim.client().received().empty());
  CHECK(count_attempts(rig, "victim") == "0");
  CHECK(count_attempts(rig, "attacker") == "0");
  CHECK(victim.obey());
  CHECK(attacker.obey());
}

TEST_CASE("a reply counts only from its own device, for its own step, once") {
  Rig& rig = installation();
  RawDevice victim(rig, rig.request("asked", "02FC30000005"));
  RawDevice attacker(rig, rig.request("guesser", "02FC30000006"));
  victim.join();
  attacker.join();
  CHECK(victim.say_and_hear(victim.hello()) == 202);
  const Asked certificates = victim.await(protocol::kAppCert);
  const Asked configuration = victim.await(protocol::kAppConf);

  attacker.reply(configuration);      // a rid that it cannot know, but has
  attacker.reply(certificates, 400);  // a refusal in the victim's name
  attacker.reply({"", "", std::string(protocol::kAppConf), random_id()});
  CHECK(timeline_says(rig, "guesser", "a reply to nothing that this device was asked was ignored"));
  CHECK(rig.status("asked") == "STARTED");

  victim.reply(certificates, 200, protocol::kAppConf);  // would complete it
  CHECK(timeline_says(rig, "asked", "a reply under the name of another step was ignored"));
  CHECK(rig.status("asked") == "STARTED");
  CHECK(count_attempts(rig, "asked", "a.state = 'OPEN'") == "1");

  victim.reply(certificates);
  CHECK(eventually([&] { return rig.status("asked") == "RUNNING"; }));
  victim.reply(certificates, 400);  // it has been answered: what is recorded stays
  victim.reply(certificates);
  victim.reply(victim.await(protocol::kAppKeysV2));
  victim.reply(victim.await(protocol::kAppKeysV1));
  victim.reply(configuration);
  victim.reply(configuration);
  CHECK(eventually([&] { return rig.status("asked") == "COMPLETED"; }));
  CHECK(count_attempts(rig, "asked") == "1");
  victim.reply(configuration, 500);  // after the end
  victim.client().listen(Millis(300));
  CHECK(rig.status("asked") == "COMPLETED");
  CHECK(attacker.obey());
}

TEST_CASE("the configuration's reply ends the attempt also when it overtakes the others") {
  Rig& rig = installation();
  RawDevice device(rig, rig.request("overtaken", "02FC30000007"));
  device.join();
  CHECK(device.say_and_hear(device.hello()) == 202);
  device.reply(device.await(protocol::kAppConf));
  CHECK(eventually([&] { return rig.status("overtaken") == "COMPLETED"; }));
  for (const std::string_view late : {protocol::kAppCert, protocol::kAppKeysV2, protocol::kAppKeysV1}) {
    device.reply(device.await(late));
  }
  device.client().listen(Millis(300));
  CHECK(rig.status("overtaken") == "COMPLETED");
  CHECK(device.say_and_hear(device.hello()) == 200);  // the same nonce
  CHECK(count_attempts(rig, "overtaken") == "1");
}

TEST_CASE("a device that never answers is asked again word for word, fails, and is abandoned in the end") {
  Rig& rig = installation();
  RawDevice patient(rig, rig.request("silent", "02FC30000008"));
  const auto secrets = rig.apply(
      "apiVersion: provisioner/v1\nkind: Profile\nmetadata: {name: hasty}\nspec:\n  account: acme\n"
      "  attemptTimeout: 2s\n  retryMaxAttempts: 2\n---\n"
      "apiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: hasty}\nspec:\n  profile: hasty\n"
      "  clientId: \"02FC30000009\"\n  provisionUserUsername: hasty\n");
  REQUIRE(secrets.size() == 1);
  RawDevice hasty(rig, secrets.front());
  patient.join();
  hasty.join();
  CHECK(patient.say_and_hear(patient.hello()) == 202);
  patient.await(protocol::kAppConf);
  const std::size_t steps = patient.asked().size();

  // its profile gives an attempt two seconds, and two attempts
  CHECK(hasty.say_and_hear(hasty.hello()) == 202);
  CHECK(eventually([&] { return rig.status("hasty") == "FAILED"; }));
  CHECK(timeline_says(rig, "hasty", "nothing moved for 2s: the device owes its reply to signing-certificates"));
  CHECK(rig.request_field("hasty", "failures") == "1");
  hasty.new_nonce();
  CHECK(hasty.say_and_hear(hasty.hello()) == 202);
  CHECK(eventually([&] { return rig.status("hasty") == "ABANDONED"; }));
  CHECK(timeline_says(rig, "hasty", "provisioner retry request hasty"));
  hasty.new_nonce();
  CHECK(hasty.say_and_hear(hasty.hello()) == 410);
  hasty.client().disconnect();
  CHECK_FALSE(hasty.client().connect());
  expect_ok(rig.cli({"retry", "request", "hasty"}), "retry");
  hasty.join();
  CHECK(hasty.obey());
  CHECK(rig.status("hasty") == "COMPLETED");

  // meanwhile: the same requests once more, to the byte
  REQUIRE(patient.client().until([&] { return patient.asked().size() >= 2 * steps; }, Millis(15'000)));
  const std::vector<Asked> asked = patient.asked();
  for (std::size_t i = 0; i < steps; ++i) {
    CHECK(asked[i].rid == asked[steps + i].rid);
    CHECK(asked[i].topic == asked[steps + i].topic);
    CHECK(asked[i].payload == asked[steps + i].payload);
  }
  CHECK(timeline_says(rig, "silent", "no reply yet; sent again"));
  CHECK(count_attempts(rig, "silent") == "1");
  CHECK(patient.obey());
}

TEST_CASE("of two connections with one client id the later one wins, and the attempt goes on there") {
  Rig& rig = installation();
  const Credentials who = rig.request("twins", "02FC30000010");
  RawDevice first(rig, who);
  first.join();
  CHECK(first.say_and_hear(first.hello()) == 202);
  first.await(protocol::kAppConf);
  RawDevice second(rig, who);
  second.join();
  CHECK(first.client().until([&] { return !first.client().connected(); }));
  // the newcomer begins anew with a key of its own: the attempt before it is over
  CHECK(second.obey());
  CHECK(rig.status("twins") == "COMPLETED");
  CHECK(count_attempts(rig, "twins", "a.state = 'COMPLETED'") == "1");
  CHECK(count_attempts(rig, "twins", "a.state = 'OPEN'") == "0");
  // a wrong password takes nobody's place
  Credentials thief = who;
  thief.password = "NOTTHEPASSWORDNOTTHEPASSWORD2345";
  RawDevice third(rig, thief);
  CHECK_FALSE(third.client().connect());
  second.client().listen(Millis(200));
  CHECK(second.client().connected());
}

TEST_CASE("five hellos with the same nonce at once are answered five times, and bring what is owed five times") {
  Rig& rig = installation();
  RawDevice device(rig, rig.request("hasty-hellos", "02FC30000012"));
  device.join();
  const auto begun = std::chrono::steady_clock::now();
  CHECK(device.say_and_hear(device.hello()) == 202);
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(device.say(device.hello()));
  for (const std::string& id : ids) {
    const auto answer = device.answer(id);
    REQUIRE(answer);
    CHECK(answer->code == 202);
  }
  const auto times = [&](std::string_view app) {
    const std::vector<Asked> asked = device.asked();
    return std::count_if(asked.begin(), asked.end(), [&](const Asked& one) { return one.app == app; });
  };
  CHECK(device.client().until([&] { return times(protocol::kAppConf) == 5; }, Millis(5000)));
  for (const std::string_view app : {protocol::kAppCert, protocol::kAppKeysV2, protocol::kAppKeysV1, protocol::kAppConf}) {
    CAPTURE(app);
    CHECK(times(app) == 5);
  }
  // it was the hellos, not the repetition after 10 s
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(9));
  CHECK(count_attempts(rig, "hasty-hellos") == "1");
  CHECK(device.obey());
}

TEST_CASE("two hundred hellos with the same nonce are one attempt with one certificate") {
  Rig& rig = installation();
  RawDevice device(rig, rig.request("stutter", "02FC30000011"));
  device.join();
  std::string last;
  for (int i = 0; i < 200; ++i) last = device.say(device.hello());
  CHECK(device.answer(last)->code == 202);
  CHECK(count_attempts(rig, "stutter") == "1");
  CHECK(rig.sql("SELECT count(*) FROM certificate WHERE client_id = '02FC30000011'") == "1");
  CHECK(rig.request_field("stutter", "failures") == "0");
  // its history stays readable
  CHECK(std::stoi(rig.sql(
            "SELECT count(*) FROM timeline t JOIN request r ON r.id = t.request_id WHERE r.name = 'stutter'")) < 20);
  std::this_thread::sleep_for(Millis(2100));  // then it counts as a device again, not as a flood
  CHECK(device.obey());
  CHECK(rig.status("stutter") == "COMPLETED");
}

TEST_CASE("after all of that an ordinary gateway is provisioned as if nothing had been") {
  Rig& rig = installation();
  const Credentials gateway = rig.request("ordinary", "02FC30000099");
  auto agent = rig.agent(gateway);
  agent->start();
  CHECK(eventually([&] { return agent->provisioned(); }, 20s));
  CHECK(rig.births("02FC30000099") == 1);
  CHECK(rig.provisioner_running());
}
