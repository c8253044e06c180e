// The conductor against a real store whose work the test lets through by hand, and a session that never connects.
#include "provisioner/service/conductor.hpp"

#include <deque>
#include <utility>

#include <doctest/doctest.h>

#include "core/base/log.hpp"
#include "core/protocol/message.hpp"
#include "provisioner/edc/dialect.hpp"
#include "tests/support/process.hpp"
#include "tests/support/temp_folder.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace std::chrono_literals;

namespace {

// Holds every piece of work until the test lets it through.
class HoldingStore final : public Store {
 public:
  HoldingStore() {
    StoreSettings settings;
    settings.database = folder_ / "provisioner.db";
    settings.admission = folder_ / "admission.db";
    auto opened = Store::open(std::move(settings), [](std::function<void()> done) { done(); });
    REQUIRE(opened.has_value());
    store_ = std::move(*opened);
  }

  void submit(Work work, Done done) override { held_.emplace_back(std::move(work), std::move(done)); }
  void read(Work work, Done done) override { store_->read(std::move(work), std::move(done)); }
  Result<void> run(Work work) override { return store_->run(std::move(work)); }
  std::size_t backlog() const override { return held_.size(); }

  // The oldest piece runs and commits, or fails with `error` without having run.
  void let_through(std::optional<Error> error = {}) {
    REQUIRE_FALSE(held_.empty());
    auto [work, done] = std::move(held_.front());
    held_.pop_front();
    done(error ? Result<void>(fail(*error)) : store_->run(work));
  }

 private:
  fleet::test::TempFolder folder_;
  std::unique_ptr<Store> store_;
  std::deque<std::pair<Work, Done>> held_;
};

struct Stage {
  Stage() {
    log::set_level(log::Level::kError);
    conductor.connect(session);
    run([&](Transaction& tx) -> Result<void> {
      ProvisionRequest request;
      request.name = "gw1";
      request.client_id = "GW1";
      request.connect_verifier = request.username_verifier = Bytes(32, 'v');
      request.created_at = request.updated_at = wall_now();
      TRY(tx.insert_request(request));
      request_id = request.id;
      return {};
    });
  }

  static ConductorSettings settings() {
    ConductorSettings settings;
    settings.account = "provision";
    settings.provisioner_id = "provisioner";
    settings.first_sweep_after = settings.sweep_every = Millis(1);
    return settings;
  }

  void run(const Work& work) { REQUIRE(store.run(work).has_value()); }
  // Lets timers pass until so many pieces of work are held; false if they do not come.
  bool until_held(std::size_t count) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (store.backlog() < count && std::chrono::steady_clock::now() < end) {
      io.restart();
      io.run_for(1ms);
    }
    return store.backlog() == count;
  }
  void open_attempt(WallTime moved_at, Millis timeout) {
    run([&](Transaction& tx) -> Result<void> {
      Attempt attempt;
      attempt.request_id = request_id;
      attempt.started_at = attempt.moved_at = moved_at;
      attempt.timeout = timeout;
      attempt.due_at = moved_at + timeout;
      return tx.insert_attempt(attempt);
    });
  }
  Attempt attempt() {
    std::optional<Attempt> found;
    run([&](Transaction& tx) -> Result<void> {
      TRY_ASSIGN(found, tx.latest_attempt(request_id));
      return {};
    });
    REQUIRE(found.has_value());
    return *found;
  }

  boost::asio::io_context io;
  HoldingStore store;
  EdcDialect dialect{"provision", "provisioner", crypto::PrivateKey::generate().value()};
  Executor executor{ExecutorSettings{Bytes(32, 'k'), "", "", {}}, dialect};
  BrokerSession session{io, "/nowhere", "provisioner", {}};
  Conductor conductor{io, settings(), store, executor, dialect};
  std::int64_t request_id = 0;
};

}  // namespace

TEST_CASE("An attempt whose deadline passes while the sweep waits for the store is not failed by that sweep") {
  Stage stage;
  stage.conductor.on_session(true);
  REQUIRE(stage.until_held(1));
  stage.store.let_through();
  REQUIRE(stage.until_held(1));
  // the sweep is on its way, and judges as of then: this deadline is later
  stage.open_attempt(wall_now(), Millis(1));
  while (wall_now() <= stage.attempt().moved_at + Millis(1)) {
  }
  stage.store.let_through();
  CHECK(stage.attempt().state == AttemptState::kOpen);
  REQUIRE(stage.until_held(1));
  stage.store.let_through();
  CHECK(stage.attempt().state == AttemptState::kFailed);
}

TEST_CASE("Nothing is swept without a session, and after each return deadlines are put off first") {
  Stage stage;
  const WallTime long_ago = wall_now() - Seconds(100'000);
  stage.open_attempt(long_ago, Seconds(300));
  stage.conductor.on_session(true);
  REQUIRE(stage.until_held(1));
  // not kept: tried again before anything is swept
  stage.store.let_through(Error{ErrorCode::kNoSpace, "disk full"});
  CHECK(stage.attempt().moved_at == long_ago);
  REQUIRE(stage.until_held(1));
  stage.store.let_through();
  CHECK(stage.attempt().moved_at > wall_now() - Seconds(300));
  REQUIRE(stage.until_held(1));
  stage.conductor.on_session(false);
  stage.store.let_through();  // a sweep that was on its way
  CHECK(stage.attempt().state == AttemptState::kOpen);
  stage.io.restart();
  stage.io.run_for(50ms);
  CHECK(stage.store.backlog() == 0);
  stage.conductor.on_session(true);
  CHECK(stage.until_held(1));
  stage.conductor.on_session(false);
  stage.store.let_through();
  stage.io.restart();
  stage.io.run_for(50ms);
  CHECK(stage.store.backlog() == 0);
}

TEST_CASE("Of one device's messages so many wait for the store, of another's still its own") {
  Stage stage;
  const auto publish = [&](const std::string& client_id) {
    stage.conductor.on_message(Inbound{client_id, "$EDC/provision/" + client_id + "/MQTT/PROV"}, "junk");
  };
  for (std::size_t i = 0; i < 10 * DeviceShares::kPiecesInHand; ++i) publish("GW1");
  CHECK(stage.store.backlog() == DeviceShares::kPiecesInHand);
  publish("GW2");
  CHECK(stage.store.backlog() == DeviceShares::kPiecesInHand + 1);
  stage.store.let_through();
  stage.store.let_through(Error{ErrorCode::kNoSpace, "disk full"});
  for (int i = 0; i < 10; ++i) publish("GW1");
  CHECK(stage.store.backlog() == DeviceShares::kPiecesInHand + 1);
}
