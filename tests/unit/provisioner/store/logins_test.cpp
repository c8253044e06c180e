// Logins that owners' brokers have: kept with and without their request, until they are given up and forgotten.
#include "tests/unit/provisioner/store/store_fixture.hpp"

#include "provisioner/store/migrations.hpp"

namespace fleet::provisioner {
namespace {

struct Logins : StoreFixture {
  void keep(const std::string& account, const std::string& client_id, const std::string& username) {
    must([&](Transaction& tx) { return tx.keep_login(account, client_id, username); });
  }
  std::vector<std::int64_t> give_up(const std::string& client_id) {
    std::vector<std::int64_t> ids;
    must([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(ids, tx.give_up_logins(client_id));
      return {};
    });
    return ids;
  }
  std::vector<std::int64_t> given_up() {
    std::vector<std::int64_t> ids;
    must([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(ids, tx.logins_given_up());
      return {};
    });
    return ids;
  }
  std::optional<GivenLogin> find(std::int64_t id) {
    std::optional<GivenLogin> login;
    must([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(login, tx.find_login(id));
      return {};
    });
    return login;
  }
  void forget(std::int64_t id) {
    must([&](Transaction& tx) { return tx.forget_login(id); });
  }
};

TEST_CASE("a login is kept once, given up with its device, and forgotten only then") {
  Logins t;
  t.keep("acme", "C1", "one");
  t.keep("acme", "C1", "one");
  t.keep("other", "C1", "one");
  t.keep("acme", "C2", "two");
  CHECK(t.given_up().empty());
  const auto ids = t.give_up("C1");
  REQUIRE(ids.size() == 2);
  t.close();
  t.open();
  CHECK(t.given_up() == ids);
  const auto login = t.find(ids[0]);
  REQUIRE(login.has_value());
  CHECK(login->account == "acme");
  CHECK(login->client_id == "C1");
  CHECK(login->username == "one");
  CHECK(login->given_up);
  // given anew meanwhile: who took the older one back does not know of it
  t.keep("acme", "C1", "one");
  t.forget(ids[0]);
  REQUIRE(t.find(ids[0]).has_value());
  CHECK_FALSE(t.find(ids[0])->given_up);
  t.forget(ids[1]);
  CHECK_FALSE(t.find(ids[1]).has_value());
  CHECK(t.given_up().empty());
  CHECK(t.give_up("nobody").empty());
}

TEST_CASE("logins that were handed over before they were kept are kept since the migration" * sqlite_only()) {
  const test::TempFolder folder;
  auto database = sqlite::Database::open(folder / "old.db", {});
  REQUIRE(database);
  const auto all = migrations();
  for (const Migration& migration : all) {
    if (migration.name == "0007-given-logins") break;
    REQUIRE(database->execute(migration.sql));
  }
  REQUIRE(database->execute(R"sql(
    INSERT INTO profile VALUES ('gateway', 'acme', '[]', 1, 1, 1, '[]', 0);
    INSERT INTO request (id, name, profile, client_id, username, connect_verifier, username_verifier, activation_key_used,
                         labels, params, enabled, status, failures, last_error, facts, optlock, created_at, updated_at)
      VALUES (1, 'one', 'gateway', 'C1', 'u', zeroblob(32), zeroblob(32), 0, '{}', '{}', 1, 'COMPLETED', 0, '', '{}', 1, 1, 1),
             (2, 'two', 'gateway', 'C2', 'u', zeroblob(32), zeroblob(32), 0, '{}', '{}', 1, 'CREATED', 0, '', '{}', 1, 1, 1);
    INSERT INTO attempt (request_id, number, nonce, hello_id, state, timeout_ms, started_at, moved_at, error, handover,
                         owner_username, owner_account)
      VALUES (1, 1, x'', '', 'FAILED', 1, 1, 1, '', 'NONE', 'one', ''),
             (1, 2, x'', '', 'COMPLETED', 1, 1, 1, '', 'DONE', 'one', ''),
             (2, 1, x'', '', 'OPEN', 1, 1, 1, '', 'PENDING', 'two', 'other'),
             (2, 2, x'', '', 'FAILED', 1, 1, 1, '', 'NONE', '', '');
  )sql"));
  for (const Migration& migration : all) {
    if (migration.name == "0007-given-logins") REQUIRE(database->execute(migration.sql));
  }
  auto query = database->prepare("SELECT account || ' ' || client_id || ' ' || username || ' ' || given_up FROM given_login ORDER BY id");
  REQUIRE(query);
  std::vector<std::string> rows;
  while (*query->next()) rows.push_back(query->text(0));
  CHECK(rows == std::vector<std::string>{"acme C1 one 0", "other C2 two 0"});
}

}  // namespace
}  // namespace fleet::provisioner
