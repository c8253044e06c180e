// TLS: what is trusted, what is refused, and that refusals have reasons.
#include "core/crypto/tls.hpp"

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "tests/integration/mqtt/fixture.hpp"

using namespace std::chrono_literals;
using fleet::Bytes;
using fleet::ErrorCode;
using fleet::Seconds;
using fleet::crypto::Certificate;
using fleet::crypto::TlsClientSettings;
using fleet::mqtt::BrokerUrl;
using fleet::mqtt::ConnectOptions;
using fleet::test::Broker;
using fleet::test::options_for;
using fleet::test::Party;
using fleet::test::SilentServer;
using fleet::test::TempFolder;

namespace {

void openssl(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "openssl");
  const auto outcome = fleet::test::run(arguments);
  INFO(outcome.errors);
  REQUIRE(outcome.exit_code == 0);
}

// A CA `name` and, signed by it, `name-leaf` for `alternative_name`.
void make_pki(const TempFolder& folder, const std::string& name, const std::string& alternative_name) {
  const auto file = [&](const std::string& suffix) { return (folder / (name + suffix)).string(); };
  openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
           "/CN=" + name, "-keyout", file(".key"), "-out", file(".crt"), "-addext", "keyUsage=keyCertSign"});
  openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name + "-leaf",
           "-keyout", file("-leaf.key"), "-out", file("-leaf.csr")});
  std::ofstream(file(".ext")) << "subjectAltName=" << alternative_name << "\n";
  openssl({"x509", "-req", "-in", file("-leaf.csr"), "-CA", file(".crt"), "-CAkey", file(".key"), "-CAcreateserial",
           "-days", "2", "-extfile", file(".ext"), "-out", file("-leaf.crt")});
}

std::string tls_listener(const TempFolder& folder, const std::string& name) {
  return fmt::format("allow_anonymous true\ncertfile {0}/{1}-leaf.crt\nkeyfile {0}/{1}-leaf.key\n",
                     folder.path().string(), name);
}

Certificate certificate(const TempFolder& folder, const std::string& name) {
  return *Certificate::from_pem(*fleet::read_file(folder / name));
}

// Trusts the CA that make_pki(folder, "ca", …) made.
TlsClientSettings trusting(const TempFolder& folder, const std::string& host) {
  TlsClientSettings settings;
  settings.roots = {certificate(folder, "ca.crt")};
  settings.host = host;
  return settings;
}

ConnectOptions tls_options(const BrokerUrl& url, const TlsClientSettings& settings) {
  ConnectOptions options = options_for(url, "a");
  options.tls = *fleet::crypto::make_client_context(settings);
  options.explain_tls_failure = fleet::crypto::take_openssl_errors;
  return options;
}

BrokerUrl local(int port, const std::string& host = "localhost") {
  return {BrokerUrl::Scheme::kMqtts, host, port};
}

}  // namespace

TEST_CASE("TLS: a trusted broker with the right name is spoken to, at length") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost,IP:127.0.0.1");
  Broker broker(folder, tls_listener(folder, "ca"));
  for (const std::string host : {"localhost", "127.0.0.1"}) {
    CAPTURE(host);
    Party party;
    auto options = tls_options(local(broker.port(), host), trusting(folder, host));
    options.write_together = host == "localhost";
    const auto connected = party.connect(std::move(options));
    CAPTURE((connected ? "" : connected.error().message));
    REQUIRE(connected);
    REQUIRE(party.subscribe("t"));
    const Bytes payload(900 * 1024, 'x');
    REQUIRE(party.client->publish("t", payload));
    for (int i = 0; i < 2000; ++i) REQUIRE(party.client->publish("t", std::to_string(i)));
    REQUIRE(party.until([&] { return party.record.published.size() == 2001 && party.record.messages.size() == 2001; },
                        30s));
    CHECK((party.record.messages[0].payload == payload));
    CHECK(party.record.messages[2000].payload == "1999");
    party.client->disconnect();
    REQUIRE(party.until([&] { return party.record.disconnected.size() == 1; }));
    CHECK(party.record.disconnected[0]);
  }
}

TEST_CASE("TLS: a broker with a certificate for another name is refused, and the error says so") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:other.example");
  Broker broker(folder, tls_listener(folder, "ca"));
  for (const std::string host : {"localhost", "127.0.0.1"}) {
    CAPTURE(host);
    Party party;
    const auto refused = party.connect(tls_options(local(broker.port(), host), trusting(folder, host)));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::kUnavailable);
    CAPTURE(refused.error().message);
    CHECK(refused.error().message.find("TLS: certificate verify failed") != std::string::npos);
    CHECK(refused.error().message.find("mismatch") != std::string::npos);
    CHECK(party.record.connected.size() == 1);
  }
}

TEST_CASE("TLS: a broker whose CA is not trusted is refused, and the error says so") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost");
  make_pki(folder, "stranger", "DNS:localhost");
  Broker broker(folder, tls_listener(folder, "stranger"));
  Party party;
  const auto refused = party.connect(tls_options(local(broker.port()), trusting(folder, "localhost")));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kUnavailable);
  CAPTURE(refused.error().message);
  CHECK(refused.error().message.find("issuer certificate") != std::string::npos);
}

TEST_CASE("TLS: the name that is asked for is the host name, and an address is not asked for") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost");
  for (const std::string host : {"localhost", "127.0.0.1"}) {
    CAPTURE(host);
    SilentServer server;
    Party party;
    REQUIRE(party.client->connect(tls_options(local(server.port(), host), trusting(folder, host))));
    Bytes hello;
    std::thread reader([&] { hello = server.first_bytes(4096, 5s); });
    REQUIRE(party.until([&] { return party.record.connected.size() == 1; }));
    reader.join();
    REQUIRE(hello.size() > 50);
    CHECK((hello.find("localhost") != std::string::npos) == (host == "localhost"));
    CHECK(hello.find("127.0.0.1") == std::string::npos);
  }
}

TEST_CASE("TLS: a peer that hangs up in the handshake ends the attempt, without a busy loop") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost");
  SilentServer server;
  Party party;
  REQUIRE(party.client->connect(tls_options(local(server.port()), trusting(folder, "localhost"))));
  std::thread closer([&] { server.accept_and_close(); });
  CHECK(party.until([&] { return party.record.connected.size() == 1; }, 3s));
  closer.join();
  REQUIRE_FALSE(party.record.connected.at(0));
  CHECK(party.record.connected[0].error().code == ErrorCode::kUnavailable);
}

TEST_CASE("TLS: a broker that is not there is kUnavailable at once") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost");
  Party party;
  const auto start = std::chrono::steady_clock::now();
  const auto refused =
      party.connect(tls_options(local(fleet::test::free_port(), "127.0.0.1"), trusting(folder, "127.0.0.1")));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kUnavailable);
  CHECK(refused.error().message.find("Connection refused") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - start < 2s);
}

TEST_CASE("TLS: a handshake that is not answered costs no processor time and ends with the timeout") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost");
  SilentServer server;
  Party party;
  ConnectOptions options = tls_options(local(server.port(), "127.0.0.1"), trusting(folder, "127.0.0.1"));
  options.connect_timeout = Seconds(3);
  REQUIRE(party.client->connect(options));
  std::size_t handlers = 0;
  const auto end = std::chrono::steady_clock::now() + 2500ms;
  while (std::chrono::steady_clock::now() < end) handlers += party.io.run_one_for(100ms);
  CHECK(handlers < 10);
  REQUIRE(party.until([&] { return party.record.connected.size() == 1; }, 2s));
  CHECK(party.record.connected[0].error().message.find("did not answer within 3 s") != std::string::npos);
}

TEST_CASE("TLS: a broker that wants a client certificate gets it, and refuses those without") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost");
  make_pki(folder, "devices", "DNS:unused");
  Broker broker(folder, tls_listener(folder, "ca") + "require_certificate true\ncafile " +
                            (folder / "devices.crt").string() + "\n");
  TlsClientSettings settings = trusting(folder, "localhost");
  Party party;
  const auto refused = party.connect(tls_options(local(broker.port()), settings));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kUnavailable);
  CAPTURE(refused.error().message);
  // "alert certificate required", or a guess at it if the broker was faster than its own alert
  CHECK(refused.error().message.find("TLS: ") != std::string::npos);
  CHECK(refused.error().message.find("certificate") != std::string::npos);

  settings.client_chain = {certificate(folder, "devices-leaf.crt")};
  settings.client_key = *fleet::crypto::PrivateKey::from_pem(*fleet::read_file(folder / "devices-leaf.key"));
  CHECK(party.connect(tls_options(local(broker.port()), settings)));
}

TEST_CASE("TLS: a plain broker on a TLS port is refused, and the other way round") {
  const TempFolder plain_folder, tls_folder;
  make_pki(tls_folder, "ca", "DNS:localhost");
  Broker plain(plain_folder);
  Broker secure(tls_folder, tls_listener(tls_folder, "ca"));
  Party party;
  const auto first = party.connect(tls_options(local(plain.port()), trusting(tls_folder, "localhost")));
  REQUIRE_FALSE(first);
  CHECK(first.error().code == ErrorCode::kUnavailable);
  const auto second = party.connect(options_for(secure.url(), "a"));
  REQUIRE_FALSE(second);
  CHECK(second.error().code == ErrorCode::kUnavailable);
}

TEST_CASE("TLS: one context serves 50 clients, again and again") {
  const TempFolder folder;
  make_pki(folder, "ca", "DNS:localhost");
  Broker broker(folder, tls_listener(folder, "ca"));
  const auto context = *fleet::crypto::make_client_context(trusting(folder, "localhost"));
  boost::asio::io_context io;
  for (int round = 0; round < 2; ++round) {
    std::vector<fleet::test::Record> records(50);
    std::vector<std::unique_ptr<fleet::mqtt::Client>> clients;
    std::size_t connected = 0;
    for (std::size_t i = 0; i < records.size(); ++i) {
      auto handlers = fleet::test::recording(records[i]);
      handlers.on_connect = [&connected](fleet::Result<bool> result) { connected += result ? 1U : 0U; };
      clients.push_back(std::make_unique<fleet::mqtt::Client>(io, handlers));
      ConnectOptions options = options_for(local(broker.port()), "c" + std::to_string(i));
      options.tls = context;
      REQUIRE(clients.back()->connect(options));
    }
    CHECK(fleet::test::run_until(
        io, [&] { return connected == records.size(); }, 20s));
  }
  io.restart();
  io.poll();
  CHECK(context.use_count() == 1);
}
