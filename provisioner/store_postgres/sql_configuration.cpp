// Accounts and profiles.
#include "provisioner/store/columns.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {
namespace {

#define ACCOUNT_COLUMNS "name, broker_url, ca_pem, credentials, tight, owner_database, owner_command"
#define PROFILE_COLUMNS \
  "name, account, configuration, certificate_validity_ms, retry_max_attempts, attempt_timeout_ms, packages::text, wants_certificate"

}  // namespace

Result<void> PgTransaction::put_account(const Account& account) {
  Parameters values;
  TRY(to_values::account(values, account));
  account_.reset();
  connection_.send("INSERT INTO account (" ACCOUNT_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7) "
                   "ON CONFLICT (name) DO UPDATE SET broker_url = $2, ca_pem = $3, credentials = $4, tight = $5, "
                   "owner_database = $6, owner_command = $7",
                   values);
  return {};
}

Result<std::optional<Account>> PgTransaction::find_account(std::string_view name) {
  if (!is_storable(name)) return std::optional<Account>();
  if (account_ && account_->name == name) return account_;
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " ACCOUNT_COLUMNS " FROM account WHERE name = $1", Parameters().text(name)));
  return read_one<Account>(rows, read_account);
}

Result<std::vector<Account>> PgTransaction::list_accounts() {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " ACCOUNT_COLUMNS " FROM account ORDER BY name"));
  return read_all<Account>(rows, read_account);
}

Result<void> PgTransaction::put_profile(const Profile& profile) {
  Parameters values;
  TRY(to_values::profile(values, profile));
  connection_.send("INSERT INTO profile (name, account, configuration, certificate_validity_ms, retry_max_attempts, attempt_timeout_ms, "
                   "packages, wants_certificate) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) "
                   "ON CONFLICT (name) DO UPDATE SET account = $2, configuration = $3, certificate_validity_ms = $4, "
                   "retry_max_attempts = $5, attempt_timeout_ms = $6, packages = $7, wants_certificate = $8",
                   values);
  return {};
}

// With its account, which whoever looks for a profile needs next.
Result<std::optional<Profile>> PgTransaction::find_profile(std::string_view name) {
  if (!is_storable(name)) return std::optional<Profile>();
  const Parameters values = Parameters().text(name);
  const auto profile = connection_.ask("SELECT " PROFILE_COLUMNS " FROM profile WHERE name = $1", values);
  const auto account = connection_.ask(
      "SELECT " ACCOUNT_COLUMNS " FROM account WHERE name = (SELECT account FROM profile WHERE name = $1)", values);
  TRY(connection_.sync());
  const Rows profiles = connection_.rows(profile), accounts = connection_.rows(account);
  TRY_ASSIGN(account_, read_one<Account>(accounts, read_account));
  return read_one<Profile>(profiles, read_profile);
}

Result<std::vector<Profile>> PgTransaction::list_profiles() {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " PROFILE_COLUMNS " FROM profile ORDER BY name"));
  return read_all<Profile>(rows, read_profile);
}

Result<PackageFiles> PgTransaction::package_files() {
  TRY_ASSIGN(const Rows rows,
             connection_.query("SELECT DISTINCT item ->> 'sha256', item ->> 'source' FROM (SELECT packages FROM profile UNION ALL "
                               "SELECT packages FROM request WHERE packages IS NOT NULL) AS holder, "
                               "jsonb_array_elements(holder.packages) AS item"));
  PackageFiles files;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    RowReader row(rows, i);
    std::string sha256 = row.text();
    const std::string source = row.text();
    if (source == to_string(PackageSource::kUrl)) continue;
    files.all.insert(std::move(sha256));
    files.downloads = files.downloads || source == to_string(PackageSource::kFile);
  }
  return files;
}

}  // namespace fleet::provisioner::postgres
