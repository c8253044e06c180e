#include "provisioner/store/sqlite.hpp"

#include <fstream>
#include <sys/stat.h>

#include <doctest/doctest.h>

#include "tests/support/temp_folder.hpp"

namespace fleet::provisioner::sqlite {
namespace {

mode_t mode_of(const std::filesystem::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 07777 : 0;
}

Database open_at(const std::filesystem::path& path) {
  auto database = Database::open(path, {});
  REQUIRE(database);
  return std::move(*database);
}

TEST_CASE("a database is born 0600 with its wal and shm, whatever the umask") {
  const test::TempFolder folder;
  const mode_t before = ::umask(0);
  Database database = open_at(folder / "a.db");
  REQUIRE(database.execute("CREATE TABLE t (x INTEGER) STRICT"));
  ::umask(before);
  CHECK(mode_of(folder / "a.db") == 0600);
  CHECK(mode_of(folder / "a.db-wal") == 0600);
  CHECK(mode_of(folder / "a.db-shm") == 0600);
}

TEST_CASE("the mode of an existing database is corrected when it is opened") {
  const test::TempFolder folder;
  { const Database database = open_at(folder / "a.db"); }
  REQUIRE(::chmod((folder / "a.db").c_str(), 0644) == 0);
  const Database database = open_at(folder / "a.db");
  CHECK(mode_of(folder / "a.db") == 0600);
}

TEST_CASE("a symbolic link where the database shall be created is not followed") {
  const test::TempFolder folder;
  std::filesystem::create_symlink(folder / "elsewhere.db", folder / "a.db");
  CHECK_FALSE(Database::open(folder / "a.db", {}));
  CHECK_FALSE(std::filesystem::exists(folder / "elsewhere.db"));
}

TEST_CASE("values come back as they were bound, empty ones and NUL bytes too") {
  const test::TempFolder folder;
  Database database = open_at(folder / "a.db");
  REQUIRE(database.execute("CREATE TABLE t (i INTEGER, t TEXT, b BLOB, n TEXT) STRICT"));
  auto insert = database.prepare("INSERT INTO t VALUES (?1, ?2, ?3, ?4)");
  REQUIRE(insert);
  const std::string text("a\0b", 3);
  REQUIRE(insert->bind(1, INT64_MIN).bind(2, text).bind_blob(3, "").bind_null(4).run());
  REQUIRE(insert->bind(1, INT64_MAX).bind(2, std::string_view()).bind_blob(3, text).bind_null(4).run());
  auto query = database.prepare("SELECT i, t, b, n FROM t ORDER BY rowid");
  REQUIRE(query);
  REQUIRE(*query->next());
  CHECK(query->integer(0) == INT64_MIN);
  CHECK(query->text(1) == text);
  CHECK(query->blob(2).empty());
  CHECK_FALSE(query->is_null(2));
  CHECK(query->is_null(3));
  REQUIRE(*query->next());
  CHECK(query->integer(0) == INT64_MAX);
  CHECK_FALSE(query->is_null(1));
  CHECK(query->blob(2) == text);
  CHECK_FALSE(*query->next());
}

TEST_CASE("violations are told apart by kind and name the file and the column") {
  const test::TempFolder folder;
  Database database = open_at(folder / "a.db");
  REQUIRE(database.execute("CREATE TABLE t (name TEXT NOT NULL UNIQUE CHECK (length(name) < 5)) STRICT"));
  REQUIRE(database.execute("INSERT INTO t VALUES ('one')"));
  const auto twice = database.execute("INSERT INTO t VALUES ('one')");
  REQUIRE_FALSE(twice);
  CHECK(twice.error().code == ErrorCode::kAlreadyExists);
  CHECK(twice.error().message == (folder / "a.db").string() + ": t.name: already taken");
  const auto unchecked = database.execute("INSERT INTO t VALUES ('too long')");
  REQUIRE_FALSE(unchecked);
  CHECK(unchecked.error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("a bind that fails is reported by the run that follows and not by the one after it") {
  const test::TempFolder folder;
  Database database = open_at(folder / "a.db");
  REQUIRE(database.execute("CREATE TABLE t (x INTEGER) STRICT"));
  auto insert = database.prepare("INSERT INTO t VALUES (?1)");
  REQUIRE(insert);
  CHECK_FALSE(insert->bind(1, 1).bind(2, 2).run());
  CHECK(insert->bind(1, 1).run());
}

TEST_CASE("a file that is no database is corrupt, and a missing one is an error when it may not be created") {
  const test::TempFolder folder;
  std::ofstream(folder / "a.db") << std::string(8192, 'x');
  const auto opened = Database::open(folder / "a.db", {});
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code == ErrorCode::kCorrupt);
  CHECK(opened.error().message.find("a.db") != std::string::npos);
  const auto missing = Database::open(folder / "b.db", {.read_only = true});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::kNotFound);
}

TEST_CASE("a lock of another connection makes a writer unavailable after its patience") {
  const test::TempFolder folder;
  Database one = open_at(folder / "a.db");
  auto two = Database::open(folder / "a.db", {.busy_timeout = Millis(20)});
  REQUIRE(two);
  REQUIRE(one.execute("BEGIN IMMEDIATE"));
  const auto refused = two->execute("BEGIN IMMEDIATE");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kUnavailable);
  REQUIRE(one.execute("COMMIT"));
  CHECK(two->execute("BEGIN IMMEDIATE"));
}

}  // namespace
}  // namespace fleet::provisioner::sqlite
