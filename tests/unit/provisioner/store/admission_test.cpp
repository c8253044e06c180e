// The admission projection follows the store, in the safe order, and heals.
#include <algorithm>
#include <fcntl.h>
#include <fstream>
#include <future>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include "provisioner/store/admission_projection.hpp"
#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

constexpr uid_t kNobody = 65534;

TEST_CASE("covers tells whether one row admits all that another does") {
  AdmissionRow row{"cid", "user", Bytes(32, 'v'), Admission::kOpen, 100, 200};
  const auto changed = [&](auto change) {
    AdmissionRow other = row;
    change(other);
    return other;
  };
  CHECK(covers(row, row));
  CHECK(covers(row, changed([](AdmissionRow& r) { r.opens_ms = 101, r.closes_ms = 199; })));
  CHECK(covers(row, changed([](AdmissionRow& r) { r.state = Admission::kCompleted; })));
  CHECK(covers(row, changed([](AdmissionRow& r) { r.state = Admission::kDisabled, r.username = "x"; })));
  CHECK(covers(std::nullopt, changed([](AdmissionRow& r) { r.opens_ms = 200; })));
  CHECK_FALSE(covers(std::nullopt, row));
  CHECK_FALSE(covers(row, changed([](AdmissionRow& r) { r.opens_ms = 99; })));
  CHECK_FALSE(covers(row, changed([](AdmissionRow& r) { r.closes_ms = 201; })));
  CHECK_FALSE(covers(row, changed([](AdmissionRow& r) { r.username = "x"; })));
  CHECK_FALSE(covers(row, changed([](AdmissionRow& r) { r.verifier[0] = 'x'; })));
  CHECK_FALSE(covers(changed([](AdmissionRow& r) { r.state = Admission::kAbandoned; }), row));
}

TEST_CASE("the projection follows every change of a request's admission and ignores all others") {
  StoreFixture fixture;
  ProvisionRequest request = sample_request("one");
  request.activates_on = kNow;
  request = fixture.insert(request);
  CHECK(fixture.admission("cid-one") == admission_of(request));
  const std::int64_t first = fixture.store_generation();
  CHECK(fixture.projection_generation() == first);

  request.last_error = "nothing about admission";
  request.status = JobStatus::kRunning;
  REQUIRE(fixture.update(request));
  CHECK(fixture.store_generation() == first);

  request.expires_on = kNow + Seconds(9);
  REQUIRE(fixture.update(request));
  CHECK(fixture.admission("cid-one") == admission_of(request));
  request.enabled = false;
  REQUIRE(fixture.update(request));
  CHECK(fixture.admission("cid-one")->state == Admission::kDisabled);
  request.enabled = true;
  request.status = JobStatus::kCompleted;
  request.completed_at = kNow;
  request.expires_on = std::nullopt;
  REQUIRE(fixture.update(request));
  CHECK(fixture.admission("cid-one")->state == Admission::kCompleted);
  CHECK(fixture.admission("cid-one")->closes_ms == to_unix_millis(kNow + kCompletedGrace));
  request.connect_verifier = Bytes(32, 'n');
  request.client_id = "cid-renamed";
  REQUIRE(fixture.update(request));
  CHECK_FALSE(fixture.admission("cid-one"));
  CHECK(fixture.admission("cid-renamed") == admission_of(request));
  CHECK(fixture.store_generation() != first);
  CHECK(fixture.projection_generation() == fixture.store_generation());
  fixture.must([&](Transaction& tx) { return tx.delete_request(request.id); });
  CHECK_FALSE(fixture.admission("cid-renamed"));
  CHECK(fixture.projection_generation() == fixture.store_generation());
}

TEST_CASE("what a commit makes of a new request in the end is what the projection holds") {
  StoreFixture fixture;
  ProvisionRequest shut = sample_request("shut"), old = sample_request("again"), anew = old;
  anew.connect_verifier = Bytes(32, 'n');
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_request(shut));
    shut.enabled = false;
    TRY(tx.update_request(shut));
    ProvisionRequest gone = sample_request("gone");
    TRY(tx.insert_request(gone));
    TRY(tx.delete_request(gone.id));
    TRY(tx.insert_request(old));
    TRY(tx.delete_request(old.id));
    return tx.insert_request(anew);
  });
  CHECK(fixture.admission("cid-shut") == admission_of(shut));
  CHECK_FALSE(fixture.admission("cid-gone"));
  CHECK(fixture.admission("cid-again") == admission_of(anew));
}

TEST_CASE("a request that one piece makes and another of the same commit shuts out is shut out") {
  StoreFixture fixture;
  ProvisionRequest request = sample_request("one");
  Result<void> other;
  // the first holds the writer up until both of the others wait for it
  std::promise<void> queued;
  fixture.store->submit([&](Transaction&) -> Result<void> { return queued.get_future().wait(), Result<void>(); }, [](Result<void>) {});
  fixture.store->submit([&](Transaction& tx) { return tx.insert_request(request); }, [](Result<void>) {});
  fixture.store->submit(
      [&](Transaction& tx) {
        request.enabled = false;
        return tx.update_request(request);
      },
      [&](Result<void> done) { other = std::move(done); });
  queued.set_value();
  fixture.must([](Transaction&) { return Result<void>(); });
  REQUIRE_MESSAGE(other.has_value(), why(other));
  CHECK(fixture.admission("cid-one") == admission_of(request));
}

TEST_CASE("two requests may swap their client ids within one piece of work") {
  StoreFixture fixture;
  ProvisionRequest one = fixture.insert(sample_request("one"));
  ProvisionRequest two = sample_request("two");
  two.connect_verifier = Bytes(32, '2');
  two = fixture.insert(two);
  fixture.must([&](Transaction& tx) -> Result<void> {
    two.client_id = "cid-parked";
    TRY(tx.update_request(two));
    one.client_id = "cid-two";
    TRY(tx.update_request(one));
    two.client_id = "cid-one";
    return tx.update_request(two);
  });
  CHECK(fixture.admission("cid-one") == admission_of(two));
  CHECK(fixture.admission("cid-two") == admission_of(one));
  CHECK_FALSE(fixture.admission("cid-parked"));
}

TEST_CASE("a projection that is missing, stale, damaged, foreign or of another schema is made anew at open") {
  StoreFixture fixture;
  fixture.insert_many(300);
  fixture.close();
  const std::filesystem::path path = fixture.folder / "admission.db";
  const auto tamper = [&](std::string_view sql) {
    auto database = sqlite::Database::open(path, {.persist_wal = true});
    REQUIRE(database);
    REQUIRE(database->execute(sql));
  };
  SUBCASE("missing") {
    for (const char* const suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path.string() + suffix);
  }
  SUBCASE("empty") {
    std::filesystem::resize_file(path, 0);
  }
  SUBCASE("no database") {
    std::ofstream(path) << std::string(20'000, 'x');
  }
  SUBCASE("damaged in the middle") {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 * 3);
    file << std::string(4096 * 2, 'x');
  }
  SUBCASE("stale") {
    tamper("DELETE FROM device WHERE client_id < 'cid-r2'; UPDATE meta SET value = value - 1");
  }
  SUBCASE("marked out of date") {
    tamper("DELETE FROM device; UPDATE meta SET value = -1");
  }
  SUBCASE("another schema") {
    tamper(
        "DROP TABLE device; CREATE TABLE device (client_id TEXT); CREATE TABLE \"odd\"\"name\" (x); CREATE VIEW v AS "
        "SELECT 1; CREATE INDEX i ON device (client_id)");
  }
  fixture.open();
  CHECK(fixture.number("admission.db", "SELECT count(*) FROM device") == 300);
  CHECK(fixture.number("admission.db", "SELECT count(*) FROM sqlite_master WHERE sql IS NOT NULL") == 2);
  CHECK(fixture.admission("cid-r7") == admission_of(*fixture.find("r7")));
  CHECK(fixture.projection_generation() == fixture.store_generation());
  fixture.insert(sample_request("after"));
  CHECK(fixture.admission("cid-after"));
}

TEST_CASE("a projection of another life of a restored store is made anew, however many changes both have seen" * sqlite_only()) {
  StoreFixture fixture;
  ProvisionRequest one = fixture.insert(sample_request("one"));
  fixture.insert(sample_request("two"));
  fixture.close();
  const auto copy = [&](const std::string& from, const std::string& to) {
    std::filesystem::copy_file(fixture.folder / from, fixture.folder / to,
                               std::filesystem::copy_options::overwrite_existing);
  };
  copy("provisioner.db", "backup.db");
  fixture.open();
  one.enabled = false;
  REQUIRE(fixture.update(one));
  fixture.close();
  copy("admission.db", "later.db");

  copy("backup.db", "provisioner.db");
  fixture.open();
  ProvisionRequest two = *fixture.find("two");
  two.enabled = false;
  REQUIRE(fixture.update(two));
  fixture.close();
  for (const char* const suffix : {"-wal", "-shm"}) {
    std::filesystem::remove((fixture.folder / "admission.db").string() + suffix);
  }
  copy("later.db", "admission.db");
  fixture.open();
  CHECK(fixture.admission("cid-one")->state == Admission::kOpen);
  CHECK(fixture.admission("cid-two")->state == Admission::kDisabled);
}

TEST_CASE("a handle that is open while the projection is made anew sees the new rows") {
  StoreFixture fixture;
  fixture.insert(sample_request("one"));
  fixture.close();
  auto reader = sqlite::Database::open(fixture.folder / "admission.db", {.read_only = true});
  REQUIRE(reader);
  auto lookup = reader->prepare("SELECT count(*) FROM device WHERE client_id = 'cid-one'");
  REQUIRE(lookup);
  {
    auto database = sqlite::Database::open(fixture.folder / "admission.db", {.persist_wal = true});
    REQUIRE(database);
    REQUIRE(database->execute("DELETE FROM device; DELETE FROM meta"));
  }
  REQUIRE(*lookup->next());
  CHECK(lookup->integer(0) == 0);
  lookup->reset();
  fixture.open();
  REQUIRE(*lookup->next());
  CHECK(lookup->integer(0) == 1);
}

TEST_CASE("a projection that cannot be written fails what would close a device, and opens devices once it can") {
  StoreFixture fixture;
  ProvisionRequest one = fixture.insert(sample_request("one"));
  auto blocker = sqlite::Database::open(fixture.folder / "admission.db", {.persist_wal = true});
  REQUIRE(blocker);
  REQUIRE(blocker->execute("BEGIN IMMEDIATE"));

  ProvisionRequest disabled = one;
  disabled.enabled = false;
  CHECK(code(fixture.update(disabled)) == ErrorCode::kUnavailable);
  CHECK(fixture.find("one")->enabled);
  fixture.insert(sample_request("two"));
  CHECK(fixture.find("two"));
  CHECK_FALSE(fixture.admission("cid-two"));
  CHECK(fixture.projection_generation() != fixture.store_generation());

  REQUIRE(blocker->execute("COMMIT"));
  CHECK(test::eventually([&] { return fixture.admission("cid-two").has_value(); }));
  CHECK(fixture.projection_generation() == fixture.store_generation());
  CHECK(fixture.admission("cid-one")->state == Admission::kOpen);
  disabled = *fixture.find("one");
  disabled.enabled = false;
  CHECK(fixture.update(disabled));
  CHECK(fixture.admission("cid-one")->state == Admission::kDisabled);
}

TEST_CASE("a projection that breaks while in use is replaced, and the store goes on") {
  StoreFixture fixture;
  fixture.insert_many(100);
  {
    // What the store's own connection will see as a damaged schema.
    auto vandal = sqlite::Database::open(fixture.folder / "admission.db", {.persist_wal = true});
    REQUIRE(vandal);
    REQUIRE(
        vandal->execute("PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE nonsense'; "
                        "PRAGMA schema_version = 4711"));
  }
  ProvisionRequest request = *fixture.find("r5");
  request.enabled = false;
  const auto refused = fixture.update(request);
  if (!refused) {
    CHECK(code(refused) == ErrorCode::kCorrupt);
    request = *fixture.find("r5");
    request.enabled = false;
    REQUIRE(fixture.update(request));
  }
  CHECK(test::eventually([&] { return fixture.projection_generation() == fixture.store_generation(); }));
  CHECK(fixture.number("admission.db", "SELECT count(*) FROM device") == 100);
  CHECK(fixture.admission("cid-r5")->state == Admission::kDisabled);
}

TEST_CASE("the three files exist with the wanted mode and are shared whenever they are made") {
  StoreFixture fixture;
  fixture.close();
  std::filesystem::remove(fixture.folder / "admission.db");
  std::filesystem::remove(fixture.folder / "admission.db-wal");
  std::filesystem::remove(fixture.folder / "admission.db-shm");
  std::vector<std::string> shared;
  StoreSettings settings = fixture.settings();
  settings.admission_mode = 0640;
  settings.share_admission = [&](const std::filesystem::path& path) -> Result<void> {
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0640);
    shared.push_back(path.filename().string());
    return {};
  };
  const std::vector<std::string> all = {"admission.db", "admission.db-wal", "admission.db-shm"};
  fixture.open(settings);
  CHECK(shared == all);
  fixture.close();
  for (const std::string& name : all) CHECK(std::filesystem::exists(fixture.folder / name));
  shared.clear();
  fixture.open(settings);
  CHECK(shared == all);

  settings.share_admission = [](const std::filesystem::path&) -> Result<void> {
    return fail(ErrorCode::kPermissionDenied, "no such group");
  };
  fixture.close();
  const auto refused = fixture.try_open(settings);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kPermissionDenied);
}

TEST_CASE("a reader under another user of the group sees the rows, with the store open and after it was closed" *
          doctest::skip(::geteuid() != 0)) {
  StoreFixture fixture;
  fixture.close();
  StoreSettings settings = fixture.settings();
  settings.admission_mode = 0640;
  settings.share_admission = [](const std::filesystem::path& path) -> Result<void> {
    if (::chown(path.c_str(), 0, kNobody) != 0) return fail(errno_error(errno, path.string()));
    return {};
  };
  fixture.open(settings);
  fixture.insert(sample_request("one"));
  const std::filesystem::path path = fixture.folder / "admission.db";
  const auto rows_seen_by_nobody = [&]() -> int {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) ::_exit(100);
      const auto private_file = sqlite::Database::open(path.parent_path() / "provisioner.db", {.read_only = true});
      if (private_file) ::_exit(101);
      auto database = sqlite::Database::open(path, {.read_only = true});
      if (!database) ::_exit(102);
      auto query = database->prepare("SELECT count(*) FROM device");
      if (!query) ::_exit(103);
      const auto row = query->next();
      ::_exit(row && *row ? static_cast<int>(query->integer(0)) : 104);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  CHECK(rows_seen_by_nobody() == 1);
  fixture.close();
  CHECK(rows_seen_by_nobody() == 1);
}

}  // namespace
}  // namespace fleet::provisioner
