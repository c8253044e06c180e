#include "tests/unit/provisioner/service/stage.hpp"

#include <doctest/doctest.h>

#include "core/base/log.hpp"

namespace fleet::provisioner::test {

using namespace std::chrono_literals;

HoldingStore::HoldingStore() {
  log::set_level(log::Level::kError);
  StoreSettings settings;
  settings.database = folder_ / "provisioner.db";
  settings.admission = folder_ / "admission.db";
  auto opened = Store::open(std::move(settings), [](std::function<void()> done) { done(); });
  REQUIRE(opened.has_value());
  store_ = std::move(*opened);
}

void HoldingStore::let_through(std::optional<Error> error) {
  REQUIRE_FALSE(held_.empty());
  auto [work, done] = std::move(held_.front());
  held_.pop_front();
  done(error ? Result<void>(fail(*error)) : store_->run(work));
}

void HoldingStore::fail_commit() {
  REQUIRE_FALSE(held_.empty());
  auto [work, done] = std::move(held_.front());
  held_.pop_front();
  done(store_->run([&, work = std::move(work)](Transaction& tx) -> Result<void> {
    TRY(work(tx));
    return fail(ErrorCode::kNoSpace, "disk full");
  }));
}

void HoldingStore::let_all_through() {
  while (!held_.empty()) let_through();
}

Stage::Stage() {
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

ConductorSettings Stage::settings() {
  ConductorSettings settings;
  settings.account = "provision";
  settings.provisioner_id = "provisioner";
  settings.first_sweep_after = settings.sweep_every = settings.quiet_moment = Millis(1);
  return settings;
}

void Stage::run(const Work& work) {
  REQUIRE(store.run(work).has_value());
}

bool Stage::until_held(std::size_t count) {
  const auto end = std::chrono::steady_clock::now() + 10s;
  while (store.backlog() < count && std::chrono::steady_clock::now() < end) {
    io.restart();
    io.run_for(1ms);
  }
  return store.backlog() == count;
}

void Stage::open_attempt(WallTime moved_at, Millis timeout) {
  run([&](Transaction& tx) -> Result<void> {
    Attempt attempt;
    attempt.request_id = request_id;
    attempt.started_at = attempt.moved_at = moved_at;
    attempt.timeout = timeout;
    attempt.due_at = moved_at + timeout;
    return tx.insert_attempt(attempt);
  });
}

Attempt Stage::attempt() {
  std::optional<Attempt> found;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(found, tx.latest_attempt(request_id));
    return {};
  });
  REQUIRE(found.has_value());
  return *found;
}

std::vector<AuditEntry> Stage::audit() {
  std::vector<AuditEntry> entries;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(entries, tx.list_audit({}));
    return {};
  });
  return entries;
}

std::vector<std::string> Stage::timeline() {
  std::vector<std::string> lines;
  run([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto entries, tx.timeline_of(request_id, 1000));
    for (const TimelineEntry& entry : entries) lines.push_back(entry.kind + ": " + entry.text);
    return {};
  });
  return lines;
}

}  // namespace fleet::provisioner::test
