#include "core/crypto/tls.hpp"

#include <memory>
#include <string>

#include <doctest/doctest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "tests/unit/core/crypto/pki.hpp"

namespace fleet::crypto {
namespace {

using test::kDay;
using test::kHour;
using test::make_below;
using test::make_root;
using test::must;
using test::Pki;

using SslHandle = std::unique_ptr<SSL, decltype(&SSL_free)>;

// A server that shows `chain`, asks for a client certificate below `client_root`, and speaks `version` at most.
TlsContext make_server(const Issuer& leaf, const Certificate& intermediate, const Certificate& client_root,
                       int version = TLS1_3_VERSION) {
  TlsContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  SSL_CTX_set_security_level(context.get(), 0);  // so that old versions are refused by the client, not here
  SSL_CTX_set_max_proto_version(context.get(), version);
  SSL_CTX_use_certificate(context.get(), leaf.certificate.native());
  SSL_CTX_add1_chain_cert(context.get(), intermediate.native());
  SSL_CTX_use_PrivateKey(context.get(), leaf.key.native());
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), client_root.native());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

struct Handshake {
  bool done = false;
  long client_verdict = X509_V_OK;
  std::string errors;
  std::string seen_client;  // CN that the server saw
  int version = 0;
};

// Both ends in memory, one thread.
Handshake shake(const TlsContext& client_context, const TlsContext& server_context) {
  const SslHandle client(SSL_new(client_context.get()), SSL_free);
  const SslHandle server(SSL_new(server_context.get()), SSL_free);
  BIO* near = nullptr;
  BIO* far = nullptr;
  BIO_new_bio_pair(&near, 0, &far, 0);
  SSL_set_bio(client.get(), near, near);
  SSL_set_bio(server.get(), far, far);
  SSL_set_connect_state(client.get());
  SSL_set_accept_state(server.get());
  Handshake result;
  for (int round = 0; round < 20; ++round) {
    const int here = SSL_do_handshake(client.get());
    if (here != 1 && SSL_get_error(client.get(), here) != SSL_ERROR_WANT_READ) {
      result.errors = take_openssl_errors();
      break;
    }
    const int there = SSL_do_handshake(server.get());
    if (there != 1 && SSL_get_error(server.get(), there) != SSL_ERROR_WANT_READ) break;
    if (here == 1 && there == 1) {
      result.done = true;
      break;
    }
  }
  result.client_verdict = SSL_get_verify_result(client.get());
  result.version = SSL_version(client.get());
  if (const std::unique_ptr<X509, decltype(&X509_free)> seen(SSL_get1_peer_certificate(server.get()), X509_free);
      seen) {
    const std::shared_ptr<X509> shared(seen.get(), [](X509*) {});
    result.seen_client = Certificate(shared).subject_cn();
  }
  ERR_clear_error();
  return result;
}

TlsClientSettings settings_for(const Pki& pki, std::string host) {
  return {.roots = {pki.root.certificate},
          .host = std::move(host),
          .client_chain = {},
          .client_key = std::nullopt,
          .verification_time = std::nullopt};
}

TEST_CASE("a server with the right name or address and chain is accepted, by TLS 1.3 and 1.2") {
  const Pki pki;
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    const auto server = make_server(pki.server, pki.broker_ca.certificate, pki.root.certificate, version);
    for (const std::string& host : {std::string("localhost"), std::string("127.0.0.1")}) {
      const auto result = shake(must(make_client_context(settings_for(pki, host))), server);
      CHECK(result.done);
      CHECK(result.version == version);
      CHECK(result.errors.empty());
    }
  }
}

TEST_CASE("another name, root, purpose or time is refused, and the reason can be read") {
  const Pki pki;
  const auto server = make_server(pki.server, pki.broker_ca.certificate, pki.root.certificate);
  const auto refused = [&](const TlsClientSettings& settings, const TlsContext& by, std::string_view reason) {
    const auto result = shake(must(make_client_context(settings)), by);
    CAPTURE(result.errors);
    CHECK_FALSE(result.done);
    CHECK(result.errors.find(reason) != std::string::npos);
    CHECK(result.errors.find("certificate verify failed") != std::string::npos);
  };
  refused(settings_for(pki, "elsewhere"), server, "'localhost': hostname mismatch");
  refused(settings_for(pki, "127.0.0.2"), server, "'localhost': IP address mismatch");
  auto stranger = settings_for(pki, "localhost");
  stranger.roots = {make_root("Other", pki.now).certificate};
  refused(stranger, server, "unable to get");
  auto system = settings_for(pki, "localhost");
  system.roots.clear();
  refused(system, server, "certificate");
  auto late = settings_for(pki, "localhost");
  late.verification_time = pki.now + 400 * kDay;
  refused(late, server, "certificate has expired");
  auto early = settings_for(pki, "localhost");
  early.verification_time = WallTime{};
  refused(early, server, "not yet valid");
  // a device that plays broker: its certificate has no serverAuth
  const auto impostor = make_server(pki.device, pki.device_ca.certificate, pki.root.certificate);
  refused(settings_for(pki, "02FC00000001"), impostor, "certificate");
  CHECK(take_openssl_errors().empty());
}

TEST_CASE("TLS 1.1 is refused") {
  const Pki pki;
  const auto server = make_server(pki.server, pki.broker_ca.certificate, pki.root.certificate, TLS1_1_VERSION);
  CHECK_FALSE(shake(must(make_client_context(settings_for(pki, "localhost"))), server).done);
}

TEST_CASE("the broker CA alone is root enough, and a verification time can stand in for a wrong clock") {
  const Pki pki;
  const auto server = make_server(pki.server, pki.broker_ca.certificate, pki.root.certificate);
  auto by_broker_ca = settings_for(pki, "localhost");
  by_broker_ca.roots = {pki.broker_ca.certificate};
  by_broker_ca.verification_time = pki.now + 10 * kDay;
  CHECK(shake(must(make_client_context(by_broker_ca)), server).done);
}

TEST_CASE("a clock that may be behind takes a certificate from its future, but no expired one and no stranger's") {
  const Pki pki;
  const auto server = make_server(pki.server, pki.broker_ca.certificate, pki.root.certificate);
  auto settings = settings_for(pki, "localhost");
  settings.clock_may_be_behind = true;
  settings.verification_time = WallTime{};
  const auto result = shake(must(make_client_context(settings)), server);
  CHECK(result.done);
  CHECK(result.client_verdict == X509_V_OK);
  CHECK(result.errors.empty());

  settings.verification_time = pki.now + 400 * kDay;
  CHECK(shake(must(make_client_context(settings)), server).errors.find("certificate has expired") != std::string::npos);
  settings.verification_time = WallTime{};
  settings.roots = {make_root("Other", pki.now).certificate};
  CHECK_FALSE(shake(must(make_client_context(settings)), server).done);
  settings.roots = {pki.root.certificate};
  settings.host = "elsewhere";
  CHECK(shake(must(make_client_context(settings)), server).errors.find("hostname mismatch") != std::string::npos);
}

TEST_CASE("the client certificate is shown with its chain") {
  const Pki pki;
  const auto server = make_server(pki.server, pki.broker_ca.certificate, pki.root.certificate);
  auto settings = settings_for(pki, "localhost");
  settings.client_chain = {pki.device.certificate, pki.device_ca.certificate};
  settings.client_key = pki.device.key;
  const auto result = shake(must(make_client_context(settings)), server);
  CHECK(result.done);
  CHECK(result.seen_client == "02FC00000001");
}

TEST_CASE("settings that cannot work are refused when the context is made") {
  const Pki pki;
  const auto code = [](const TlsClientSettings& settings) { return make_client_context(settings).error().code; };
  auto keyless = settings_for(pki, "localhost");
  keyless.client_chain = {pki.device.certificate};
  CHECK(code(keyless) == ErrorCode::kInvalidArgument);
  auto chainless = settings_for(pki, "localhost");
  chainless.client_key = pki.device.key;
  CHECK(code(chainless) == ErrorCode::kInvalidArgument);
  auto misfit = keyless;
  misfit.client_key = pki.signing.key;
  CHECK(code(misfit) == ErrorCode::kInvalidArgument);
  CHECK(code(settings_for(pki, "")) == ErrorCode::kInvalidArgument);
  CHECK(code(settings_for(pki, std::string("a\0b", 3))) == ErrorCode::kInvalidArgument);
  CHECK(take_openssl_errors().empty());
}

}  // namespace
}  // namespace fleet::crypto
