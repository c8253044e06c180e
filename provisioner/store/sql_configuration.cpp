// Accounts and profiles.
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
namespace {

#define ACCOUNT_COLUMNS "name, broker_url, ca_pem, credentials, tight, owner_database, owner_command"

constexpr std::size_t kMostKept = 64;

template <typename T, typename Catalogue>
void keep(Catalogue& catalogue, std::string_view name, const T& entry) {
  if (catalogue.size() >= kMostKept) catalogue.clear();
  catalogue.emplace(name, entry);
}

}  // namespace

Result<void> SqlTransaction::put_account(const Account& account) {
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO account (" ACCOUNT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
                             "ON CONFLICT (name) DO UPDATE SET broker_url = ?2, ca_pem = ?3, credentials = ?4, "
                             "tight = ?5, owner_database = ?6, owner_command = ?7"));
  Binder values(*change);
  TRY(to_values::account(values, account));
  accounts_.erase(account.name);
  return change->run();
}

Result<std::optional<Account>> SqlTransaction::find_account(std::string_view name) {
  if (const auto kept = accounts_.find(name); kept != accounts_.end()) return std::optional(kept->second);
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ACCOUNT_COLUMNS " FROM account WHERE name = ?1"));
  Binder(*query).text(name);
  TRY_ASSIGN(auto account, read_one<Account>(*query, read_account));
  if (keeps_catalogue_ && account) keep(accounts_, name, *account);
  return account;
}

Result<std::vector<Account>> SqlTransaction::list_accounts() {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ACCOUNT_COLUMNS " FROM account ORDER BY name"));
  return read_all<Account>(*query, read_account);
}

Result<void> SqlTransaction::put_profile(const Profile& profile) {
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO profile (name, account, configuration, certificate_validity_ms, "
                             "retry_max_attempts, attempt_timeout_ms, packages, wants_certificate) "
                             "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
                             "ON CONFLICT (name) DO UPDATE SET account = ?2, configuration = ?3, "
                             "certificate_validity_ms = ?4, retry_max_attempts = ?5, attempt_timeout_ms = ?6, packages = ?7, "
                             "wants_certificate = ?8"));
  Binder values(*change);
  TRY(to_values::profile(values, profile));
  profiles_.erase(profile.name);
  return change->run();
}

Result<std::optional<Profile>> SqlTransaction::find_profile(std::string_view name) {
  if (const auto kept = profiles_.find(name); kept != profiles_.end()) return std::optional(kept->second);
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT name, account, configuration, certificate_validity_ms, retry_max_attempts, "
                             "attempt_timeout_ms, packages, wants_certificate FROM profile WHERE name = ?1"));
  Binder(*query).text(name);
  TRY_ASSIGN(auto profile, read_one<Profile>(*query, read_profile));
  if (keeps_catalogue_ && profile) keep(profiles_, name, *profile);
  return profile;
}

Result<std::vector<Profile>> SqlTransaction::list_profiles() {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT name, account, configuration, certificate_validity_ms, retry_max_attempts, "
                             "attempt_timeout_ms, packages, wants_certificate FROM profile ORDER BY name"));
  return read_all<Profile>(*query, read_profile);
}

Result<PackageFiles> SqlTransaction::package_files() {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT DISTINCT json_extract(item.value, '$.sha256'), json_extract(item.value, '$.source') "
                             "FROM (SELECT packages FROM profile UNION ALL SELECT packages FROM request WHERE packages IS "
                             "NOT NULL) AS holder, json_each(holder.packages) AS item"));
  PackageFiles files;
  while (true) {
    TRY_ASSIGN(const bool row, query->next());
    if (!row) return files;
    const std::string source = query->text(1);
    if (source == to_string(PackageSource::kUrl)) continue;
    files.all.insert(query->text(0));
    files.downloads = files.downloads || source == to_string(PackageSource::kFile);
  }
}

}  // namespace fleet::provisioner
