// Accounts and profiles.
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
namespace {

Result<Account> read_account(const sqlite::Statement& statement) {
  RowReader row(statement);
  Account account;
  account.name = row.text();
  account.broker_url = row.text();
  TRY_ASSIGN(account.ca_pem, list_from_json(row.text()));
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
  return profile;
}

}  // namespace

Result<void> SqlTransaction::put_account(const Account& account) {
  TRY_ASSIGN(const std::string ca_pem, to_json(account.ca_pem));
  TRY_ASSIGN(const auto change, statements_.use("INSERT INTO account (name, broker_url, ca_pem) VALUES (?1, ?2, ?3) "
                                                "ON CONFLICT (name) DO UPDATE SET broker_url = ?2, ca_pem = ?3"));
  Binder(*change).text(account.name).text(account.broker_url).text(ca_pem);
  return change->run();
}

Result<std::optional<Account>> SqlTransaction::find_account(std::string_view name) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT name, broker_url, ca_pem FROM account WHERE name = ?1"));
  Binder(*query).text(name);
  return read_one<Account>(*query, read_account);
}

Result<std::vector<Account>> SqlTransaction::list_accounts() {
  TRY_ASSIGN(const auto query, statements_.use("SELECT name, broker_url, ca_pem FROM account ORDER BY name"));
  return read_all<Account>(*query, read_account);
}

Result<void> SqlTransaction::put_profile(const Profile& profile) {
  TRY_ASSIGN(const std::string configuration, to_json(profile.configuration));
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO profile (name, account, configuration, certificate_validity_ms, "
                             "retry_max_attempts, attempt_timeout_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6) "
                             "ON CONFLICT (name) DO UPDATE SET account = ?2, configuration = ?3, "
                             "certificate_validity_ms = ?4, retry_max_attempts = ?5, attempt_timeout_ms = ?6"));
  Binder(*change)
      .text(profile.name)
      .text(profile.account)
      .text(configuration)
      .duration(profile.certificate_validity)
      .integer(profile.retry_max_attempts)
      .duration(profile.attempt_timeout);
  return change->run();
}

Result<std::optional<Profile>> SqlTransaction::find_profile(std::string_view name) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT name, account, configuration, certificate_validity_ms, retry_max_attempts, "
                             "attempt_timeout_ms FROM profile WHERE name = ?1"));
  Binder(*query).text(name);
  return read_one<Profile>(*query, read_profile);
}

Result<std::vector<Profile>> SqlTransaction::list_profiles() {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT name, account, configuration, certificate_validity_ms, retry_max_attempts, "
                             "attempt_timeout_ms FROM profile ORDER BY name"));
  return read_all<Profile>(*query, read_profile);
}

}  // namespace fleet::provisioner
