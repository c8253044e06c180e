#include "core/crypto/tls.hpp"

#include <utility>

#include <openssl/ssl.h>

#include "core/crypto/openssl.hpp"

namespace fleet::crypto {
namespace {

// Why this thread last refused a peer's certificate: OpenSSL's queue only says "certificate verify failed".
thread_local std::string refusal;

int note_refusal(int accepted, X509_STORE_CTX* context) noexcept {
  try {
    if (accepted == 1) {
      refusal.clear();
    } else {
      const X509* certificate = X509_STORE_CTX_get_current_cert(context);
      refusal = fmt::format("certificate '{}': {}",
                            certificate != nullptr ? common_name(X509_get_subject_name(certificate)) : "",
                            X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
    }
  } catch (...) {
    // no memory for the reason; the verdict stands
  }
  return accepted;
}

int note_refusal_if_clock_may_be_behind(int accepted, X509_STORE_CTX* context) noexcept {
  if (accepted == 0 && X509_STORE_CTX_get_error(context) == X509_V_ERR_CERT_NOT_YET_VALID) {
    X509_STORE_CTX_set_error(context, X509_V_OK);
    accepted = 1;
  }
  return note_refusal(accepted, context);
}

Failure tls_failure(std::string_view what) {
  return fail(ErrorCode::kInvalidArgument, "TLS: {}: {}", what, last_reason());
}

Result<void> set_roots(SSL_CTX* context, const std::vector<Certificate>& roots) {
  if (roots.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1) return tls_failure("the system's certificates");
    return {};
  }
  for (const Certificate& root : roots) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root.native()) != 1) return tls_failure("roots");
  }
  return {};
}

// Server name indication (RFC 6066 §3): the name to verify is also the name to ask for. Whoever opens the connection
// may know only an address, and addresses are not sent.
void ask_for_host(const SSL* connection, int where, int) noexcept {
  if ((where & SSL_CB_HANDSHAKE_START) == 0) return;
  SSL* const ssl = const_cast<SSL*>(connection);
  SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
           X509_VERIFY_PARAM_get0_host(SSL_get0_param(ssl), 0));
}

Result<void> set_verification(SSL_CTX* context, const TlsClientSettings& settings) {
  if (settings.host.empty()) return fail(ErrorCode::kInvalidArgument, "TLS: no host name to verify the server by");
  X509_VERIFY_PARAM* param = SSL_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (X509_VERIFY_PARAM_set1_ip_asc(param, settings.host.c_str()) != 1 &&
      X509_VERIFY_PARAM_set1_host(param, settings.host.data(), settings.host.size()) != 1) {
    return tls_failure(settings.host);
  }
  // roots given by hand are trusted as they are, self-signed or not
  if (!settings.roots.empty()) X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  if (settings.verification_time) {
    const auto seconds = std::chrono::floor<Seconds>(*settings.verification_time);
    X509_VERIFY_PARAM_set_time(param, seconds.time_since_epoch().count());
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER,
                     settings.clock_may_be_behind ? note_refusal_if_clock_may_be_behind : note_refusal);
  SSL_CTX_set_info_callback(context, ask_for_host);
  return {};
}

Result<void> set_client_certificate(SSL_CTX* context, const std::vector<Certificate>& chain,
                                    const std::optional<PrivateKey>& key) {
  if (chain.empty() != !key.has_value()) {
    return fail(ErrorCode::kInvalidArgument, "TLS: a client certificate and its key go together");
  }
  if (chain.empty()) return {};
  if (SSL_CTX_use_certificate(context, chain.front().native()) != 1) return tls_failure("client certificate");
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].native()) != 1) return tls_failure("client chain");
  }
  if (SSL_CTX_use_PrivateKey(context, key->native()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return tls_failure("the client key does not fit the client certificate");
  }
  return {};
}

}  // namespace

Result<TlsContext> make_client_context(const TlsClientSettings& settings) {
  const ErrorGuard guard;
  TlsContext context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) return internal_failure("TLS");
  // thousands of connections can share a process: idle ones need no buffers
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  TRY(set_roots(context.get(), settings.roots));
  TRY(set_verification(context.get(), settings));
  TRY(set_client_certificate(context.get(), settings.client_chain, settings.client_key));
  return context;
}

Result<TlsContext> make_server_context(const std::string& chain_pem, const Secret& key_pem) {
  const ErrorGuard guard;
  TRY_ASSIGN(const std::vector<Certificate> chain, Certificate::chain_from_pem(chain_pem));
  TRY_ASSIGN(const PrivateKey key, PrivateKey::from_pem(key_pem.reveal()));
  TlsContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) return internal_failure("TLS");
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  if (SSL_CTX_use_certificate(context.get(), chain.front().native()) != 1) return tls_failure("server certificate");
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].native()) != 1) return tls_failure("server chain");
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.native()) != 1 || SSL_CTX_check_private_key(context.get()) != 1) {
    return tls_failure("the server's key does not fit its certificate");
  }
  return context;
}

ssl_ctx_st* share_native(const TlsContext& context) {
  SSL_CTX_up_ref(context.get());
  return context.get();
}

Result<void> add_trust(SSL_CTX* context, const std::vector<Certificate>& roots, WallTime when) {
  const ErrorGuard guard;
  for (const Certificate& root : roots) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), root.native()) != 1) return tls_failure("roots");
  }
  X509_VERIFY_PARAM* param = SSL_CTX_get0_param(context);
  if (!roots.empty()) X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_time(param, std::chrono::floor<Seconds>(when).time_since_epoch().count());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, note_refusal_if_clock_may_be_behind);
  return {};
}

std::string take_openssl_errors() {
  std::string text = std::exchange(refusal, {});
  while (const unsigned long code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    const char* library = ERR_lib_error_string(code);
    if (!text.empty()) text += "; ";
    text += fmt::format("{} ({})", reason != nullptr ? reason : "error", library != nullptr ? library : "OpenSSL");
  }
  return text;
}

}  // namespace fleet::crypto
