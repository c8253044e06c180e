// Verification of chains of trust.
#include <openssl/x509_vfy.h>

#include "core/crypto/certificate.hpp"
#include "core/crypto/openssl.hpp"
#include "core/crypto/proven_chains.hpp"

namespace fleet::crypto {
namespace {

constexpr int kMaxIntermediates = 8;
constexpr int kSecurityLevel = 2;  // 112 bits: RSA 2048, SHA-256

using StoreHandle = Handle<X509_STORE, X509_STORE_free>;
using StoreContextHandle = Handle<X509_STORE_CTX, X509_STORE_CTX_free>;
using StackHandle = Handle<STACK_OF(X509), [](STACK_OF(X509) * stack) { sk_X509_free(stack); }>;

// One verdict of OpenSSL.
struct Verdict {
  int error = X509_V_OK;
  std::string certificate;  // CN of the one that it is about
};

bool is_about_time(int error) {
  return error == X509_V_ERR_CERT_NOT_YET_VALID || error == X509_V_ERR_CERT_HAS_EXPIRED;
}

Failure refused(const Verdict& verdict) {
  const auto code = is_about_time(verdict.error) ? ErrorCode::kExpired : ErrorCode::kUnauthenticated;
  return fail(code, "certificate '{}': {}", verdict.certificate, X509_verify_cert_error_string(verdict.error));
}

// OpenSSL takes some old certificates without basicConstraints for CAs; we do not.
Verdict check_issuers(const StoreContextHandle& context) {
  STACK_OF(X509)* chain = X509_STORE_CTX_get0_chain(context.get());
  for (int i = 1; i < sk_X509_num(chain); ++i) {
    X509* issuer = sk_X509_value(chain, i);
    if (X509_check_ca(issuer) != 1) return {X509_V_ERR_INVALID_CA, common_name(X509_get_subject_name(issuer))};
  }
  return {};
}

Result<Verdict> verify_once(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots, WallTime when,
                            unsigned long flags) {
  const StoreHandle store(X509_STORE_new());
  const StackHandle untrusted(sk_X509_new_null());
  const StoreContextHandle context(X509_STORE_CTX_new());
  if (!store || !untrusted || !context) return internal_failure("chain");
  for (const Certificate& root : roots) {
    if (X509_STORE_add_cert(store.get(), root.native()) != 1) return internal_failure("chain");
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (sk_X509_push(untrusted.get(), chain[i].native()) <= 0) return internal_failure("chain");
  }
  if (X509_STORE_CTX_init(context.get(), store.get(), chain.front().native(), untrusted.get()) != 1) {
    return internal_failure("chain");
  }
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_time(param, std::chrono::floor<Seconds>(when).time_since_epoch().count());
  X509_VERIFY_PARAM_set_depth(param, kMaxIntermediates);
  X509_VERIFY_PARAM_set_auth_level(param, kSecurityLevel);
  // not X509_V_FLAG_X509_STRICT: it demands key identifiers, which other makers of chains leave out
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN | flags);
  if (X509_verify_cert(context.get()) == 1) return check_issuers(context);
  X509* culprit = X509_STORE_CTX_get_current_cert(context.get());
  if (culprit == nullptr) culprit = chain.front().native();
  return Verdict{X509_STORE_CTX_get_error(context.get()), common_name(X509_get_subject_name(culprit))};
}

ProvenChains& proven_chains() {
  static ProvenChains chains;
  return chains;
}

Result<void> check_signed_by(const Certificate& certificate, const Certificate& issuer) {
  const int related = X509_check_issued(issuer.native(), certificate.native());
  if (related != X509_V_OK) return refused({related, certificate.subject_cn()});
  if (X509_verify(certificate.native(), X509_get0_pubkey(issuer.native())) != 1) {
    return refused({X509_V_ERR_CERT_SIGNATURE_FAILURE, certificate.subject_cn()});
  }
  return {};
}

}  // namespace

Result<void> verify_chain(const std::vector<Certificate>& chain, const std::vector<Certificate>& roots, WallTime when) {
  const ErrorGuard guard;
  if (chain.empty()) return fail(ErrorCode::kUnauthenticated, "chain: empty");
  if (proven_chains().covers(chain, roots, when)) return {};
  TRY_ASSIGN(Verdict verdict, verify_once(chain, roots, when, 0));
  if (is_about_time(verdict.error)) {
    // kExpired promises that nothing else is wrong
    TRY_ASSIGN(const Verdict timeless, verify_once(chain, roots, when, X509_V_FLAG_NO_CHECK_TIME));
    if (timeless.error != X509_V_OK) verdict = timeless;
  }
  if (verdict.error != X509_V_OK) return refused(verdict);
  proven_chains().keep(chain, roots);
  return {};
}

Result<void> verify_chain_unanchored(const std::vector<Certificate>& chain, WallTime when) {
  const ErrorGuard guard;
  if (chain.empty()) return fail(ErrorCode::kUnauthenticated, "chain: empty");
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) TRY(check_signed_by(chain[i], chain[i + 1]));
  return verify_chain(chain, {chain.back()}, when);
}

Result<void> check_command_signing_chain(const std::vector<Certificate>& chain) {
  if (chain.empty()) return fail(ErrorCode::kUnauthenticated, "chain: empty");
  TRY(chain.front().check_command_signing());
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (!chain[i].may_issue_command_signing()) {
      return fail(ErrorCode::kUnauthenticated, "certificate '{}': not a CA for command signing", chain[i].subject_cn());
    }
  }
  return {};
}

}  // namespace fleet::crypto
