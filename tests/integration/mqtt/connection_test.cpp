// Plain TCP and unix sockets.
#include <algorithm>
#include <chrono>
#include <set>
#include <signal.h>

#include <doctest/doctest.h>

#include "tests/integration/mqtt/fixture.hpp"

using namespace std::chrono_literals;
using fleet::Bytes;
using fleet::ErrorCode;
using fleet::Seconds;
using fleet::Secret;
using fleet::mqtt::BrokerUrl;
using fleet::mqtt::ConnectOptions;
using fleet::test::Broker;
using fleet::test::options_for;
using fleet::test::Party;
using fleet::test::SilentServer;
using fleet::test::TempFolder;

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("a message comes back to its sender over TCP, byte for byte") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  SUBCASE("written at once") {}
  SUBCASE("written together") { options.write_together = true; }
  const auto connected = party.connect(std::move(options));
  REQUIRE(connected);
  CHECK_FALSE(*connected);
  CHECK(party.client->connected());
  REQUIRE(party.subscribe("$EDC/#"));
  const Bytes payload("a\0b\xff", 4);
  const auto id = party.client->publish("$EDC/x", payload);
  REQUIRE(id);
  CHECK(party.record.published.empty());
  REQUIRE(party.until([&] { return party.record.messages.size() == 1 && party.record.published.size() == 1; }));
  CHECK(party.record.published[0] == *id);
  CHECK(party.record.messages[0].topic == "$EDC/x");
  CHECK(party.record.messages[0].payload == payload);
  CHECK(party.record.messages[0].qos == 1);
  CHECK_FALSE(party.record.messages[0].retained);
}

TEST_CASE("the broker is reached over a unix socket") {
  const TempFolder folder;
  const auto socket = folder / "broker.sock";
  Broker broker = Broker::on_socket(folder, socket);
  Party party;
  ConnectOptions options = options_for(*BrokerUrl::parse("unix:" + socket.string()), "a");
  SUBCASE("written at once") {}
  SUBCASE("written together") { options.write_together = true; }
  REQUIRE(party.connect(std::move(options)));
  REQUIRE(party.subscribe("t"));
  REQUIRE(party.client->publish("t", "hello"));
  REQUIRE(party.until([&] { return party.record.messages.size() == 1; }));
  CHECK(party.record.messages[0].payload == "hello");
}

TEST_CASE("a host name is resolved and its addresses are tried in turn") {
  const TempFolder folder;
  Broker broker(folder);  // on 127.0.0.1 only, while localhost may also be ::1
  Party party;
  REQUIRE(party.connect(options_for(broker.url(BrokerUrl::Scheme::kMqtt, "localhost"), "a")));
}

TEST_CASE("after disconnect() the owner is told once, without an error, and can connect again") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  for (std::size_t round = 1; round <= 3; ++round) {
    REQUIRE(party.connect(options_for(broker.url(), "a")));
    party.client->disconnect();
    CHECK(party.record.disconnected.size() == round - 1);  // not from inside the call
    REQUIRE(party.until([&] { return party.record.disconnected.size() == round; }));
    CHECK(party.record.disconnected.back());
    CHECK_FALSE(party.client->connected());
  }
  party.client->disconnect();
  CHECK_FALSE(party.until([&] { return party.record.disconnected.size() > 3; }, 100ms));
}

TEST_CASE("what was published before disconnect() still arrives") {
  const TempFolder folder;
  Broker broker(folder);
  Party listener, sender;
  REQUIRE(listener.connect(options_for(broker.url(), "listener")));
  REQUIRE(listener.subscribe("t"));
  ConnectOptions options = options_for(broker.url(), "sender");
  SUBCASE("written at once") {}
  SUBCASE("written together") { options.write_together = true; }
  REQUIRE(sender.connect(std::move(options)));
  const Bytes payload(3'000'000, 'x');
  REQUIRE(sender.client->publish("t", payload));
  sender.client->disconnect();
  REQUIRE(sender.until([&] { return sender.record.disconnected.size() == 1; }));
  CHECK(sender.record.disconnected[0]);
  REQUIRE(listener.until([&] { return listener.record.messages.size() == 1; }));
  CHECK(listener.record.messages[0].payload == payload);
}

TEST_CASE("what was published while the socket rests, and then left, still arrives") {
  const TempFolder folder;
  Broker broker(folder);
  Party listener, sender;
  REQUIRE(listener.connect(options_for(broker.url(), "listener")));
  REQUIRE(listener.subscribe("n/#"));
  ConnectOptions options = options_for(broker.url(), "sender");
  options.write_together = true;
  options.read_every = fleet::Millis(500);
  REQUIRE(sender.connect(std::move(options)));
  // its acknowledgement has just been read when the rest is published
  REQUIRE(sender.client->publish("n/first", ""));
  REQUIRE(sender.until([&] { return sender.record.published.size() == 1; }));
  // QoS 0: who closes a socket with acknowledgements unread takes back what the broker has not read either
  for (int i = 0; i < 100; ++i) REQUIRE(sender.client->publish("n/" + std::to_string(i), Bytes(10'000, 'x'), 0));
  sender.client->disconnect();
  REQUIRE(sender.until([&] { return sender.record.disconnected.size() == 1; }));
  CHECK(sender.record.disconnected[0]);
  REQUIRE(listener.until([&] { return listener.record.messages.size() == 101; }));
  CHECK(listener.record.messages[100].topic == "n/99");
}

TEST_CASE("wrong credentials are kUnauthenticated, right ones pass") {
  const TempFolder folder;
  const auto passwords = folder / "passwords";
  REQUIRE(fleet::test::run({"mosquitto_passwd", "-c", "-b", passwords.string(), "user", "right"}).exit_code == 0);
  Broker broker(folder, "allow_anonymous false\npassword_file " + passwords.string() + "\n");
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  options.username = "user";
  options.password = Secret("wrong");
  const auto refused = party.connect(options);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kUnauthenticated);
  CHECK(refused.error().message.find("refused") != std::string::npos);
  CHECK(refused.error().message.find("wrong\"") == std::string::npos);
  options.password = Secret("right");
  CHECK(party.connect(options));
  CHECK(party.record.connected.size() == 2);
  CHECK(party.record.disconnected.empty());
}

TEST_CASE("a broker that is not there is kUnavailable at once, with the reason") {
  Party party;
  const auto start = std::chrono::steady_clock::now();
  const auto refused =
      party.connect(options_for({BrokerUrl::Scheme::kMqtt, "127.0.0.1", fleet::test::free_port()}, "a"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kUnavailable);
  CHECK(refused.error().message.find("Connection refused") != std::string::npos);
  const auto missing = party.connect(options_for({BrokerUrl::Scheme::kUnix, "/nonexistent/socket", 0}, "a"));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::kUnavailable);
  CHECK(missing.error().message.find("No such file") != std::string::npos);
  CHECK(seconds_since(start) < 2);
}

TEST_CASE("a name that does not resolve is kUnavailable and says so") {
  Party party;
  const auto unknown = party.connect(options_for({BrokerUrl::Scheme::kMqtt, "no-such-host.invalid", 1883}, "a"));
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code == ErrorCode::kUnavailable);
  CHECK(unknown.error().message.find("DNS: no-such-host.invalid") != std::string::npos);
}

TEST_CASE("a peer that accepts and never answers runs into the connect timeout") {
  SilentServer server;
  Party party;
  ConnectOptions options = options_for({BrokerUrl::Scheme::kMqtt, "127.0.0.1", server.port()}, "a");
  options.connect_timeout = Seconds(2);
  const auto start = std::chrono::steady_clock::now();
  const auto result = party.connect(options);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == ErrorCode::kUnavailable);
  CHECK(result.error().message.find("did not answer within 2 s") != std::string::npos);
  CHECK(seconds_since(start) > 1.8);
  CHECK(seconds_since(start) < 3);
}

TEST_CASE("a peer that hangs up instead of answering ends the attempt at once") {
  SilentServer server;
  Party party;
  REQUIRE(party.client->connect(options_for({BrokerUrl::Scheme::kMqtt, "127.0.0.1", server.port()}, "a")));
  server.accept_and_close();
  REQUIRE(party.until([&] { return party.record.connected.size() == 1; }, 2s));
  REQUIRE_FALSE(party.record.connected[0]);
  CHECK(party.record.connected[0].error().code == ErrorCode::kUnavailable);
}

TEST_CASE("what comes while the socket rests is read when its time has come, though nothing comes after it") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  options.read_every = fleet::Millis(300);
  REQUIRE(party.connect(options));
  REQUIRE(party.subscribe("t"));
  Party other;
  REQUIRE(other.connect(options_for(broker.url(), "b")));
  REQUIRE(other.client->publish("t", "1"));
  REQUIRE(party.until([&] { return party.record.messages.size() == 1; }));
  // the socket has just been read
  REQUIRE(other.client->publish("t", "2"));
  REQUIRE(other.client->publish("t", "3"));
  REQUIRE(other.until([&] { return other.record.published.size() == 3; }));
  REQUIRE(party.until([&] { return party.record.messages.size() == 3; }));
  CHECK(party.record.messages[1].payload == "2");
  CHECK(party.record.messages[2].payload == "3");
}

TEST_CASE("a broker killed in the middle is reported once, and the process lives") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  SUBCASE("read as it comes") {}
  SUBCASE("read some at a time") { options.read_every = fleet::Millis(50); }
  SUBCASE("written together, and read some at a time") {
    options.write_together = true;
    options.read_every = fleet::Millis(50);
  }
  REQUIRE(party.connect(options));
  broker.process().kill();
  // written into the dead connection on purpose
  for (int i = 0; i < 20 && party.client->connected(); ++i) {
    static_cast<void>(party.client->publish("t", Bytes(100'000, 'x')));
  }
  REQUIRE(party.until([&] { return !party.record.disconnected.empty(); }));
  CHECK_FALSE(party.until([&] { return party.record.disconnected.size() > 1; }, 200ms));
  CHECK_FALSE(party.record.disconnected[0]);
  CHECK(party.record.disconnected[0].error().code == ErrorCode::kUnavailable);
  CHECK(party.record.connected.size() == 1);
  const auto publish = party.client->publish("t", "x");
  REQUIRE_FALSE(publish);
  CHECK(publish.error().code == ErrorCode::kUnavailable);
  CHECK_FALSE(party.client->subscribe("t"));
}

TEST_CASE("a broker that stops answering is noticed by the keep-alive") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  options.keep_alive = Seconds(5);
  SUBCASE("written at once") {}
  SUBCASE("written together, and read some at a time") {
    options.write_together = true;
    options.read_every = fleet::Millis(10);
  }
  REQUIRE(party.connect(options));
  broker.process().signal(SIGSTOP);
  REQUIRE(party.until([&] { return party.record.disconnected.size() == 1; }, 20s));
  CHECK_FALSE(party.record.disconnected[0]);
  broker.process().signal(SIGCONT);
}

TEST_CASE("the keep-alive holds an idle connection") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  options.keep_alive = Seconds(5);
  SUBCASE("written at once") {}
  SUBCASE("written together, and read some at a time") {
    options.write_together = true;
    options.read_every = fleet::Millis(10);
  }
  REQUIRE(party.connect(options));
  CHECK_FALSE(party.until([&] { return !party.record.disconnected.empty(); }, 12s));
  CHECK(party.client->connected());
}

TEST_CASE("2,000 publishes with QoS 1 are all acknowledged and all delivered") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  SUBCASE("read as they come") {}
  SUBCASE("read some at a time") { options.read_every = fleet::Millis(10); }
  SUBCASE("written together") { options.write_together = true; }
  SUBCASE("written together, and read some at a time") {
    options.write_together = true;
    options.read_every = fleet::Millis(10);
  }
  REQUIRE(party.connect(options));
  REQUIRE(party.subscribe("n/#"));
  std::set<int> ids;
  for (int i = 0; i < 2000; ++i) {
    const auto id = party.client->publish("n/" + std::to_string(i), std::to_string(i));
    REQUIRE(id);
    ids.insert(*id);
  }
  CHECK(ids.size() == 2000);
  REQUIRE(
      party.until([&] { return party.record.published.size() >= 2000 && party.record.messages.size() >= 2000; }, 30s));
  CHECK(std::set<int>(party.record.published.begin(), party.record.published.end()) == ids);
  CHECK(party.record.published.size() == 2000);
  for (std::size_t i = 0; i < 2000; ++i) CHECK(party.record.messages[i].payload == std::to_string(i));
}

TEST_CASE("QoS 0 is delivered and not reported as published") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  REQUIRE(party.connect(options_for(broker.url(), "a")));
  REQUIRE(party.subscribe("t"));
  REQUIRE(party.client->publish("t", "", 0));
  REQUIRE(party.until([&] { return party.record.messages.size() == 1; }));
  CHECK(party.record.messages[0].payload.empty());
  CHECK(party.record.published.empty());
}

TEST_CASE("messages of 900 KiB pass in both directions") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  ConnectOptions options = options_for(broker.url(), "a");
  SUBCASE("written at once") {}
  SUBCASE("written together") { options.write_together = true; }
  SUBCASE("written together, and read some at a time") {
    options.write_together = true;
    options.read_every = fleet::Millis(10);
  }
  REQUIRE(party.connect(std::move(options)));
  REQUIRE(party.subscribe("t"));
  Bytes payload(900 * 1024, '\0');
  for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(i * 31 >> 3);
  for (int i = 0; i < 5; ++i) REQUIRE(party.client->publish("t", payload));
  REQUIRE(party.until([&] { return party.record.messages.size() == 5 && party.record.published.size() == 5; }, 20s));
  for (const auto& message : party.record.messages) CHECK((message.payload == payload));
}

TEST_CASE("a refused subscription is told as such") {
  SilentServer server;
  server.play({Bytes("\x20\x02\x00\x00", 4), Bytes("\x90\x03\x00\x01\x80", 5)});
  Party party;
  REQUIRE(party.connect(options_for(server.url(), "a")));
  CHECK_FALSE(party.subscribe("other"));
  REQUIRE(party.record.subscribed.size() == 1);
  CHECK_FALSE(party.record.subscribed[0].second);
}

TEST_CASE("each CONNACK code has its meaning") {
  const auto answer_to = [](char code) {
    SilentServer server;
    server.play({Bytes("\x20\x02\x00", 3) + code});
    Party party;
    const auto result = party.connect(options_for(server.url(), "a"));
    CHECK_FALSE(result);
    CHECK(party.record.disconnected.empty());
    return result ? ErrorCode::kInternal : result.error().code;
  };
  CHECK(answer_to(1) == ErrorCode::kUnavailable);
  CHECK(answer_to(2) == ErrorCode::kUnavailable);
  CHECK(answer_to(3) == ErrorCode::kUnavailable);
  CHECK(answer_to(4) == ErrorCode::kUnauthenticated);
  CHECK(answer_to(5) == ErrorCode::kUnauthenticated);
  CHECK(answer_to(77) == ErrorCode::kUnavailable);
}

TEST_CASE("a peer that does not keep to MQTT neither confuses nor crashes the client") {
  const Bytes connack("\x20\x02\x00\x00", 4);
  const Bytes publish("\x30\x04\x00\x01tx", 6);
  const auto hear = [](const Bytes& bytes) {
    auto party = std::make_unique<Party>();
    SilentServer server;
    server.play({bytes});
    CHECK(party->client->connect(options_for(server.url(), "a")));
    party->until([&] { return !party->record.connected.empty() && !party->record.disconnected.empty(); }, 300ms);
    CHECK(party->record.connected.size() <= 1);
    return party;
  };
  SUBCASE("speaks before CONNACK") {
    const auto party = hear(publish + connack + publish);
    CHECK(party->record.messages.empty());
    CHECK_FALSE(party->client->connected());
  }
  SUBCASE("says CONNACK twice") {
    CHECK(hear(connack + connack)->record.connected.size() == 1);
  }
  SUBCASE("speaks HTTP") {
    CHECK_FALSE(hear("HTTP/1.1 400 Bad Request\r\n\r\n")->client->connected());
  }
  SUBCASE("acknowledges what was never sent") {
    CHECK(hear(connack + Bytes("\x40\x02\x12\x34", 4))->record.published.empty());
  }
  SUBCASE("sends a length that never ends") {
    CHECK_FALSE(hear(connack + "\x30\xff\xff\xff\xff\xff")->client->connected());
  }
  SUBCASE("sends a topic longer than its packet") {
    CHECK(hear(connack + Bytes("\x30\x04\xff\xfftx", 6))->record.messages.empty());
  }
}

TEST_CASE("a persistent session is found again and brings what came meanwhile") {
  const TempFolder folder;
  Broker broker(folder);
  Party away, sender;
  ConnectOptions options = options_for(broker.url(), "away");
  options.clean_session = false;
  REQUIRE(away.connect(options));
  REQUIRE(away.subscribe("t"));
  away.client->disconnect();
  REQUIRE(away.until([&] { return away.record.disconnected.size() == 1; }));
  REQUIRE(sender.connect(options_for(broker.url(), "sender")));
  REQUIRE(sender.client->publish("t", "kept"));
  REQUIRE(sender.until([&] { return sender.record.published.size() == 1; }));
  const auto again = away.connect(options);
  REQUIRE(again);
  CHECK(*again);
  REQUIRE(away.until([&] { return away.record.messages.size() == 1; }));
  CHECK(away.record.messages[0].payload == "kept");
}

TEST_CASE("the will is published when the client vanishes, and not after disconnect()") {
  const TempFolder folder;
  Broker broker(folder);
  Party watcher;
  REQUIRE(watcher.connect(options_for(broker.url(), "watcher")));
  REQUIRE(watcher.subscribe("will"));
  ConnectOptions options = options_for(broker.url(), "mortal");
  options.will = fleet::mqtt::Will{"will", Bytes("\0gone", 5)};
  {
    Party mortal;
    REQUIRE(mortal.connect(options));
    mortal.client->disconnect();
    REQUIRE(mortal.until([&] { return mortal.record.disconnected.size() == 1; }));
  }
  CHECK_FALSE(watcher.until([&] { return !watcher.record.messages.empty(); }, 200ms));
  {
    Party mortal;
    REQUIRE(mortal.connect(options));
  }
  REQUIRE(watcher.until([&] { return watcher.record.messages.size() == 1; }));
  CHECK(watcher.record.messages[0].payload == Bytes("\0gone", 5));
}

TEST_CASE("options that cannot work are refused before anything happens") {
  Party party;
  const BrokerUrl url{BrokerUrl::Scheme::kMqtt, "127.0.0.1", 1};
  const auto refused = [&](ConnectOptions options) {
    const auto result = party.client->connect(std::move(options));
    return !result && result.error().code == ErrorCode::kInvalidArgument;
  };
  ConnectOptions options = options_for(url, "");
  CHECK(refused(options));
  options = options_for({BrokerUrl::Scheme::kMqtts, "h", 1}, "a");  // without a TLS context
  CHECK(refused(options));
  options = options_for(url, "a");
  options.password = Secret("p");
  CHECK(refused(options));
  options.username = "u";
  options.password = Secret(std::string("p\0q", 3));
  CHECK(refused(options));
  options = options_for(url, "a");
  options.keep_alive = Seconds(4);
  CHECK(refused(options));
  options = options_for(url, std::string("a\0b", 3));
  CHECK(refused(options));
  options = options_for(url, "a");
  for (const char* topic : {"", "a/#", "a/+", "a\nb", "\xff"}) {
    options.will = fleet::mqtt::Will{topic, "gone"};
    CHECK(refused(options));
  }
  options.will = fleet::mqtt::Will{"a", Bytes(65536, 'x')};
  CHECK(refused(options));
  options.will = fleet::mqtt::Will{"a", "gone", 3};
  CHECK(refused(options));
  CHECK_FALSE(party.until([&] { return !party.record.connected.empty(); }, 50ms));
}

TEST_CASE("topics that MQTT does not allow are refused and leave the connection alone") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  REQUIRE(party.connect(options_for(broker.url(), "a")));
  for (const std::string& topic : {std::string("a/#"), std::string("a/+"), std::string(""), std::string("\xff\xfe"),
                                   std::string("a\0b", 3), std::string(70'000, 'a')}) {
    const auto result = party.client->publish(topic, "x");
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::kInvalidArgument);
  }
  CHECK_FALSE(party.client->subscribe("a/#/b"));
  CHECK_FALSE(party.client->publish("t", "x", 2));
  CHECK(party.client->connected());
  REQUIRE(party.client->publish("t", "x"));
  CHECK(party.until([&] { return party.record.published.size() == 1; }));
}
