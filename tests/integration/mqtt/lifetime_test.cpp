// Clients that go at awkward moments, many clients, and clients that have nothing to do.
#include <chrono>
#include <csignal>
#include <filesystem>

#include <doctest/doctest.h>

#include "tests/integration/mqtt/fixture.hpp"

using namespace std::chrono_literals;
using fleet::ErrorCode;
using fleet::Result;
using fleet::mqtt::BrokerUrl;
using fleet::mqtt::Client;
using fleet::mqtt::ConnectOptions;
using fleet::mqtt::Handlers;
using fleet::mqtt::Message;
using fleet::test::Broker;
using fleet::test::options_for;
using fleet::test::Party;
using fleet::test::Record;
using fleet::test::recording;
using fleet::test::run_until;
using fleet::test::SilentServer;
using fleet::test::TempFolder;

namespace {

std::size_t open_files() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace

TEST_CASE("a client may be destroyed inside each of its handlers") {
  const TempFolder folder;
  Broker broker(folder);
  Party sender;
  REQUIRE(sender.connect(options_for(broker.url(), "sender")));
  ConnectOptions options = options_for(broker.url(), "a");
  SUBCASE("written and read at once") {}
  SUBCASE("written together, and read some at a time") {
    options.write_together = true;
    options.read_every = fleet::Millis(5);
  }
  for (const std::string when : {"connect", "subscribed", "message", "published", "disconnect", "failed"}) {
    CAPTURE(when);
    boost::asio::io_context io;
    std::unique_ptr<Client> client;
    int calls_after = 0;
    bool gone = false;
    const auto at = [&](const std::string& moment) {
      if (gone) ++calls_after;
      if (moment == when) {
        client.reset();
        gone = true;
      }
      return gone;
    };
    Handlers handlers;
    handlers.on_connect = [&](Result<bool> result) {
      if (at(result ? "connect" : "failed")) return;
      static_cast<void>(client->subscribe("t"));
    };
    handlers.on_subscribed = [&](int, bool) {
      if (at("subscribed")) return;
      for (int i = 0; i < 10; ++i) static_cast<void>(client->publish("t", "x"));
    };
    handlers.on_message = [&](const Message&) { at("message"); };
    handlers.on_published = [&](int) {
      if (at("published") || when != "disconnect") return;
      client->disconnect();
    };
    handlers.on_disconnect = [&](Result<void>) { at("disconnect"); };
    client = std::make_unique<Client>(io, handlers);
    options.url = broker.url();
    if (when == "failed") options.url.port = fleet::test::free_port();
    REQUIRE(client->connect(options));
    REQUIRE(run_until(io, [&] { return gone; }));
    io.restart();
    io.run_for(50ms);
    CHECK(calls_after == 0);
    io.restart();
    CHECK(io.poll() == 0);
    CHECK(io.stopped());  // nothing of it is left waiting
  }
}

TEST_CASE("a client may be destroyed while its host name is being resolved") {
  boost::asio::io_context io;
  bool called = false;
  for (int i = 0; i < 50; ++i) {
    Handlers handlers;
    handlers.on_connect = [&](Result<bool>) { called = true; };
    Client client(io, handlers);
    REQUIRE(client.connect(
        options_for({BrokerUrl::Scheme::kMqtt, i % 2 == 0 ? "no-such-host.invalid" : "localhost", 1}, "a")));
  }
  io.run_for(300ms);
  CHECK_FALSE(called);
}

TEST_CASE("an io_context may end right after a client that was resolving") {
  for (int i = 0; i < 50; ++i) {
    boost::asio::io_context io;
    Client client(io, {});
    REQUIRE(client.connect(options_for({BrokerUrl::Scheme::kMqtt, "no-such-host.invalid", 1}, "a")));
  }
}

TEST_CASE("a client may be destroyed at any step of its connection") {
  const TempFolder folder;
  Broker broker(folder);
  const std::size_t files = open_files();
  for (int steps = 0; steps < 12; ++steps) {
    boost::asio::io_context io;
    Record record;
    auto client = std::make_unique<Client>(io, recording(record));
    REQUIRE(client->connect(options_for(broker.url(), "a")));
    for (int i = 0; i < steps; ++i) io.run_one_for(5ms);
    const std::size_t told = record.connected.size();
    client.reset();
    io.restart();
    io.run_for(20ms);
    CHECK(record.connected.size() == told);
  }
  CHECK(open_files() == files);
}

TEST_CASE("nothing is told from inside a call") {
  Party party;
  REQUIRE(party.client->connect(options_for({BrokerUrl::Scheme::kUnix, "/nonexistent", 0}, "a")));
  CHECK(party.record.connected.empty());
  REQUIRE(party.until([&] { return party.record.connected.size() == 1; }));
}

TEST_CASE("connect() during an attempt or a connection replaces it without a word about the old one") {
  const TempFolder folder;
  Broker broker(folder);
  SilentServer silent;
  Party party;
  REQUIRE(party.client->connect(options_for({BrokerUrl::Scheme::kMqtt, "127.0.0.1", silent.port()}, "a")));
  party.io.run_for(50ms);
  REQUIRE(party.connect(options_for(broker.url(), "a")));
  CHECK(party.record.connected.size() == 1);
  REQUIRE(party.connect(options_for(broker.url(), "b")));
  CHECK(party.record.connected.size() == 2);
  CHECK_FALSE(party.until([&] { return party.record.connected.size() > 2; }, 200ms));
  CHECK(party.record.disconnected.empty());
}

TEST_CASE("connect() from inside on_disconnect works") {
  const TempFolder folder;
  Broker broker(folder);
  boost::asio::io_context io;
  int connections = 0;
  std::unique_ptr<Client> client;
  Handlers handlers;
  handlers.on_connect = [&](Result<bool> result) {
    REQUIRE(result);
    if (++connections < 5) client->disconnect();
  };
  handlers.on_disconnect = [&](Result<void>) { REQUIRE(client->connect(options_for(broker.url(), "a"))); };
  client = std::make_unique<Client>(io, handlers);
  REQUIRE(client->connect(options_for(broker.url(), "a")));
  CHECK(run_until(io, [&] { return connections == 5; }));
}

TEST_CASE("disconnect() during an attempt ends it with one on_connect") {
  SilentServer silent;
  for (const char* host : {"127.0.0.1", "localhost"}) {
    Party party;
    REQUIRE(party.client->connect(options_for({BrokerUrl::Scheme::kMqtt, host, silent.port()}, "a")));
    party.client->disconnect();
    CHECK(party.record.connected.empty());
    REQUIRE(party.until([&] { return !party.record.connected.empty(); }));
    CHECK_FALSE(party.until([&] { return party.record.connected.size() > 1; }, 100ms));
    REQUIRE_FALSE(party.record.connected[0]);
    CHECK(party.record.connected[0].error().code == ErrorCode::kUnavailable);
    CHECK(party.record.disconnected.empty());
  }
}

TEST_CASE("200 clients live in one io_context and all hear a message") {
  const TempFolder folder;
  Broker broker(folder);
  const std::size_t files = open_files();
  {
    boost::asio::io_context io;
    std::size_t connected = 0, subscribed = 0, heard = 0;
    std::vector<std::unique_ptr<Client>> clients;
    for (std::size_t i = 0; i < 200; ++i) {
      Handlers handlers;
      handlers.on_connect = [&, i](Result<bool> result) {
        REQUIRE(result);
        ++connected;
        REQUIRE(clients[i]->subscribe("all"));
      };
      handlers.on_subscribed = [&](int, bool accepted) { subscribed += accepted ? 1U : 0U; };
      handlers.on_message = [&](const Message&) { ++heard; };
      clients.push_back(std::make_unique<Client>(io, handlers));
      REQUIRE(clients.back()->connect(
          options_for(broker.url(BrokerUrl::Scheme::kMqtt, "localhost"), "c" + std::to_string(i))));
    }
    REQUIRE(run_until(
        io, [&] { return subscribed == 200; }, 20s));
    CHECK(connected == 200);
    REQUIRE(clients[0]->publish("all", "x"));
    REQUIRE(run_until(io, [&] { return heard == 200; }));
  }
  CHECK(open_files() == files);
}

TEST_CASE("an idle connection wakes the process at most once a second") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  REQUIRE(party.connect(options_for(broker.url(), "a")));
  REQUIRE(party.subscribe("t"));
  REQUIRE(party.client->publish("t", "x"));
  REQUIRE(party.until([&] { return party.record.published.size() == 1 && party.record.messages.size() == 1; }));
  std::size_t handlers = 0;
  const auto end = std::chrono::steady_clock::now() + 3s;
  while (std::chrono::steady_clock::now() < end) handlers += party.io.run_one_for(100ms);
  CHECK(handlers <= 4);
  CHECK(party.client->connected());
}

TEST_CASE("SIGPIPE cannot end a process that has a client") {
  const TempFolder folder;
  Broker broker(folder);
  Party party;
  REQUIRE(party.connect(options_for(broker.url(), "a")));
  struct sigaction action {};
  REQUIRE(::sigaction(SIGPIPE, nullptr, &action) == 0);
  CHECK((action.sa_handler == SIG_IGN));
}
