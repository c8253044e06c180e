// TLS policy: TLS 1.2 or newer, peers always verified.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"

struct ssl_ctx_st;

namespace fleet::crypto {

struct TlsClientSettings {
  std::vector<Certificate> roots;             // empty: the system's store (/etc/ssl/certs)
  std::string host;                           // DNS name or IP address that the server's certificate must have
  std::vector<Certificate> client_chain;      // leaf first; empty: no client certificate
  std::optional<PrivateKey> client_key;       // required with client_chain, and must fit its leaf
  std::optional<WallTime> verification_time;  // default: now
  // The verification time is only known to be no later than the true one: a certificate whose time has not come yet then
  // shows that the clock is behind, and is accepted. Expired ones never are.
  bool clock_may_be_behind = false;
};

// An SSL_CTX shared by any number of connections and threads: verification on, host name checked, TLS 1.2+. The roots
// need not be self-signed. kInvalidArgument if host, chain or key cannot be used.
using TlsContext = std::shared_ptr<ssl_ctx_st>;
Result<TlsContext> make_client_context(const TlsClientSettings& settings);

// An SSL_CTX for a server that asks for no client certificates: TLS 1.2+. `chain_pem`: leaf first. kMalformed or
// kInvalidArgument if chain and key cannot be used together.
Result<TlsContext> make_server_context(const std::string& chain_pem, const Secret& key_pem);

// One more reference to the context, for a library that frees the SSL_CTX* that it is given.
ssl_ctx_st* share_native(const TlsContext& context);

// For a context that another library has made and that verifies peers (libcurl): `roots` are trusted beside those that it
// has, and the peer's certificate is judged at `when`, which may be earlier than the true time, as with
// clock_may_be_behind.
Result<void> add_trust(ssl_ctx_st* context, const std::vector<Certificate>& roots, WallTime when);

// Why the last handshake on this thread refused the peer's certificate ("certificate 'CN': certificate has expired")
// and what OpenSSL's error queue of this thread holds, for a log or an Error; forgets both. "" if nothing.
std::string take_openssl_errors();

}  // namespace fleet::crypto
