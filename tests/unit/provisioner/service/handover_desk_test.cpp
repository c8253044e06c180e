// Who is told what at owners' brokers, in which order, and how many at a time; with connectors that end when the test lets
// them.
#include "provisioner/service/handover_desk.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>

#include <boost/asio/post.hpp>
#include <doctest/doctest.h>

#include "core/base/log.hpp"
#include "core/crypto/key.hpp"
#include "provisioner/edc/dialect.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace std::chrono_literals;

namespace {

// Connectors as the desk sees them. One is named by what it does: "hand-over GW1", "take-back GW1".
class Connectors {
 public:
  Result<void> run(const OwnerErrand& errand, const std::atomic<bool>& stopping) {
    const std::string name = fmt::format("{} {}", to_string(errand.kind), errand.login.client_id);
    std::unique_lock lock(mutex_);
    CHECK(clients_.insert(errand.login.client_id).second);
    CHECK(++accounts_[errand.login.account] <= static_cast<int>(HandoverDesk::kConnectorsOfAccount));
    CHECK(clients_.size() <= HandoverDesk::kConnectors);
    begun_.push_back(name);
    while (!stopping && !all_ && ended_.count(name) == 0) wake_.wait_for(lock, 5ms);
    clients_.erase(errand.login.client_id);
    --accounts_[errand.login.account];
    return {};
  }
  void end(const std::string& name) {
    const std::lock_guard lock(mutex_);
    ended_.insert(name);
    wake_.notify_all();
  }
  void end_all() {
    const std::lock_guard lock(mutex_);
    all_ = true;
    wake_.notify_all();
  }
  // All so far, in the order of their beginnings.
  std::vector<std::string> begun() const {
    const std::lock_guard lock(mutex_);
    return begun_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::string> begun_;
  std::set<std::string> clients_, ended_;
  std::map<std::string, int> accounts_;
  bool all_ = false;
};

struct Desk {
  Desk() {
    log::set_level(log::Level::kError);
    StoreSettings settings;
    settings.database = folder / "provisioner.db";
    settings.admission = folder / "admission.db";
    auto opened = Store::open(settings, [this](std::function<void()> done) { boost::asio::post(io, std::move(done)); });
    REQUIRE(opened.has_value());
    store = std::move(*opened);
    open();
  }
  ~Desk() {
    desk->stop();
    store.reset();
  }

  // As when the service starts.
  void open() {
    desk = std::make_unique<HandoverDesk>(
        io, *store, executor, [this](Outcome outcome) { delivered.push_back(std::move(outcome)); },
        [this](const OwnerErrand& errand, const std::atomic<bool>& stopping) { return connectors.run(errand, stopping); });
  }

  void run(const Work& work) {
    const auto done = store->run(work);
    REQUIRE_MESSAGE(done.has_value(), (done ? "" : done.error().message));
  }
  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      io.restart();
      io.run_for(1ms);
    }
    return condition();
  }
  bool until_begun(std::size_t count) {
    return until([&] { return connectors.begun().size() >= count; });
  }
  // What was to come has come, and no more does.
  void settle() {
    run([](Transaction&) -> Result<void> { return {}; });
    for (int i = 0; i < 20; ++i) {
      io.restart();
      io.run_for(2ms);
    }
  }

  // An account, its profile, and a request of that name; once each.
  void add_request(const std::string& account, const std::string& client_id) {
    run([&](Transaction& tx) -> Result<void> {
      Account owner;
      owner.name = account;
      owner.broker_url = "mqtts://owner";
      owner.credentials = OwnerCredentials::kPassword;
      owner.connector.command = {"/bin/true"};
      TRY(tx.put_account(owner));
      Profile profile;
      profile.name = profile.account = account;
      TRY(tx.put_profile(profile));
      ProvisionRequest request;
      request.name = request.client_id = request.username = client_id;
      request.profile = account;
      request.connect_verifier = request.username_verifier = Bytes(32, 'v');
      return tx.insert_request(request);
    });
  }
  // An attempt that waits for its handing over alone, or for a reply as well. Its id.
  std::int64_t add_attempt(const std::string& client_id, bool ready = true) {
    std::int64_t id = 0;
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(const auto request, tx.find_request_by_client_id(client_id));
      Attempt attempt;
      attempt.request_id = request->id;
      attempt.started_at = attempt.moved_at = wall_now();
      attempt.handover = Handover::kPending;
      attempt.owner_account = request->profile;
      attempt.owner_username = client_id;
      attempt.owner_password = Secret("password");
      TRY(tx.insert_attempt(attempt));
      id = attempt.id;
      Step step;
      step.attempt_id = id;
      step.rid = random_id();
      if (ready) step.replied_at = wall_now();
      if (ready) step.reply_code = 200;
      TRY(tx.insert_steps({step}));
      Step configuration;
      configuration.attempt_id = id;
      configuration.ordinal = 1;
      configuration.kind = StepKind::kConfiguration;
      configuration.rid = random_id();
      configuration.held = true;
      return tx.insert_steps({configuration});
    });
    return id;
  }
  std::int64_t add(const std::string& account, const std::string& client_id) {
    add_request(account, client_id);
    return add_attempt(client_id);
  }
  // Deletes the request; the logins that are to be taken back.
  std::vector<std::int64_t> remove(const std::string& client_id) {
    Outcome outcome;
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(outcome, executor.remove(tx, client_id, "tester", wall_now()));
      return {};
    });
    return outcome.take_back;
  }
  Handover handover(std::int64_t attempt_id) {
    std::optional<Attempt> attempt;
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(attempt, tx.find_attempt(attempt_id));
      return {};
    });
    return attempt ? attempt->handover : Handover::kNone;
  }
  std::optional<GivenLogin> login(std::int64_t id) {
    std::optional<GivenLogin> found;
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(found, tx.find_login(id));
      return {};
    });
    return found;
  }
  std::vector<std::string> audit() {
    std::vector<std::string> lines;
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(const auto entries, tx.list_audit({.kind = "take-back"}));
      for (const AuditEntry& entry : entries) lines.push_back(entry.client_id + " " + entry.text);
      return {};
    });
    return lines;
  }

  fleet::test::TempFolder folder;
  boost::asio::io_context io{1};
  std::unique_ptr<Store> store;
  EdcDialect dialect{"provision", "provisioner", crypto::PrivateKey::generate().value()};
  Executor executor{ExecutorSettings{Bytes(32, 'k'), "", "", {}}, dialect};
  Connectors connectors;
  std::vector<Outcome> delivered;
  std::unique_ptr<HandoverDesk> desk;
};

}  // namespace

TEST_CASE("Two connectors at a time work for an account and four in all, in their order, and in the end all have worked") {
  Desk t;
  std::vector<std::int64_t> attempts;
  for (const std::string account : {"one", "two", "three"}) {
    for (const std::string number : {"A", "B", "C", "D"}) attempts.push_back(t.add(account, account + number));
  }
  for (const std::int64_t attempt : attempts) t.desk->hand_over(attempt);
  REQUIRE(t.until_begun(4));
  t.settle();
  auto begun = t.connectors.begun();
  std::sort(begun.begin(), begun.end());
  CHECK(begun == std::vector<std::string>{"hand-over oneA", "hand-over oneB", "hand-over twoA", "hand-over twoB"});
  // a place is given to the first who may have it
  t.connectors.end("hand-over twoB");
  REQUIRE(t.until_begun(5));
  t.settle();
  CHECK(t.connectors.begun().size() == 5);
  CHECK(t.connectors.begun().back() == "hand-over twoC");
  t.connectors.end("hand-over oneA");
  t.connectors.end("hand-over twoA");
  REQUIRE(t.until_begun(7));
  t.connectors.end_all();
  for (const std::int64_t attempt : attempts) {
    CHECK(t.until([&] { return t.handover(attempt) == Handover::kDone; }));
  }
  CHECK(t.connectors.begun().size() == attempts.size());
}

TEST_CASE("For a device one connector works at a time, and what has become of no use meanwhile is not done") {
  Desk t;
  t.add("acme", "GW1");
  std::int64_t first = 0;
  t.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto attempts, tx.attempts_to_hand_over());
    first = attempts.front().id;
    return {};
  });
  t.desk->hand_over(first);
  REQUIRE(t.until_begun(1));
  // the device starts over, twice: only the last of its attempts is of use when the first connector ends
  const auto supersede = [&](std::int64_t attempt_id) {
    t.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(auto attempt, tx.find_attempt(attempt_id));
      attempt->state = AttemptState::kSuperseded;
      attempt->handover = Handover::kNone;
      return tx.update_attempt(*attempt);
    });
  };
  const auto start_over = [&](int number) {
    std::int64_t id = 0;
    t.run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(auto attempt, tx.find_attempt(first));
      attempt->state = AttemptState::kOpen;
      attempt->handover = Handover::kPending;
      attempt->number = number;
      TRY(tx.insert_attempt(*attempt));
      id = attempt->id;
      Step configuration;
      configuration.attempt_id = id;
      configuration.kind = StepKind::kConfiguration;
      configuration.rid = random_id();
      configuration.held = true;
      return tx.insert_steps({configuration});
    });
    return id;
  };
  supersede(first);
  const std::int64_t second = start_over(2);
  t.desk->hand_over(second);
  t.settle();
  supersede(second);
  const std::int64_t third = start_over(3);
  t.desk->hand_over(third);
  t.settle();
  CHECK(t.connectors.begun().size() == 1);
  t.connectors.end("hand-over GW1");
  CHECK(t.until([&] { return t.handover(third) == Handover::kDone; }));
  CHECK(t.connectors.begun().size() == 2);
  CHECK(t.handover(second) == Handover::kNone);
}

TEST_CASE("A login is taken back when its handing over has ended, however the two came to meet") {
  Desk t;
  const std::int64_t attempt = t.add("acme", "GW1");
  t.desk->hand_over(attempt);
  REQUIRE(t.until_begun(1));
  const auto logins = t.remove("GW1");
  REQUIRE(logins.size() == 1);
  t.desk->take_back(logins[0]);
  t.settle();
  CHECK(t.connectors.begun() == std::vector<std::string>{"hand-over GW1"});
  t.connectors.end_all();
  CHECK(t.until([&] { return !t.login(logins[0]); }));
  CHECK(t.connectors.begun() == std::vector<std::string>{"hand-over GW1", "take-back GW1"});
  CHECK(t.audit() == std::vector<std::string>{"GW1 login GW1 at the broker of account acme: taken back"});
}

TEST_CASE("A login that a new request is given while it is taken back is there in the end, and kept") {
  Desk t;
  const std::int64_t attempt = t.add("acme", "GW1");
  t.desk->hand_over(attempt);
  t.connectors.end("hand-over GW1");
  REQUIRE(t.until([&] { return t.handover(attempt) == Handover::kDone; }));
  const auto logins = t.remove("GW1");
  REQUIRE(logins.size() == 1);
  t.desk->take_back(logins[0]);
  REQUIRE(t.until_begun(2));
  const std::int64_t again = t.add("acme", "GW1");
  t.desk->hand_over(again);
  t.settle();
  CHECK(t.connectors.begun().size() == 2);
  t.connectors.end("take-back GW1");
  CHECK(t.until([&] { return t.handover(again) == Handover::kDone; }));
  CHECK(t.connectors.begun() == std::vector<std::string>{"hand-over GW1", "take-back GW1", "hand-over GW1"});
  REQUIRE(t.login(logins[0]).has_value());
  CHECK_FALSE(t.login(logins[0])->given_up);
}

TEST_CASE("A start takes up what was left to do, and what is not to be done yet comes when it is") {
  Desk t;
  t.connectors.end_all();
  const std::int64_t ready = t.add("acme", "GW1");
  t.add_request("acme", "GW2");
  const std::int64_t waiting = t.add_attempt("GW2", false);
  t.add_request("acme", "GW3");
  t.run([](Transaction& tx) { return tx.keep_login("acme", "GW3", "old"); });
  const auto logins = t.remove("GW3");
  REQUIRE(logins.size() == 1);
  REQUIRE(t.desk->start());
  CHECK(t.until([&] { return t.handover(ready) == Handover::kDone && !t.login(logins[0]); }));
  t.settle();
  CHECK(t.handover(waiting) == Handover::kPending);
  CHECK(t.connectors.begun().size() == 2);
  t.run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(auto steps, tx.steps_of(waiting));
    steps[0].replied_at = wall_now();
    steps[0].reply_code = 200;
    return tx.update_step(steps[0]);
  });
  t.desk->hand_over(waiting);
  CHECK(t.until([&] { return t.handover(waiting) == Handover::kDone; }));
}

TEST_CASE("A login at an account that has passwords no more is let go, and the audit tells it") {
  Desk t;
  t.add_request("acme", "GW1");
  t.run([](Transaction& tx) -> Result<void> {
    TRY(tx.keep_login("acme", "GW1", "GW1"));
    TRY_ASSIGN(auto account, tx.find_account("acme"));
    account->credentials = OwnerCredentials::kX509;
    account->connector = {};
    return tx.put_account(*account);
  });
  const auto logins = t.remove("GW1");
  REQUIRE(logins.size() == 1);
  t.desk->take_back(logins[0]);
  CHECK(t.until([&] { return !t.login(logins[0]); }));
  CHECK(t.connectors.begun().empty());
  CHECK(t.audit() == std::vector<std::string>{"GW1 login GW1 at the broker of account acme: cannot be taken back: the "
                                              "account has no connector any more"});
}
