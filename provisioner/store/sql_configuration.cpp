// Accounts and profiles.
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
namespace {

#define ACCOUNT_COLUMNS "name, broker_url, ca_pem, credentials, tight, owner_database, owner_command"

Result<Account> read_account(const sqlite::Statement& statement) {
  RowReader row(statement);
  Account account;
  account.name = row.text();
  account.broker_url = row.text();
  TRY_ASSIGN(account.ca_pem, list_from_json(row.text()));
  TRY_ASSIGN(account.credentials, enum_from(row.text(), OwnerCredentials::kX509, OwnerCredentials::kPassword));
  TRY_ASSIGN(account.tight, enum_from(row.text(), CredentialsTight::kInherited, CredentialsTight::kLoose));
  account.connector.database = row.text();
  TRY_ASSIGN(account.connector.command, list_from_json(row.text()));
  return account;
}

Result<Profile> read_profile(const sqlite::Statement& statement) {
  RowReader row(statement);
  Profile profile;
  profile.name = row.text();
  profile.account = row.text();
  TRY_ASSIGN(profile.configuration, configurations_from_json(row.text()));
  profile.certificate_validity = row.duration();
  profile.retry_max_attempts = row.small();
  profile.attempt_timeout = row.duration();
  TRY_ASSIGN(profile.packages, packages_from_json(row.text()));
  profile.wants_certificate = row.flag();
  return profile;
}

}  // namespace

Result<void> SqlTransaction::put_account(const Account& account) {
  TRY_ASSIGN(const std::string ca_pem, to_json(account.ca_pem));
  TRY_ASSIGN(const std::string command, to_json(account.connector.command));
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO account (" ACCOUNT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
                             "ON CONFLICT (name) DO UPDATE SET broker_url = ?2, ca_pem = ?3, credentials = ?4, "
                             "tight = ?5, owner_database = ?6, owner_command = ?7"));
  Binder(*change)
      .text(account.name)
      .text(account.broker_url)
      .text(ca_pem)
      .text(to_string(account.credentials))
      .text(to_string(account.tight))
      .text(account.connector.database)
      .text(command);
  return change->run();
}

Result<std::optional<Account>> SqlTransaction::find_account(std::string_view name) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ACCOUNT_COLUMNS " FROM account WHERE name = ?1"));
  Binder(*query).text(name);
  return read_one<Account>(*query, read_account);
}

Result<std::vector<Account>> SqlTransaction::list_accounts() {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " ACCOUNT_COLUMNS " FROM account ORDER BY name"));
  return read_all<Account>(*query, read_account);
}

Result<void> SqlTransaction::put_profile(const Profile& profile) {
  TRY_ASSIGN(const std::string configuration, to_json(profile.configuration));
  TRY_ASSIGN(const std::string packages, to_json(profile.packages));
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO profile (name, account, configuration, certificate_validity_ms, "
                             "retry_max_attempts, attempt_timeout_ms, packages, wants_certificate) "
                             "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) "
                             "ON CONFLICT (name) DO UPDATE SET account = ?2, configuration = ?3, "
                             "certificate_validity_ms = ?4, retry_max_attempts = ?5, attempt_timeout_ms = ?6, packages = ?7, "
                             "wants_certificate = ?8"));
  Binder(*change)
      .text(profile.name)
      .text(profile.account)
      .text(configuration)
      .duration(profile.certificate_validity)
      .integer(profile.retry_max_attempts)
      .duration(profile.attempt_timeout)
      .text(packages)
      .flag(profile.wants_certificate);
  return change->run();
}

Result<std::optional<Profile>> SqlTransaction::find_profile(std::string_view name) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT name, account, configuration, certificate_validity_ms, retry_max_attempts, "
                             "attempt_timeout_ms, packages, wants_certificate FROM profile WHERE name = ?1"));
  Binder(*query).text(name);
  return read_one<Profile>(*query, read_profile);
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
