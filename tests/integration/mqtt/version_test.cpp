// MQTT 3.1, 3.1.1 and 5: what of the client must not depend on the version, and what does.
#include <fstream>

#include <doctest/doctest.h>

#include "tests/integration/mqtt/fixture.hpp"

using namespace std::chrono_literals;
using fleet::Bytes;
using fleet::ErrorCode;
using fleet::mqtt::ConnectOptions;
using fleet::mqtt::Version;
using fleet::test::Broker;
using fleet::test::eventually;
using fleet::test::options_for;
using fleet::test::Party;
using fleet::test::SilentServer;
using fleet::test::TempFolder;

namespace {

constexpr Version kVersions[] = {Version::k31, Version::k311, Version::k5};

ConnectOptions options_in(Version version, const Broker& broker, std::string client_id) {
  ConnectOptions options = options_for(broker.url(), std::move(client_id));
  options.version = version;
  return options;
}

}  // namespace

TEST_CASE("the broker is spoken to in the version that was asked for, and everything works in each") {
  const TempFolder folder;
  Broker broker(folder, "allow_anonymous true\nlog_type all\nlog_dest stderr\n");
  for (const Version version : kVersions) {
    // longer than MQTT 3.1 demands of brokers
    const std::string id = "a-client-id-of-forty-letters-in-version-" + std::to_string(static_cast<int>(version));
    CAPTURE(id);
    Party party;
    const auto connected = party.connect(options_in(version, broker, id));
    REQUIRE(connected);
    CHECK_FALSE(*connected);
    REQUIRE(party.subscribe("t"));
    const auto sent = party.client->publish("t", "hello");
    REQUIRE(sent);
    REQUIRE(party.until([&] { return party.record.messages.size() == 1 && party.record.published.size() == 1; }));
    CHECK(party.record.published[0] == *sent);
    CHECK(party.record.messages[0].payload == "hello");
    const char* const level = version == Version::k31 ? " (p1, " : version == Version::k311 ? " (p2, " : " (p5, ";
    CHECK(eventually([&] { return broker.process().output().find(id + level) != std::string::npos; }));
    party.client->disconnect();
    CHECK(party.until([&] { return party.record.disconnected.size() == 1; }));
    CHECK(party.record.disconnected[0]);
  }
}

TEST_CASE("a session that is not clean outlives its connections in each version, a clean one does not") {
  const TempFolder folder;
  Broker broker(folder);
  for (const Version version : kVersions) {
    const std::string id = "away-" + std::to_string(static_cast<int>(version));
    CAPTURE(id);
    ConnectOptions options = options_in(version, broker, id);
    const auto meanwhile = [&] {
      Party sender;
      REQUIRE(sender.connect(options_for(broker.url(), "sender")));
      REQUIRE(sender.client->publish(id, "kept"));
      REQUIRE(sender.until([&] { return sender.record.published.size() == 1; }));
    };
    options.clean_session = false;
    {
      Party away;
      REQUIRE(away.connect(options));
      REQUIRE(away.subscribe(id));
    }
    meanwhile();
    {
      Party away;
      const auto again = away.connect(options);
      REQUIRE(again);
      CHECK(*again == (version != Version::k31));  // which does not tell
      REQUIRE(away.until([&] { return away.record.messages.size() == 1; }));
      CHECK(away.record.messages[0].payload == "kept");
      away.client->disconnect();
      REQUIRE(away.until([&] { return away.record.disconnected.size() == 1; }));
    }
    meanwhile();
    options.clean_session = true;
    {
      Party away;
      const auto anew = away.connect(options);
      REQUIRE(anew);
      CHECK_FALSE(*anew);
      CHECK_FALSE(away.until([&] { return !away.record.messages.empty(); }, 200ms));
    }
    Party away;
    options.clean_session = false;
    const auto after_clean = away.connect(options);
    REQUIRE(after_clean);
    CHECK_FALSE(*after_clean);
  }
}

TEST_CASE("a will keeps its QoS, and if it is to be retained it is there for who comes later") {
  const TempFolder folder;
  Broker broker(folder);
  for (const Version version : kVersions) {
    const std::string topic = "will/" + std::to_string(static_cast<int>(version));
    CAPTURE(topic);
    Party watcher;
    REQUIRE(watcher.connect(options_for(broker.url(), "watcher")));
    REQUIRE(watcher.subscribe(topic));
    ConnectOptions options = options_in(version, broker, "mortal");
    options.will = fleet::mqtt::Will{topic, "gone", 2, true};
    {
      Party mortal;
      REQUIRE(mortal.connect(options));
    }
    REQUIRE(watcher.until([&] { return watcher.record.messages.size() == 1; }));
    CHECK(watcher.record.messages[0].qos == 1);  // as far as the subscription goes
    Party late;
    REQUIRE(late.connect(options_for(broker.url(), "late")));
    REQUIRE(late.subscribe(topic));
    REQUIRE(late.until([&] { return late.record.messages.size() == 1; }));
    CHECK(late.record.messages[0].retained);
    CHECK(late.record.messages[0].payload == "gone");
  }
}

TEST_CASE("who is not let in learns it in each version") {
  const TempFolder folder;
  Broker broker(folder, "allow_anonymous false\n");
  for (const Version version : kVersions) {
    Party party;
    const auto refused = party.connect(options_in(version, broker, "a"));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::kUnauthenticated);
    CHECK(refused.error().message.find("uthori") != std::string::npos);
  }
}

TEST_CASE("a broker that does not speak MQTT 5 is told as that") {
  SilentServer server;
  server.play({Bytes("\x20\x02\x00\x01", 4)});  // the answer of 3.1.1: unacceptable protocol version
  Party party;
  ConnectOptions options = options_for(server.url(), "a");
  options.version = Version::k5;
  const auto refused = party.connect(options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kUnavailable);
  CHECK_MESSAGE(refused.error().message.find("Unsupported Protocol Version") != std::string::npos, refused.error().message);
}

TEST_CASE("a message that the broker does not take is told as refused in MQTT 5, which alone can say so") {
  const TempFolder folder;
  std::ofstream(folder / "acl") << "topic read #\ntopic write allowed\n";
  Broker broker(folder, "allow_anonymous true\nacl_file " + (folder / "acl").string() + "\n");
  Party party;
  std::vector<std::pair<int, std::string>> refused;
  fleet::mqtt::Handlers handlers = recording(party.record);
  handlers.on_publish_refused = [&](int id, std::string why) { refused.emplace_back(id, std::move(why)); };
  party.client = std::make_unique<fleet::mqtt::Client>(party.io, std::move(handlers));
  REQUIRE(party.connect(options_in(Version::k5, broker, "a")));
  const auto allowed = party.client->publish("allowed", "x");
  REQUIRE(allowed);
  REQUIRE(party.until([&] { return party.record.published.size() == 1; }));
  const auto denied = party.client->publish("denied", "x");
  REQUIRE(denied);
  REQUIRE(party.until([&] { return refused.size() == 1; }));
  CHECK(refused[0].first == *denied);
  CHECK(refused[0].second == "Not authorized");
  CHECK(party.record.published == std::vector<int>{*allowed});
}
