// What the session to PostgreSQL does beyond sending statements.
#include "provisioner/store_postgres/connection.hpp"

#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner::postgres {
namespace {

TEST_CASE("a statement that was planned on an empty table is planned anew after a while, and not before") {
  const std::string url = postgres_server().create_database();
  test::PostgresServer::query(url, "CREATE TABLE thing (id BIGINT PRIMARY KEY, kind BIGINT NOT NULL)");
  test::PostgresServer::query(url, "ALTER TABLE thing SET (autovacuum_enabled = false)");
  test::PostgresServer::query(url, "VACUUM ANALYZE thing");
  auto connection = Connection::open({url, "test"});
  REQUIRE(connection);
  const auto now = std::chrono::steady_clock::now();
  REQUIRE((*connection)->query("SELECT id FROM thing WHERE kind = $1", Parameters().integer(1)));
  const auto plan = [&] {
    const auto rows = (*connection)->query_once("EXPLAIN EXECUTE s1(1)");
    REQUIRE_MESSAGE(rows.has_value(), (rows ? "" : rows.error().message));
    return RowReader(*rows, 0).text();
  };
  const std::string for_none = plan();
  test::PostgresServer::query(url, "INSERT INTO thing SELECT n, n % 7 FROM generate_series(1, 50000) AS n");
  (*connection)->renew_plans(now);
  CHECK(plan() == for_none);
  (*connection)->renew_plans(now + Connection::kPlansLast + Seconds(1));
  const std::string for_many = plan();
  CHECK(for_many != for_none);
  test::PostgresServer::query(url, "INSERT INTO thing SELECT n, n % 7 FROM generate_series(50001, 200000) AS n");
  (*connection)->renew_plans(now + Connection::kPlansLast + Seconds(2));
  CHECK(plan() == for_many);
}

TEST_CASE("a transaction of any kind may follow when plans were made anew") {
  auto connection = Connection::open({postgres_server().create_database(), "test"});
  REQUIRE(connection);
  (*connection)->renew_plans(std::chrono::steady_clock::now() + Connection::kPlansLast + Seconds(1));
  (*connection)->control("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  const auto begun = (*connection)->sync();
  CHECK_MESSAGE(begun.has_value(), why(begun));
}

}  // namespace
}  // namespace fleet::provisioner::postgres
