// Two cells on one database: what each hears of the other, whose an attempt is, who waits for whom, and what becomes of work
// when the database goes away.
#include <atomic>
#include <future>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "provisioner/store_postgres/store.hpp"
#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

// A cell's store, and the projection that its plugin would read.
class Cell {
 public:
  Cell(std::string url, std::string name) : url_(std::move(url)), name_(std::move(name)) { open(); }

  Result<std::unique_ptr<Store>> try_open() const {
    return open_postgres_store({.url = url_, .cell = name_}, {.database = {}, .admission = folder_ / "admission.db"}, post_inline);
  }
  void open() {
    store.reset();
    auto opened = try_open();
    REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
    store = std::move(*opened);
    store->hear_other_cells([this](const Tidings& tidings) {
      const std::lock_guard lock(mutex_);
      kicked_.insert(tidings.kick.begin(), tidings.kick.end());
    });
  }
  void must(const Work& work) {
    const Result<void> done = store->run(work);
    REQUIRE_MESSAGE(done.has_value(), why(done));
  }
  ProvisionRequest insert(const std::string& name) {
    ProvisionRequest request = sample_request(name);
    must([&](Transaction& tx) { return tx.insert_request(request); });
    return request;
  }
  std::optional<Admission> admission(const std::string& client_id) const {
    auto database = sqlite::Database::open(folder_ / "admission.db", {.read_only = true});
    REQUIRE(database);
    auto query = database->prepare("SELECT state FROM device WHERE client_id = ?1");
    REQUIRE(query);
    query->bind(1, client_id);
    const auto row = query->next();
    REQUIRE(row);
    return *row ? std::optional(static_cast<Admission>(query->integer(0))) : std::nullopt;
  }
  bool has_kicked(const std::string& client_id) {
    const std::lock_guard lock(mutex_);
    return kicked_.contains(client_id);
  }

  std::unique_ptr<Store> store;

 private:
  std::string url_, name_;
  test::TempFolder folder_;
  std::mutex mutex_;
  std::set<std::string> kicked_;
};

struct TwoCells {
  std::string url = postgres_server().create_database();
  Cell a{url, "a"};
  Cell b{url, "b"};

  std::string sql(const std::string& query) const { return test::PostgresServer::query(url, query); }
};

TEST_CASE("what changes through one cell reaches the other's projection, with the kicks, and also one that was away") {
  TwoCells cells;
  ProvisionRequest one = cells.a.insert("one");
  CHECK(test::eventually([&] { return cells.b.admission("cid-one") == Admission::kOpen; }));
  const auto disable = [&](Cell& at, ProvisionRequest& request) {
    at.must([&](Transaction& tx) -> Result<void> {
      request.enabled = false;
      TRY(tx.update_request(request));
      return tx.tell_other_cells({.kick = {request.client_id}});
    });
  };
  disable(cells.a, one);
  CHECK(cells.a.admission("cid-one") == Admission::kDisabled);
  CHECK(test::eventually([&] { return cells.b.admission("cid-one") == Admission::kDisabled && cells.b.has_kicked("cid-one"); }));
  CHECK_FALSE(cells.a.has_kicked("cid-one"));  // its own service does that by itself

  cells.b.store.reset();
  ProvisionRequest two = cells.a.insert("two");
  disable(cells.a, two);
  SUBCASE("and catches up") { cells.b.open(); }
  SUBCASE("so long that it must begin anew") {
    cells.sql("DELETE FROM feed WHERE number < (SELECT number FROM feed_head)");
    cells.b.open();
  }
  CHECK(test::eventually([&] { return cells.b.admission("cid-two") == Admission::kDisabled; }));
}

TEST_CASE("a change that a cell has not heard of yet when it records its own is not passed over") {
  TwoCells cells;
  cells.a.insert("zero");
  CHECK(test::eventually([&] { return cells.b.admission("cid-zero") == Admission::kOpen; }));
  ProvisionRequest one = cells.a.insert("one");
  // having just been told of something, it listens again only after a while
  CHECK(test::eventually([&] { return cells.b.admission("cid-one") == Admission::kOpen; }));
  cells.a.must([&](Transaction& tx) -> Result<void> {
    one.enabled = false;
    return tx.update_request(one);
  });
  cells.b.insert("two");
  CHECK(cells.b.admission("cid-two") == Admission::kOpen);
  CHECK(test::eventually([&] { return cells.b.admission("cid-one") == Admission::kDisabled; }));
}

// Everything that the projections look at, as the database has it.
std::string admission_of_all(const TwoCells& cells) {
  return cells.sql("SELECT string_agg(client_id || CASE WHEN enabled THEN ' open' ELSE ' disabled' END, ',' ORDER BY client_id) FROM request");
}

TEST_CASE("after a rush of changes through both cells, and a restart of one, both projections hold what the database holds") {
  constexpr int kNames = 12, kChanges = 150;
  TwoCells cells;
  const auto name_of = [](unsigned number) { return fmt::format("n{:02}", number); };
  for (unsigned number = 0; number < kNames; ++number) cells.a.insert(name_of(number));
  const auto rush = [&](Cell& cell, unsigned seed) {
    std::mt19937 random(seed);
    for (int change = 0; change < kChanges; ++change) {
      const std::string name = name_of(random() % kNames);
      const unsigned what = random() % 8;
      // several at a time, so that they share a commit; one that cannot be made (it is there, it is gone) is no matter
      cell.store->submit(
          [name, what](Transaction& tx) -> Result<void> {
            TRY_ASSIGN(auto found, tx.find_request_by_name(name));
            if (!found) {
              ProvisionRequest request = sample_request(name);
              return tx.insert_request(request);
            }
            if (what == 0) return tx.delete_request(found->id);
            found->enabled = what % 2 == 0;
            return tx.update_request(*found);
          },
          [](const Result<void>&) {});
      if (random() % 8 == 0) std::this_thread::sleep_for(Millis(random() % 20));
      if (seed == 2 && change == kChanges / 2) cell.open();
    }
  };
  std::thread at_b([&] { rush(cells.b, 2); });
  rush(cells.a, 1);
  at_b.join();
  const auto projected = [&](const Cell& cell) {
    std::string all;
    for (unsigned number = 0; number < kNames; ++number) {
      const std::string client_id = "cid-" + name_of(number);
      const auto state = cell.admission(client_id);
      if (state) all += fmt::format("{}{} {}", all.empty() ? "" : ",", client_id, *state == Admission::kOpen ? "open" : "disabled");
    }
    return all;
  };
  CHECK(test::eventually([&] {
    return cells.a.store->backlog() + cells.b.store->backlog() == 0 && projected(cells.a) == admission_of_all(cells) &&
           projected(cells.b) == admission_of_all(cells);
  }));
  CHECK(projected(cells.a) == admission_of_all(cells));
  CHECK(projected(cells.b) == admission_of_all(cells));
}

TEST_CASE("an attempt is one cell's: the other changes nothing of it, unless it takes it over, and then the first cannot") {
  TwoCells cells;
  const ProvisionRequest request = cells.a.insert("one");
  Attempt attempt = sample_attempt(request.id, 1);
  cells.a.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_attempt(attempt));
    return tx.insert_steps({sample_step(attempt.id, 0)});
  });
  const auto update = [&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto found, tx.find_attempt(attempt.id));
    return tx.update_attempt(*found);
  };
  CHECK(code(cells.b.store->run(update)) == ErrorCode::kConflict);
  CHECK(code(cells.b.store->run([&](Transaction& tx) { return tx.update_step(sample_step(attempt.id, 0)); })) == ErrorCode::kConflict);
  cells.b.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto due, tx.due_attempts(kNow + Seconds(60), 10));
    CHECK(due.empty());
    TRY_ASSIGN(auto found, tx.find_attempt(attempt.id));
    TRY(tx.take_attempt(*found));
    CHECK(found->fence == 2);
    return tx.update_attempt(*found);
  });
  CHECK(code(cells.a.store->run(update)) == ErrorCode::kConflict);
  cells.a.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto due, tx.due_attempts(kNow + Seconds(60), 10));
    CHECK(due.empty());
    return {};
  });
}

TEST_CASE("the attempts and errands of a cell whose lease has run out are whose who looks first") {
  TwoCells cells;
  const ProvisionRequest request = cells.a.insert("one");
  Attempt attempt = sample_attempt(request.id, 1);
  attempt.handover = Handover::kPending;
  cells.a.must([&](Transaction& tx) -> Result<void> {
    TRY(tx.insert_attempt(attempt));
    TRY(tx.keep_login("acme", "gone", "user"));
    TRY(tx.give_up_logins("gone"));
    return {};
  });
  const auto found_by_b = [&] {
    std::size_t due = 0, to_hand_over = 0, given_up = 0;
    cells.b.must([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(const auto attempts, tx.due_attempts(kNow + Seconds(60), 10));
      TRY_ASSIGN(const auto pending, tx.attempts_to_hand_over());
      TRY_ASSIGN(const auto logins, tx.logins_given_up());
      due = attempts.size(), to_hand_over = pending.size(), given_up = logins.size();
      return {};
    });
    return due + to_hand_over + given_up;
  };
  CHECK(found_by_b() == 0);
  cells.a.store.reset();  // gives its lease back
  CHECK(found_by_b() == 3);
  // as one that is back, the other cell has nothing of it any more
  cells.a.open();
  CHECK(cells.sql("SELECT cell, fence FROM attempt") == "b#1|2");
}

TEST_CASE("work on a request that another cell is at work on waits for it, and holds up no other") {
  TwoCells cells;
  ProvisionRequest one = cells.a.insert("one");
  cells.a.insert("two");
  std::promise<void> entered, leave;
  std::future<void> may_leave = leave.get_future();
  std::promise<Result<void>> a_done, b_done;
  cells.a.store->submit(
      [&](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(auto found, tx.find_request_by_name("one"));
        entered.set_value();
        may_leave.wait();
        found->last_error = "a";
        return tx.update_request(*found);
      },
      [&](const Result<void>& done) { a_done.set_value(done); });
  entered.get_future().wait();
  std::atomic<bool> b_has_answered = false;
  cells.b.store->submit(
      [&](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(auto found, tx.find_request_by_name("one"));
        found->last_error += "b";
        return tx.update_request(*found);
      },
      [&](const Result<void>& done) {
        b_has_answered = true;
        b_done.set_value(done);
      });
  cells.b.must([](Transaction& tx) -> Result<void> {
    TRY(tx.find_request_by_name("two"));
    return {};
  });
  CHECK_FALSE(b_has_answered);
  leave.set_value();
  CHECK(a_done.get_future().get());
  CHECK(b_done.get_future().get());
  CHECK(cells.sql("SELECT last_error FROM request WHERE name = 'one'") == "ab");
}

TEST_CASE("two cells that wait for each other's requests both get through") {
  TwoCells cells;
  for (const char* const name : {"one", "two"}) cells.a.insert(name);
  std::atomic<int> inside = 0;
  const auto both = [&](const char* first, const char* second) {
    return [&inside, first, second, entered = std::make_shared<bool>(false)](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(auto one, tx.find_request_by_name(first));
      if (!std::exchange(*entered, true)) {
        ++inside;
        test::eventually([&] { return inside == 2; });
      }
      one->last_error += "x";
      TRY(tx.update_request(*one));
      TRY_ASSIGN(auto two, tx.find_request_by_name(second));
      two->last_error += "x";
      return tx.update_request(*two);
    };
  };
  std::promise<Result<void>> a_done, b_done;
  cells.a.store->submit(both("one", "two"), [&](const Result<void>& done) { a_done.set_value(done); });
  cells.b.store->submit(both("two", "one"), [&](const Result<void>& done) { b_done.set_value(done); });
  const Result<void> at_a = a_done.get_future().get(), at_b = b_done.get_future().get();
  CHECK_MESSAGE(at_a.has_value(), why(at_a));
  CHECK_MESSAGE(at_b.has_value(), why(at_b));
  CHECK(cells.sql("SELECT string_agg(last_error, ',') FROM request") == "xx,xx");
}

TEST_CASE("a key is certified for one client id, whichever cell it is shown to") {
  TwoCells cells;
  const auto certify = [](Cell& cell, const std::string& serial, const std::string& client_id) {
    return cell.store->run([&](Transaction& tx) {
      return tx.insert_certificate({.serial = serial, .spki_sha256 = Bytes(32, 'k'), .client_id = client_id, .request_id = 1, .pem = "PEM",
                                    .not_before = kNow, .not_after = kNow, .issued_at = kNow});
    });
  };
  CHECK(certify(cells.a, "01", "C1"));
  CHECK(code(certify(cells.b, "02", "C2")) == ErrorCode::kAlreadyExists);
  CHECK(certify(cells.b, "03", "C1"));
}

TEST_CASE("work whose connection is lost before its commit is done again, once the database is back") {
  TwoCells cells;
  int times = 0;
  cells.a.must([&](Transaction& tx) -> Result<void> {
    ProvisionRequest request = sample_request("one");
    TRY(tx.insert_request(request));
    if (++times == 1) cells.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'provisioner a'");
    return {};
  });
  CHECK(times == 2);
  CHECK(cells.sql("SELECT count(*) FROM request") == "1");
  CHECK_FALSE(cells.a.store->trouble());
}

TEST_CASE("a commit that failed with its connection is done again") {
  TwoCells cells;
  // dies within the first commit, and only there: a sequence is not rolled back
  cells.sql("CREATE SEQUENCE commits; CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('commits') = 1 THEN "
            "PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END $$; CREATE CONSTRAINT TRIGGER die AFTER INSERT ON "
            "request DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()");
  int times = 0;
  cells.a.must([&](Transaction& tx) -> Result<void> {
    ++times;
    ProvisionRequest request = sample_request("one");
    return tx.insert_request(request);
  });
  CHECK(times == 2);
  CHECK(cells.sql("SELECT count(*) FROM request") == "1");
  CHECK(test::eventually([&] { return cells.b.admission("cid-one") == Admission::kOpen; }));
}

TEST_CASE("of work that finds its request changed meanwhile nothing at all is recorded") {
  TwoCells cells;
  ProvisionRequest request = cells.a.insert("one");
  // as if somebody else had been faster: the change meets no row
  cells.sql("CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; CREATE TRIGGER lose BEFORE UPDATE ON "
            "request FOR EACH ROW EXECUTE FUNCTION lose()");
  const Result<void> done = cells.a.store->run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto found, tx.find_request_by_name("one"));
    found->enabled = false;
    TRY(tx.add_audit({.at = kNow, .kind = "applied", .who = "test", .client_id = "cid-one", .text = "disabled"}));
    return tx.update_request(*found);
  });
  CHECK(code(done) == ErrorCode::kConflict);
  CHECK(cells.sql("SELECT count(*) FROM audit") == "0");
  CHECK(cells.a.admission("cid-one") == Admission::kOpen);
}

TEST_CASE("a commit of which only the answer was lost is asked after, and is not done again") {
  test::PostgresServer server;
  const std::string url = server.create_database();
  Cell cell(url, "a");
  const auto sql = [&](const std::string& query) { return test::PostgresServer::query(url, query); };
  // A commit waits for a standby that never comes, when it is on the disk already.
  sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
  sql("SELECT pg_reload_conf()");
  REQUIRE(test::eventually([&] { return sql("SHOW synchronous_standby_names") == "nobody"; }));
  int times = 0;
  std::promise<Result<void>> answered;
  cell.store->submit(
      [&](Transaction& tx) -> Result<void> {
        ++times;
        ProvisionRequest request = sample_request("one");
        return tx.insert_request(request);
      },
      [&](const Result<void>& done) { answered.set_value(done); });
  const bool ended = test::eventually([&] {
    return sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'") != "0";
  });
  const Result<void> done = answered.get_future().get();
  sql("ALTER SYSTEM RESET synchronous_standby_names");
  sql("SELECT pg_reload_conf()");
  CHECK(ended);
  CHECK_MESSAGE(done.has_value(), why(done));
  CHECK(times == 1);
  CHECK(cell.admission("cid-one") == Admission::kOpen);
}

TEST_CASE("a database that is away for long fails the work, says so, and is used again when it is back") {
  test::PostgresServer server;
  Cell cell(server.create_database(), "a");
  server.stop();
  const Result<void> failed = cell.store->run([](Transaction& tx) {
    ProvisionRequest request = sample_request("one");
    return tx.insert_request(request);
  });
  CHECK(code(failed) == ErrorCode::kUnavailable);
  CHECK(cell.store->trouble().has_value());
  server.start();
  CHECK(test::eventually([&] { return !cell.store->trouble(); }));
  cell.insert("one");
  CHECK(cell.admission("cid-one") == Admission::kOpen);
}

TEST_CASE("the older of two programs that run as one cell does nothing any more") {
  TwoCells cells;
  Cell second(cells.url, "a");
  const auto put = [](Transaction& tx) { return tx.put_account({"acme", "mqtts://a", {}}); };
  CHECK(test::eventually([&] { return !cells.a.store->run(put); }));
  CHECK(code(cells.a.store->run(put)) == ErrorCode::kConflict);
  CHECK(second.store->run(put));
  CHECK(cells.b.store->run(put));
}

TEST_CASE("a database of something else, or of a newer version, is refused and left as it is") {
  TwoCells cells;
  cells.sql("INSERT INTO migration (name, applied_at, applied_by) VALUES ('9999-future', 0, 'provisioner 99')");
  const auto newer = cells.a.try_open();
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code == ErrorCode::kUnsupported);
  CHECK(newer.error().message.find("9999-future") != std::string::npos);

  const std::string other = postgres_server().create_database();
  test::PostgresServer::query(other, "CREATE TABLE customer (id INT)");
  const auto foreign = open_postgres_store({.url = other, .cell = "a"}, {.database = {}, .admission = "/nowhere"}, post_inline);
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().code == ErrorCode::kCorrupt);
  const auto nowhere = open_postgres_store({.url = "postgresql:///x?host=/nowhere&password=secret", .cell = "a"}, {}, post_inline);
  REQUIRE_FALSE(nowhere);
  CHECK(nowhere.error().code == ErrorCode::kUnavailable);
  CHECK(nowhere.error().message.find("secret") == std::string::npos);
  const auto no_url = open_postgres_store({.url = "postgresql://u:secret@[host/", .cell = "a"}, {}, post_inline);
  REQUIRE_FALSE(no_url);
  CHECK(no_url.error().code == ErrorCode::kInvalidArgument);
  CHECK(no_url.error().message.find("secret") == std::string::npos);
}

}  // namespace
}  // namespace fleet::provisioner
