// Group commit: order, isolation of pieces, answers, throughput.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

TEST_CASE("an error rolls back its own piece and leaves the others of the same commit") {
  StoreFixture fixture;
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  std::vector<Result<void>> outcomes;
  const auto note = [&](const Result<void>& outcome) { outcomes.push_back(outcome); };
  const auto insert = [](const std::string& name) {
    return [name](Transaction& tx) -> Result<void> {
      ProvisionRequest request = sample_request(name);
      return tx.insert_request(request);
    };
  };
  // The first piece holds the writer until all of them are queued.
  fixture.store->submit([&](Transaction&) -> Result<void> { return opened.wait(), Result<void>(); }, note);
  fixture.store->submit(insert("one"), note);
  fixture.store->submit(
      [&](Transaction& tx) -> Result<void> {
        TRY(insert("two")(tx));
        return fail(ErrorCode::kConflict, "changed my mind");
      },
      note);
  fixture.store->submit(
      [&](Transaction& tx) -> Result<void> {
        TRY(insert("three")(tx));
        throw std::runtime_error("out of ideas");
      },
      note);
  fixture.store->submit(insert("one"), note);
  fixture.store->submit(insert("four"), note);
  CHECK(fixture.store->backlog() == 6);
  gate.set_value();
  fixture.must([](Transaction&) -> Result<void> { return {}; });
  REQUIRE(outcomes.size() == 6);
  CHECK(outcomes[0]);
  CHECK(outcomes[1]);
  CHECK(code(outcomes[2]) == ErrorCode::kConflict);
  CHECK(outcomes[2].error().message == "changed my mind");
  CHECK(code(outcomes[3]) == ErrorCode::kInternal);
  CHECK(outcomes[3].error().message.find("out of ideas") != std::string::npos);
  CHECK(code(outcomes[4]) == ErrorCode::kAlreadyExists);
  CHECK(outcomes[5]);
  CHECK(fixture.find("one"));
  CHECK_FALSE(fixture.find("two"));
  CHECK_FALSE(fixture.find("three"));
  CHECK(fixture.find("four"));
  // What was rolled back must not have reached the plugin either.
  CHECK(fixture.admission("cid-one"));
  CHECK_FALSE(fixture.admission("cid-two"));
  CHECK_FALSE(fixture.admission("cid-three"));
}

TEST_CASE("what an error takes back of accounts and profiles is not seen by what follows") {
  StoreFixture fixture;
  const auto put = [](Transaction& tx, const std::string& account) -> Result<void> {
    TRY(tx.put_account({account, "mqtts://" + account, {}}));
    Profile profile;
    profile.name = "gateway";
    profile.account = account;
    return tx.put_profile(profile);
  };
  const auto sees = [](Transaction& tx) -> Result<std::string> {
    TRY_ASSIGN(const auto profile, tx.find_profile("gateway"));
    if (!profile) return std::string("no profile");
    TRY_ASSIGN(const auto account, tx.find_account(profile->account));
    return account ? account->broker_url : std::string("no account");
  };
  std::vector<std::string> seen;
  const auto look = [&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(std::string what, sees(tx));
    seen.push_back(std::move(what));
    return {};
  };
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY(look(tx));
    TRY(put(tx, "one"));
    return look(tx);
  });
  fixture.must(look);
  for (const bool shared : {false, true}) {
    std::promise<void> gate;
    std::shared_future<void> opened = gate.get_future().share();
    const auto ignored = [](const Result<void>&) {};
    // the first piece holds the writer, so that the others share its commit
    if (shared) fixture.store->submit([&](Transaction&) -> Result<void> { return opened.wait(), Result<void>(); }, ignored);
    fixture.store->submit(
        [&](Transaction& tx) -> Result<void> {
          TRY(put(tx, "two"));
          TRY(look(tx));
          return fail(ErrorCode::kConflict, "changed my mind");
        },
        ignored);
    if (shared) fixture.store->submit(look, ignored);
    gate.set_value();
    fixture.must(look);
  }
  fixture.must([&](Transaction& tx) { return put(tx, "three"); });
  fixture.must(look);
  CHECK(seen.front() == "no profile");
  CHECK(seen.back() == "mqtts://three");
  const auto of = [&](std::string_view what) { return std::count(seen.begin(), seen.end(), what); };
  CHECK(of("mqtts://two") >= 2);  // by who wrote it, perhaps run again
  CHECK(of("mqtts://one") >= 5);  // by all others
  CHECK(of("mqtts://one") + of("mqtts://two") + 2 == static_cast<std::ptrdiff_t>(seen.size()));
}

TEST_CASE("work that shares a commit with work that failed may run again, and shows once") {
  StoreFixture fixture;
  std::promise<void> gate;
  std::shared_future<void> opened = gate.get_future().share();
  fixture.store->submit([&](Transaction&) -> Result<void> { return opened.wait(), Result<void>(); }, {});
  int runs = 0;
  std::vector<int> runs_before_failure;
  ProvisionRequest request = sample_request("one");
  fixture.store->submit(
      [&](Transaction& tx) -> Result<void> {
        ++runs;
        ProvisionRequest copy = request;
        return tx.insert_request(copy);
      },
      {});
  fixture.store->submit([](Transaction&) -> Result<void> { return fail(ErrorCode::kNotFound, "nothing changed"); }, {});
  fixture.store->submit(
      [&](Transaction& tx) -> Result<void> {
        runs_before_failure.push_back(runs);
        ProvisionRequest two = sample_request("two");
        TRY(tx.insert_request(two));
        return fail(ErrorCode::kConflict, "changed my mind");
      },
      {});
  gate.set_value();
  fixture.must([](Transaction&) -> Result<void> { return {}; });
  CHECK(runs == 2);
  CHECK(runs_before_failure == std::vector{1, 2});  // what failed without a change costs nobody a second run
  CHECK(fixture.find("one"));
  CHECK_FALSE(fixture.find("two"));
}

TEST_CASE("the work of each of two threads is done and answered in its order, all of it before the store goes") {
  StoreFixture fixture;
  constexpr int kEach = 2000;
  std::vector<int> done[2];
  std::vector<int> answered[2];
  const auto submit_all = [&](int who) {
    for (int i = 0; i < kEach; ++i) {
      fixture.store->submit(
          [&done, who, i](Transaction& tx) -> Result<void> {
            done[who].push_back(i);
            return tx.put_account({fmt::format("account-{}", who), std::to_string(i), {}});
          },
          [&answered, who, i](const Result<void>& outcome) {
            if (outcome) answered[who].push_back(i);
          });
    }
  };
  std::thread other(submit_all, 1);
  submit_all(0);
  other.join();
  fixture.close();
  for (int who = 0; who < 2; ++who) {
    REQUIRE(done[who].size() == kEach);
    CHECK(std::is_sorted(done[who].begin(), done[who].end()));
    CHECK(answered[who] == done[who]);
  }
  fixture.open();
  fixture.must([](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto accounts, tx.list_accounts());
    REQUIRE(accounts.size() == 2);
    CHECK(accounts[0].broker_url == std::to_string(kEach - 1));
    return {};
  });
}

TEST_CASE("an answer comes after its commit is visible to other connections") {
  StoreFixture fixture;
  std::int64_t seen = -1;
  fixture.store->submit(
      [](Transaction& tx) -> Result<void> {
        ProvisionRequest request = sample_request("one");
        return tx.insert_request(request);
      },
      [&](const Result<void>&) { seen = fixture.number("provisioner.db", "SELECT count(*) FROM request"); });
  fixture.must([](Transaction&) -> Result<void> { return {}; });
  CHECK(seen == 1);
}

TEST_CASE("a database that somebody else keeps locked fails the work instead of blocking it for ever" * sqlite_only()) {
  StoreFixture fixture;
  auto blocker = sqlite::Database::open(fixture.folder / "provisioner.db", {});
  REQUIRE(blocker);
  REQUIRE(blocker->execute("BEGIN IMMEDIATE"));
  const auto put = [](Transaction& tx) { return tx.put_account({"acme", "mqtts://a", {}}); };
  CHECK(code(fixture.run(put)) == ErrorCode::kUnavailable);
  CHECK(fixture.store->backlog() == 0);
  REQUIRE(blocker->execute("COMMIT"));
  CHECK(fixture.run(put));
}

TEST_CASE("running work from within work is an error instead of waiting for ever") {
  StoreFixture fixture;
  Result<void> inner;
  fixture.must([&](Transaction&) -> Result<void> {
    inner = fixture.store->run([](Transaction&) -> Result<void> { return {}; });
    return {};
  });
  CHECK(code(inner) == ErrorCode::kInternal);
}

TEST_CASE("group commit carries many small changes a commit (throughput)") {
  StoreFixture fixture;
  ProvisionRequest request = fixture.insert(sample_request("one"));
  constexpr int kPieces = 5000;
  std::atomic<int> answered = 0;
  const auto started = std::chrono::steady_clock::now();
  for (int i = 0; i < kPieces; ++i) {
    fixture.store->submit(
        [&request, i](Transaction& tx) -> Result<void> {
          TRY(tx.update_request(request));
          return tx.add_timeline({request.id, std::nullopt, kNow, "sent", std::to_string(i)});
        },
        [&](const Result<void>& outcome) { answered += outcome ? 1 : 0; });
  }
  fixture.must([](Transaction&) -> Result<void> { return {}; });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  CHECK(answered == kPieces);
  MESSAGE(static_cast<int>(kPieces / took.count()) << " pieces of work a second");
}

// What a read found, once it is done.
std::int64_t read_total(StoreFixture& fixture) {
  std::promise<std::int64_t> total;
  fixture.store->read(
      [&](Transaction& tx) -> Result<void> {
        TRY_ASSIGN(const RequestProgress progress, tx.progress_of({}, kNow, 0));
        total.set_value(progress.total);
        return {};
      },
      [](const Result<void>& done) { CHECK_MESSAGE(done.has_value(), why(done)); });
  return total.get_future().get();
}

TEST_CASE("a read does not wait for the writer, and sees what was committed, no more") {
  StoreFixture fixture;
  fixture.insert_many(2);
  fixture.must([&](Transaction& tx) -> Result<void> {
    ProvisionRequest third = sample_request("third");
    TRY(tx.insert_request(third));
    CHECK(read_total(fixture) == 2);  // from within the writer: it would never end if it waited for it
    return {};
  });
  CHECK(read_total(fixture) == 3);
}

TEST_CASE("a read can change nothing, and one that throws harms no other") {
  StoreFixture fixture;
  std::promise<ErrorCode> changed, thrown;
  fixture.store->read(
      [](Transaction& tx) {
        ProvisionRequest request = sample_request("one");
        return tx.insert_request(request);
      },
      [&](const Result<void>& done) { changed.set_value(done ? ErrorCode::kInternal : done.error().code); });
  fixture.store->read([](Transaction&) -> Result<void> { throw std::runtime_error("a defect"); },
                      [&](const Result<void>& done) { thrown.set_value(done ? ErrorCode::kIo : done.error().code); });
  CHECK(changed.get_future().get() != ErrorCode::kInternal);
  CHECK(thrown.get_future().get() == ErrorCode::kInternal);
  CHECK(read_total(fixture) == 0);
}

}  // namespace
}  // namespace fleet::provisioner
