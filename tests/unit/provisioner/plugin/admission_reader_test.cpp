#include "provisioner/plugin/admission_reader.hpp"

#include <array>
#include <fcntl.h>
#include <fstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <doctest/doctest.h>
#include <sqlite3.h>

#include "core/base/fd.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::plugin;

namespace {

// The provisioner's side of the projection.
class Writer {
 public:
  explicit Writer(const std::filesystem::path& path) {
    REQUIRE(sqlite3_open(path.c_str(), &database_) == SQLITE_OK);
    run("PRAGMA journal_mode=WAL");
    run(std::string(kAdmissionSchema));
  }
  ~Writer() { sqlite3_close(database_); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void run(const std::string& sql) {
    REQUIRE_MESSAGE(sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK,
                    sqlite3_errmsg(database_));
  }
  void add(const std::string& client_id) {
    run("INSERT INTO device VALUES ('" + client_id + "', 'user', zeroblob(32), 0, 5, 9)");
  }

 private:
  sqlite3* database_ = nullptr;
};

const SteadyTime kStart = SteadyTime(std::chrono::hours(1));

AdmissionRow row(Admission state) {
  return {"user", Bytes(32, 'v'), state, 100, 200};
}

std::string_view why(const AdmissionRow& r, std::int64_t now, std::string_view username = "user",
                     std::string_view verifier = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv") {
  return refusal(&r, username, verifier, now).value_or("admitted");
}

}  // namespace

TEST_CASE("a device is admitted while its request is open and inside its window") {
  CHECK(why(row(Admission::kOpen), 99) == "not-yet-active");
  CHECK(why(row(Admission::kOpen), 100) == "admitted");
  CHECK(why(row(Admission::kOpen), 199) == "admitted");
  CHECK(why(row(Admission::kOpen), 200) == "expired");
  CHECK(why(row(Admission::kDisabled), 150) == "disabled");
  CHECK(why(row(Admission::kAbandoned), 150) == "abandoned");
}

TEST_CASE("a completed device is admitted within its grace period") {
  CHECK(why(row(Admission::kCompleted), 150) == "admitted");
  CHECK(why(row(Admission::kCompleted), 200) == "completed");
}

TEST_CASE("wrong credentials are that, whatever the state") {
  CHECK(why(row(Admission::kOpen), 150, "User") == "wrong-credentials");
  CHECK(why(row(Admission::kOpen), 150, "") == "wrong-credentials");
  CHECK(why(row(Admission::kOpen), 150, "user", "") == "wrong-credentials");
  CHECK(why(row(Admission::kOpen), 150, "user", std::string(32, 'w')) == "wrong-credentials");
  CHECK(why(row(Admission::kDisabled), 150, "user", std::string(32, 'w')) == "wrong-credentials");
}

TEST_CASE("an unknown device is refused even with the credentials of nobody") {
  CHECK(refusal(nullptr, "", std::string(32, '\0'), 0) == "unknown");
}

TEST_CASE("the reader finds rows as they are written") {
  const test::TempFolder folder;
  Writer writer(folder / "a.db");
  AdmissionReader reader(folder / "a.db");
  REQUIRE(reader.open(kStart));
  CHECK_FALSE(reader.find("gw-1", kStart)->has_value());
  writer.add("gw-1");
  const auto found = reader.find("gw-1", kStart);
  REQUIRE(found);
  REQUIRE(*found);
  CHECK((*found)->username == "user");
  CHECK((*found)->verifier == Bytes(32, '\0'));
  CHECK((*found)->state == Admission::kOpen);
  CHECK((*found)->opens_ms == 5);
  CHECK((*found)->closes_ms == 9);
  CHECK_FALSE(reader.find("GW-1", kStart)->has_value());
  writer.run("DELETE FROM device");
  CHECK_FALSE(reader.find("gw-1", kStart)->has_value());
}

TEST_CASE("a missing or foreign file is an error that names it") {
  const test::TempFolder folder;
  AdmissionReader missing(folder / "none.db");
  const auto opened = missing.open(kStart);
  REQUIRE_FALSE(opened);
  CHECK(opened.error().message.find("none.db") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "none.db"));
  std::ofstream(folder / "text.db") << "this is not a database, not even nearly one";
  CHECK_FALSE(AdmissionReader(folder / "text.db").open(kStart));
  std::ofstream(folder / "empty.db").close();
  CHECK_FALSE(AdmissionReader(folder / "empty.db").open(kStart));
}

TEST_CASE("a locked database is unavailable at once, and available at once when the lock is gone") {
  const test::TempFolder folder;
  Writer writer(folder / "a.db");
  writer.run("PRAGMA journal_mode=DELETE");
  writer.add("gw-1");
  AdmissionReader reader(folder / "a.db");
  REQUIRE(reader.open(kStart));
  writer.run("BEGIN EXCLUSIVE");
  const auto before = std::chrono::steady_clock::now();
  CHECK(reader.find("gw-1", kStart).error().code == ErrorCode::kUnavailable);
  CHECK(std::chrono::steady_clock::now() - before < std::chrono::milliseconds(500));
  writer.run("COMMIT");
  CHECK(reader.find("gw-1", kStart)->has_value());
}

// The broker's user may read the projection and its index, and write to neither. Between the stores with which a writer
// begins its log anew, SQLite has no read mark that such a reader could use, and cannot set one for it.
TEST_CASE("a reader that may only read waits for a writer that is beginning its log anew, and is not out of order after it") {
  constexpr int kNobody = 65534;
  // SQLite's wal-index: two headers of 48 bytes, how far the log was copied back, five read marks (walformat.html §2.1)
  constexpr off_t kReadMarks = 100;
  using Marks = std::array<std::uint32_t, 5>;
  const test::TempFolder folder;
  const auto path = folder / "admission.db";
  std::array<int, 2> to_reader{}, to_writer{};
  REQUIRE(::pipe(to_reader.data()) == 0);
  REQUIRE(::pipe(to_writer.data()) == 0);

  const pid_t child = ::fork();  // before the writer opens anything: SQLite's state is not for two processes
  if (child == 0) {
    if (::geteuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) ::_exit(100);
    ::close(to_reader[1]);
    AdmissionReader reader(path);
    char next = 0;
    while (::read(to_reader[0], &next, 1) == 1) {  // each lookup at the same moment, as the reader counts
      const auto begun = std::chrono::steady_clock::now();
      const bool found = reader.find("A", kStart).has_value();
      const bool waited = std::chrono::steady_clock::now() - begun >= Millis(5);
      const char answer = found ? 'f' : waited ? 'w' : 'r';
      if (::write(to_writer[1], &answer, 1) != 1) ::_exit(1);
    }
    ::_exit(0);
  }
  REQUIRE(child > 0);
  const auto ask = [&] { REQUIRE(::write(to_reader[1], "x", 1) == 1); };
  const auto answer = [&] {
    char said = '?';
    static_cast<void>(::read(to_writer[0], &said, 1));
    return said;
  };
  const auto look = [&] {
    ask();
    return answer();
  };
  Writer writer(path);
  writer.add("A");
  for (const char* suffix : {"", "-wal"}) {
    std::filesystem::permissions(path.string() + suffix, std::filesystem::perms(0644));
  }
  const Fd index(::open((path.string() + "-shm").c_str(), O_RDWR));
  REQUIRE(index);
  std::filesystem::permissions(path.string() + "-shm", std::filesystem::perms(0444));
  Marks marks{};
  REQUIRE(::pread(index.get(), marks.data(), sizeof marks, kReadMarks) == sizeof marks);
  const Marks none{0, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff};
  const auto set_marks = [&](const Marks& to) { REQUIRE(::pwrite(index.get(), to.data(), sizeof to, kReadMarks) == sizeof to); };
  CHECK(look() == 'f');
  // a writer that is back in a moment is waited for
  for (int i = 0; i < 20; ++i) {
    set_marks(none);
    const auto asked = std::chrono::steady_clock::now();
    ask();
    std::this_thread::sleep_for(std::chrono::microseconds(500));
    set_marks(marks);
    const bool in_time = std::chrono::steady_clock::now() - asked < Millis(4);  // others may have the processors
    CHECK((answer() == 'f' || !in_time));
  }
  // one that is not: for 5 ms, and the next time not at all
  set_marks(none);
  CHECK(look() == 'w');
  CHECK(look() != 'f');
  set_marks(marks);
  CHECK(look() == 'f');
  set_marks(none);
  CHECK(look() == 'w');
  ::close(to_reader[1]);
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

TEST_CASE("a reader does not keep the writer from checkpointing") {
  const test::TempFolder folder;
  Writer writer(folder / "a.db");
  writer.add("gw-1");
  AdmissionReader reader(folder / "a.db");
  REQUIRE(reader.find("gw-1", kStart)->has_value());
  writer.run("PRAGMA wal_checkpoint(TRUNCATE)");
  CHECK(std::filesystem::file_size((folder / "a.db").string() + "-wal") == 0);
  CHECK(reader.find("gw-1", kStart)->has_value());
}

TEST_CASE("a file that was replaced is read anew, at most once a second") {
  const test::TempFolder folder;
  {
    Writer writer(folder / "a.db");
    writer.add("old");
  }
  AdmissionReader reader(folder / "a.db");
  REQUIRE(reader.find("old", kStart)->has_value());
  {
    Writer writer(folder / "b.db");
    writer.add("new");
  }
  std::filesystem::rename(folder / "b.db", folder / "a.db");
  CHECK(reader.find("old", kStart + Millis(999))->has_value());
  CHECK_FALSE(reader.find("old", kStart + Seconds(1))->has_value());
  CHECK(reader.find("new", kStart + Seconds(1))->has_value());
  std::filesystem::remove(folder / "a.db");
  CHECK_FALSE(reader.find("new", kStart + Seconds(2)));
  CHECK_FALSE(reader.find("new", kStart + Millis(2500)));
}

TEST_CASE("a table that changed its form is unavailable, and read again once it is back") {
  const test::TempFolder folder;
  Writer writer(folder / "a.db");
  writer.add("gw-1");
  AdmissionReader reader(folder / "a.db");
  REQUIRE(reader.find("gw-1", kStart)->has_value());
  writer.run("ALTER TABLE device RENAME TO elsewhere");
  CHECK_FALSE(reader.find("gw-1", kStart));
  writer.run("ALTER TABLE elsewhere RENAME TO device");
  CHECK_FALSE(reader.find("gw-1", kStart + Millis(500)));
  CHECK(reader.find("gw-1", kStart + Seconds(1))->has_value());
}
