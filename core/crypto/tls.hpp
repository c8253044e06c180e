// TLS policy: TLS 1.2 or newer, peers always verified.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
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

// For a context that another library has made and that verifies peers (libcurl): `roots` are trusted beside those that it
// has, and the peer's certificate is judged at `when`, which may be earlier than the true time, as with
// clock_may_be_behind.
Result<void> add_trust(ssl_ctx_st* context, const std::vector<Certificate>& roots, WallTime when);

// Why the last handshake on this thread refused the peer's certificate ("certificate 'CN': certificate has expired")
// and what OpenSSL's error queue of this thread holds, for a log or an Error; forgets both. "" if nothing.
std::string take_openssl_errors();

}  // namespace fleet::crypto
