// Logins that owners' brokers have been told.
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
Result<void> SqlTransaction::keep_login(const std::string& account, const std::string& client_id,
                                        const std::string& username) {
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO given_login (account, client_id, username) VALUES (?1, ?2, ?3) "
                             "ON CONFLICT (client_id, account, username) DO UPDATE SET given_up = 0 WHERE given_up <> 0"));
  Binder(*change).text(account).text(client_id).text(username);
  return change->run();
}

Result<std::vector<std::int64_t>> SqlTransaction::give_up_logins(std::string_view client_id) {
  TRY_ASSIGN(const auto change,
             statements_.use("UPDATE given_login SET given_up = 1 WHERE client_id = ?1 RETURNING id"));
  Binder(*change).text(client_id);
  return read_all<std::int64_t>(*change, read_id);
}

Result<std::optional<GivenLogin>> SqlTransaction::find_login(std::int64_t id) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT " LOGIN_COLUMNS " FROM given_login WHERE id = ?1"));
  Binder(*query).integer(id);
  return read_one<GivenLogin>(*query, read_login);
}

Result<std::vector<std::int64_t>> SqlTransaction::logins_given_up() {
  TRY_ASSIGN(const auto query, statements_.use("SELECT id FROM given_login WHERE given_up = 1 ORDER BY id"));
  return read_all<std::int64_t>(*query, read_id);
}

Result<void> SqlTransaction::forget_login(std::int64_t id) {
  TRY_ASSIGN(const auto change, statements_.use("DELETE FROM given_login WHERE id = ?1 AND given_up = 1"));
  Binder(*change).integer(id);
  return change->run();
}

}  // namespace fleet::provisioner
