#include "provisioner/store/migrations.hpp"

#include <fstream>
#include <regex>
#include <sstream>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "core/base/file.hpp"
#include "provisioner/store/messages.hpp"
#include "provisioner/store/store.hpp"
#include "tests/support/temp_folder.hpp"
#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

// Every object's SQL without comments and with one space between words. A table that was renamed has its name in quotes.
std::vector<std::string> objects_of(sqlite::Database& database) {
  auto query = database.prepare(
      "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence' "
      "ORDER BY type, name");
  REQUIRE(query);
  std::vector<std::string> objects;
  while (*query->next()) {
    const std::string bare = std::regex_replace(query->text(0), std::regex("--[^\n]*|\""), "");
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

TEST_CASE("no row that devices bring about needs a table of its own to be checked with") {
  const test::TempFolder folder;
  sqlite::Database database = open_at(folder / "a.db");
  REQUIRE(migrate(database));
  for (const std::string table : {"request", "attempt", "step", "certificate", "timeline"}) {
    auto plan = database.prepare("EXPLAIN INSERT INTO " + table + " DEFAULT VALUES");
    REQUIRE(plan);
    int operations = 0;
    while (*plan->next()) {
      ++operations;
      CHECK_MESSAGE(plan->text(1) != "OpenEphemeral", table);
    }
    CHECK(operations > 5);
  }
}

TEST_CASE("the checks that are written otherwise since a migration refuse what they refused, and what was stored stays") {
  const test::TempFolder folder;
  sqlite::Database database = open_at(folder / "old.db");
  const auto insert = [&](const std::string& name, const std::string& status) {
    return database.execute("INSERT INTO request (name, profile, client_id, username, connect_verifier, username_verifier, "
                            "activation_key_used, labels, params, enabled, status, failures, last_error, facts, optlock, "
                            "created_at, updated_at) VALUES ('" + name + "', 'p', '" + name + "', 'u', zeroblob(32), "
                            "zeroblob(32), 0, '{}', '{}', 1, '" + status + "', 0, '', '{}', 1, 1, 1)");
  };
  const auto attempt = [&](int number, const std::string& state, const std::string& handover) {
    return database.execute(fmt::format("INSERT INTO attempt (request_id, number, nonce, hello_id, state, timeout_ms, started_at, "
                                        "moved_at, error, handover) VALUES (1, {}, x'', '', '{}', 1, 1, 1, '', '{}')",
                                        number, state, handover));
  };
  for (const Migration& migration : migrations()) {
    if (migration.name == "0011-checks-without-tables") {
      REQUIRE(insert("before", "COMPLETED"));
      REQUIRE(attempt(1, "COMPLETED", "DONE"));
      REQUIRE(database.execute("INSERT INTO step (attempt_id, ordinal, kind, rid, summary, topic, payload, sent_at, send_count, "
                               "reply_error) VALUES (1, 0, 'configuration', 'r', 's', 't', x'00ff', 1, 2, '')"));
    }
    REQUIRE(database.execute("BEGIN"));
    REQUIRE(database.execute(migration.sql));
    REQUIRE(database.execute("COMMIT"));
  }
  for (int i = static_cast<int>(JobStatus::kCreated); i <= static_cast<int>(JobStatus::kStopped); ++i) {
    CHECK(insert("s" + std::to_string(i), std::string(to_string(static_cast<JobStatus>(i)))));
  }
  CHECK_FALSE(insert("wrong", "GONE"));
  CHECK_FALSE(insert("none", ""));
  int number = 1;
  for (const std::string state : {"OPEN", "COMPLETED", "FAILED", "SUPERSEDED", "STOPPED"}) {
    CHECK(attempt(++number, state, "NONE"));
  }
  CHECK_FALSE(attempt(++number, "CLOSED", "NONE"));
  CHECK(attempt(++number, "FAILED", "PENDING"));
  CHECK_FALSE(attempt(++number, "FAILED", "LATER"));
  CHECK_FALSE(database.execute("UPDATE request SET tight = 'TIGHT' WHERE name = 'before'"));
  CHECK(database.execute("UPDATE request SET tight = 'LOOSE' WHERE name = 'before'"));
  auto query = database.prepare("SELECT (SELECT status FROM request WHERE name = 'before') || (SELECT integrity_check FROM "
                                "pragma_integrity_check) || (SELECT rid || send_count FROM step)");
  REQUIRE(query);
  REQUIRE(*query->next());
  CHECK(query->text(0) == "COMPLETEDokr2");
}

TEST_CASE("what is still to be repeated is packed by the migration as it is packed since") {
  const test::TempFolder folder;
  sqlite::Database database = open_at(folder / "old.db");
  for (const Migration& migration : migrations()) {
    if (migration.name == "0013-messages") {
      REQUIRE(database.execute(R"sql(
        INSERT INTO request (id, name, profile, client_id, username, connect_verifier, username_verifier, activation_key_used,
                             labels, params, enabled, status, failures, last_error, facts, optlock, created_at, updated_at)
          VALUES (1, 'one', 'p', 'C1', 'u', zeroblob(32), zeroblob(32), 0, '{}', '{}', 1, 'STARTED', 0, '', '{}', 1, 1, 1);
        INSERT INTO attempt (id, request_id, number, nonce, hello_id, state, timeout_ms, started_at, moved_at, error)
          VALUES (5, 1, 1, x'', '', 'FAILED', 1, 1, 1, ''), (6, 1, 2, x'', '', 'OPEN', 1, 1, 1, '');
        INSERT INTO step (attempt_id, ordinal, kind, rid, summary, topic, payload, sent_at, send_count, reply_error)
          VALUES (6, 1, 'configuration', 'r', 's', 'täpic', x'00ff0a3120', 1, 2, ''), (6, 0, 'configuration', 'r', 's', 't', x'', 1, 2, ''),
            (5, 0, 'configuration', 'r', 's', '', x'', 1, 2, '');
      )sql"));
    }
    REQUIRE(database.execute(migration.sql));
  }
  auto query = database.prepare("SELECT attempt_id, messages FROM message");
  REQUIRE(query);
  REQUIRE(*query->next());
  CHECK(query->integer(0) == 6);
  std::vector<Step> expected{sample_step(6, 0), sample_step(6, 1)};
  expected[0].topic = "t";
  expected[0].payload = "";
  expected[1].topic = "täpic";
  expected[1].payload = Bytes("\0\xff\n1 ", 5);
  Bytes packed;
  append_messages(packed, expected);
  CHECK(query->blob(1) == packed);
  CHECK_FALSE(*query->next());
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
