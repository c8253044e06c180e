#include "agent/runtime/trust.hpp"

#include "core/base/file.hpp"

namespace fleet::agent {
namespace {

constexpr std::size_t kMaxRoots = 500;  // a whole system's bundle may be given

Result<std::vector<crypto::Certificate>> load(std::string_view setting, const std::filesystem::path& file) {
  if (file.empty()) return std::vector<crypto::Certificate>();
  TRY_ASSIGN(const Bytes pem, read_file(file));
  auto certificates = crypto::Certificate::chain_from_pem(pem, kMaxRoots);
  if (certificates) return certificates;
  return fail(ErrorCode::kInvalidArgument, "{}: {}: {}", setting, file.string(), certificates.error().message);
}

bool is_tls(const mqtt::BrokerUrl& url) {
  return url.scheme == mqtt::BrokerUrl::Scheme::kMqtts;
}

}  // namespace

WallTime build_time() {
  return WallTime(Seconds(FLEET_BUILD_SECONDS));
}

Result<Trust> load_trust(const Settings& settings) {
  Trust trust;
  TRY_ASSIGN(trust.broker_roots, load("broker-ca-file", settings.broker_ca_file));
  TRY_ASSIGN(trust.platform_roots, load("platform-root-file", settings.platform_root_file));
  if (trust.broker_roots.empty()) trust.broker_roots = trust.platform_roots;
  if (trust.platform_roots.empty()) trust.platform_roots = trust.broker_roots;
  return trust;
}

Result<crypto::TlsContext> provision_tls(const mqtt::BrokerUrl& url, const Trust& trust, WallTime when) {
  if (!is_tls(url)) return crypto::TlsContext();
  crypto::TlsClientSettings tls;
  tls.roots = trust.broker_roots;
  tls.host = url.host;
  tls.verification_time = when;
  tls.clock_may_be_behind = true;
  return crypto::make_client_context(tls);
}

Result<crypto::TlsContext> owner_tls(const OwnerConnection& owner, const Trust& trust, WallTime when) {
  if (!is_tls(owner.broker_url)) return crypto::TlsContext();
  crypto::TlsClientSettings tls;
  tls.roots = owner.roots.empty() ? trust.broker_roots : owner.roots;
  tls.host = owner.broker_url.host;
  tls.client_chain = owner.chain;
  tls.client_key = owner.key;
  tls.verification_time = when;
  tls.clock_may_be_behind = true;
  return crypto::make_client_context(tls);
}

}  // namespace fleet::agent
