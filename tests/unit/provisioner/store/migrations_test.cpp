#include "provisioner/store/migrations.hpp"

#include <fstream>
#include <regex>
#include <sstream>
#include <vector>

#include <doctest/doctest.h>

#include "core/base/file.hpp"
#include "provisioner/store/store.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

// Every object's SQL without comments and with one space between words.
std::vector<std::string> objects_of(sqlite::Database& database) {
  auto query = database.prepare(
      "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence' "
      "ORDER BY type, name");
  REQUIRE(query);
  std::vector<std::string> objects;
  while (*query->next()) {
    const std::string bare = std::regex_replace(query->text(0), std::regex("--[^\n]*"), "");
    objects.push_back(std::regex_replace(bare, std::regex("\\s+"), " "));
  }
  for (std::string& object : objects) object = std::regex_replace(object, std::regex(" ?([(),]) ?"), "$1");
  return objects;
}

sqlite::Database open_at(const std::filesystem::path& path) {
  auto database = sqlite::Database::open(path, {});
  REQUIRE(database);
  return std::move(*database);
}

TEST_CASE("schema.sql is what all migrations add up to") {
  const test::TempFolder folder;
  sqlite::Database migrated = open_at(folder / "migrated.db");
  REQUIRE(migrate(migrated));
  sqlite::Database direct = open_at(folder / "direct.db");
  const auto schema = read_file(FLEET_STORE_SCHEMA);
  REQUIRE(schema);
  REQUIRE(direct.execute(*schema));
  CHECK(objects_of(migrated).size() > 10);
  CHECK(objects_of(migrated) == objects_of(direct));
}

TEST_CASE("migrations have unique names and are applied once") {
  const test::TempFolder folder;
  sqlite::Database database = open_at(folder / "a.db");
  REQUIRE(migrate(database));
  REQUIRE(migrate(database));
  auto count = database.prepare("SELECT count(*), count(DISTINCT name) FROM migration");
  REQUIRE(count);
  REQUIRE(*count->next());
  CHECK(count->integer(0) == static_cast<std::int64_t>(migrations().size()));
  CHECK(count->integer(1) == count->integer(0));
}

TEST_CASE("an account that was strict inherits that since the migration, a loose one says so, and requests stay secure") {
  const test::TempFolder folder;
  sqlite::Database database = open_at(folder / "old.db");
  for (const Migration& migration : migrations()) {
    if (migration.name == "0009-secure-url-and-tight") {
      REQUIRE(database.execute(R"sql(
        INSERT INTO account (name, broker_url, ca_pem, credentials, strict) VALUES ('a', 'u', '[]', 'password', 1),
          ('b', 'u', '[]', 'password', 0);
        INSERT INTO request (id, name, profile, client_id, username, connect_verifier, username_verifier, activation_key_used,
                             labels, params, enabled, status, failures, last_error, facts, optlock, created_at, updated_at)
          VALUES (1, 'one', 'p', 'C1', 'u', zeroblob(32), zeroblob(32), 0, '{}', '{}', 1, 'CREATED', 0, '', '{}', 1, 1, 1);
      )sql"));
    }
    REQUIRE(database.execute(migration.sql));
  }
  auto query = database.prepare("SELECT (SELECT group_concat(name || ' ' || tight) FROM account) || ',' || "
                                "(SELECT secure_url || ' ' || tight FROM request)");
  REQUIRE(query);
  REQUIRE(*query->next());
  CHECK(query->text(0) == "a INHERITED,b LOOSE,1 INHERITED");
}

// A list of three or more in a CHECK becomes a table of its own each time a row is written, which costs more than the row.
TEST_CASE("no row that a request or an attempt is made of costs a table of its own to be checked, and it is checked") {
  const test::TempFolder folder;
  sqlite::Database database = open_at(folder / "a.db");
  REQUIRE(migrate(database));
  for (const char* const table : {"request", "attempt", "step", "timeline", "certificate", "audit"}) {
    auto program = database.prepare(fmt::format("EXPLAIN INSERT INTO {} DEFAULT VALUES", table));
    REQUIRE(program);
    std::size_t operations = 0;
    while (*program->next()) {
      ++operations;
      CHECK_MESSAGE(program->text(1) != "OpenEphemeral", table);
    }
    CHECK(operations > 10);
  }
  constexpr std::string_view kRequest =
      "INSERT INTO request (name, profile, client_id, username, connect_verifier, username_verifier, activation_key_used, labels, "
      "params, enabled, status, failures, last_error, facts, optlock, created_at, updated_at, tight) VALUES ('{0}', 'p', '{0}', 'u', "
      "zeroblob(32), zeroblob(32), 0, '{{}}', '{{}}', 1, '{1}', 0, '', '{{}}', 1, 1, 1, '{2}')";
  for (int status = 0; status <= static_cast<int>(JobStatus::kStopped); ++status) {
    CHECK(database.execute(fmt::format(kRequest, fmt::format("r{}", status), to_string(static_cast<JobStatus>(status)), "LOOSE")));
  }
  CHECK_FALSE(database.execute(fmt::format(kRequest, "other", "NONSENSE", "STRICT")));
  CHECK_FALSE(database.execute(fmt::format(kRequest, "other", "CREATED", "NONSENSE")));
  CHECK(database.execute(fmt::format(kRequest, "other", "CREATED", "STRICT")));
}

TEST_CASE("a database written by a newer version is refused, naming the version, and not touched") {
  StoreFixture fixture;
  fixture.insert(sample_request("one"));
  fixture.close();
  {
    sqlite::Database database = open_at(fixture.folder / "provisioner.db");
    REQUIRE(database.execute("INSERT INTO migration VALUES ('0099-teleport', 1, 'provisioner 9.9.9')"));
  }
  const auto opened = Store::open(fixture.settings(), post_inline);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == ErrorCode::kUnsupported);
  for (const char* const part : {"provisioner.db", "0099-teleport", "provisioner 9.9.9", "backup"}) {
    CHECK_MESSAGE(opened.error().message.find(part) != std::string::npos, opened.error().message);
  }
  CHECK(fixture.number("provisioner.db", "SELECT count(*) FROM request") == 1);
}

TEST_CASE("a database of another program, and a file that is none, are corrupt by name") {
  const test::TempFolder folder;
  const StoreSettings settings{.database = folder / "provisioner.db", .admission = folder / "admission.db"};
  SUBCASE("another program's") {
    sqlite::Database database = open_at(folder / "provisioner.db");
    REQUIRE(database.execute("CREATE TABLE theirs (x INTEGER) STRICT"));
  }
  SUBCASE("no database") {
    std::ofstream(folder / "provisioner.db") << std::string(4096, '?');
  }
  const auto opened = Store::open(settings, post_inline);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == ErrorCode::kCorrupt);
  CHECK(opened.error().message.find("provisioner.db") != std::string::npos);
}

}  // namespace
}  // namespace fleet::provisioner
