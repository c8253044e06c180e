#include <optional>

#include "provisioner/ca/pki.hpp"
#include "provisioner/ca/pki_files.hpp"

namespace fleet::provisioner {
namespace fs = std::filesystem;

namespace {

using crypto::Certificate;
using crypto::Issuer;
using crypto::PrivateKey;

constexpr std::string_view kNewPki = "it cannot be renewed: make a new PKI, and give devices the new root";
constexpr std::string_view kRenew = "renew it: provisioner renew signing, or provisioner renew broker --host NAME";

enum class KeyNeed { kRequired, kMayBeElsewhere };

// One name of the folder.
struct Entry {
  std::vector<Certificate> chain;
  std::optional<PrivateKey> key;

  Issuer issuer() const { return {chain.front(), *key}; }
};

Result<Entry> load_entry(const fs::path& folder, std::string_view name, std::size_t certificates, KeyNeed need,
                         WallTime now) {
  const fs::path path = certificate_path(folder, name);
  TRY_ASSIGN(auto chain, read_chain(folder, name));
  if (chain.size() != certificates) {
    return fail(ErrorCode::kMalformed, "{}: holds {} certificates instead of {}", path.string(), chain.size(),
                certificates);
  }
  const bool is_leaf = certificates > 1;
  TRY(check_time(path, chain, now, is_leaf ? kRenew : kNewPki));
  auto key = read_key_of(chain.front(), folder, name);
  if (!key) {
    const bool is_away = key.error().code == ErrorCode::kNotFound;
    if (need == KeyNeed::kRequired || !is_away) return fail(std::move(key).error());
    return Entry{std::move(chain), std::nullopt};
  }
  return Entry{std::move(chain), std::move(*key)};
}

Result<void> check_kind(const fs::path& folder, std::string_view name, bool is_of_its_kind) {
  if (is_of_its_kind) return {};
  return fail(ErrorCode::kUnauthenticated, "{}: is not the kind of certificate that its name says",
              certificate_path(folder, name).string());
}

Result<void> check_chain(const fs::path& folder, std::string_view name, const Entry& entry, const Certificate& root,
                         WallTime now) {
  auto verdict = crypto::verify_chain(entry.chain, {root}, now);
  if (!verdict) {
    return fail(with_context(std::move(verdict).error(), certificate_path(folder, name).string()));
  }
  return {};
}

}  // namespace

Result<Pki> load_pki(const fs::path& folder, WallTime now) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return fail(ErrorCode::kNotFound, "{}: there is no PKI here", folder.string());
  }
  TRY_ASSIGN(const Entry root, load_entry(folder, kRoot, 1, KeyNeed::kMayBeElsewhere, now));
  TRY_ASSIGN(const Entry platform_ca, load_entry(folder, kPlatformCa, 1, KeyNeed::kMayBeElsewhere, now));
  TRY_ASSIGN(const Entry device_ca, load_entry(folder, kDeviceCa, 1, KeyNeed::kRequired, now));
  TRY_ASSIGN(const Entry broker_ca, load_entry(folder, kBrokerCa, 1, KeyNeed::kMayBeElsewhere, now));
  TRY_ASSIGN(const Entry signing, load_entry(folder, kSigning, 2, KeyNeed::kRequired, now));
  TRY_ASSIGN(const Entry broker, load_entry(folder, kBroker, 2, KeyNeed::kRequired, now));

  const Certificate& anchor = root.chain.front();
  TRY(check_kind(folder, kRoot, anchor.is_ca() && anchor.is_self_signed()));
  for (const auto& [name, entry] :
       {std::pair{kPlatformCa, &platform_ca}, std::pair{kDeviceCa, &device_ca}, std::pair{kBrokerCa, &broker_ca},
        std::pair{kSigning, &signing}, std::pair{kBroker, &broker}}) {
    TRY(check_chain(folder, name, *entry, anchor, now));
  }
  TRY(check_kind(folder, kSigning, crypto::check_command_signing_chain(signing.chain).has_value()));
  // edc §4.2: a CA that issues device certificates must not be able to issue a signing leaf
  const Certificate& devices = device_ca.chain.front();
  TRY(check_kind(folder, kDeviceCa, devices.is_ca() && !devices.may_issue_command_signing()));

  return Pki{.root = anchor,
             .signing = signing.issuer(),
             .signing_chain_pem = crypto::to_pem(signing.chain),
             .device_ca = device_ca.issuer(),
             .device_chain_pem = crypto::to_pem(device_ca.chain),
             .broker = broker.chain.front(),
             .broker_chain_pem = crypto::to_pem(broker.chain),
             .broker_key_pem = broker.key->to_pem()};
}

}  // namespace fleet::provisioner
