// The audit: bounded, merged where a device repeats itself, never where an operator does.
#include <vector>

#include "tests/unit/provisioner/store/store_fixture.hpp"

namespace fleet::provisioner {
namespace {

AuditEntry refusal(const std::string& client_id, WallTime at, const std::string& text = "refused: unknown") {
  return {.at = at, .kind = "refused", .who = "192.0.2.1", .client_id = client_id, .text = text};
}

AuditEntry command(const std::string& kind, WallTime at) {
  return {.at = at, .source = AuditSource::kOperator, .kind = kind, .who = "uid 0 (root)", .client_id = "c", .text = "request c"};
}

std::vector<AuditEntry> audit(StoreFixture& fixture, const AuditFilter& filter = {}) {
  std::vector<AuditEntry> entries;
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(entries, tx.list_audit(filter));
    return {};
  });
  return entries;
}

TEST_CASE("what a device repeats within ten minutes is one line with its number, from the first to the last time") {
  StoreFixture fixture;
  fixture.must([&](Transaction& tx) -> Result<void> {
    for (int i = 0; i < 5; ++i) {
      AuditEntry entry = refusal("a", kNow + Seconds(i));
      entry.times = 3;
      TRY(tx.add_audit(entry));
      // other lines in between, of the same device and of others
      TRY(tx.add_audit(refusal("a", kNow + Seconds(i), "refused: locked")));
      TRY(tx.add_audit(refusal("b", kNow + Seconds(i))));
    }
    return tx.add_audit(refusal("a", kNow + Seconds(600)));
  });
  const auto entries = audit(fixture);
  REQUIRE(entries.size() == 4);
  CHECK(entries[0].client_id == "a");
  CHECK(entries[0].times == 15);
  CHECK(entries[0].at == kNow);
  CHECK(entries[0].until == kNow + Seconds(4));
  CHECK(entries[1].times == 5);
  CHECK(entries[2].client_id == "b");
  CHECK(entries[3].times == 1);
}

TEST_CASE("what operators do is a line each") {
  StoreFixture fixture;
  fixture.must([&](Transaction& tx) -> Result<void> {
    for (const char* const kind : {"disable", "enable", "disable", "disable"}) TRY(tx.add_audit(command(kind, kNow)));
    return {};
  });
  const auto entries = audit(fixture);
  REQUIRE(entries.size() == 4);
  CHECK(entries[0].source == AuditSource::kOperator);
  CHECK(entries[3].kind == "disable");
  CHECK(entries[3].who == "uid 0 (root)");
}

TEST_CASE("the audit is filtered by time, device and kind; the newest that fit are shown, oldest first") {
  StoreFixture fixture;
  fixture.must([&](Transaction& tx) -> Result<void> {
    for (int i = 0; i < 10; ++i) {
      TRY(tx.add_audit(refusal("d" + std::to_string(i % 2), kNow + Seconds(i), "refused " + std::to_string(i))));
    }
    return tx.add_audit(command("retry", kNow + Seconds(10)));
  });
  const auto newest = audit(fixture, {.limit = 2});
  REQUIRE(newest.size() == 2);
  CHECK(newest[0].text == "refused 9");
  CHECK(newest[1].kind == "retry");
  CHECK(audit(fixture, {.since = kNow + Seconds(8)}).size() == 3);
  CHECK(audit(fixture, {.client_id = "d1"}).size() == 5);
  CHECK(audit(fixture, {.kind = "retry"}).size() == 1);
  CHECK(audit(fixture, {.since = kNow + Seconds(9), .client_id = "d1", .kind = "refused"}).size() == 1);
}

TEST_CASE("a flood of devices' lines does not grow for ever and leaves what operators did") {
  StoreFixture fixture;
  fixture.must([&](Transaction& tx) { return tx.add_audit(command("delete", kNow)); });
  for (int part = 0; part < 11; ++part) {
    fixture.must([&](Transaction& tx) -> Result<void> {
      for (int i = 0; i < 10'000; ++i) {
        TRY(tx.add_audit(refusal(std::to_string(part * 10'000 + i), kNow)));
      }
      return {};
    });
  }
  const std::int64_t lines = fixture.number("provisioner.db", "SELECT count(*) FROM audit WHERE source = 'device'");
  CHECK(lines >= 100'000);
  CHECK(lines <= 101'000);
  CHECK(audit(fixture, {.kind = "delete"}).size() == 1);
  CHECK(audit(fixture, {.limit = 1})[0].client_id == "109999");
}

TEST_CASE("requests whose expiry has passed since are found, each once") {
  StoreFixture fixture;
  for (int i = 0; i < 4; ++i) {
    ProvisionRequest request = sample_request(std::to_string(i));
    if (i > 0) request.expires_on = kNow + Seconds(i);
    fixture.insert(request);
  }
  fixture.must([&](Transaction& tx) -> Result<void> {
    TRY_ASSIGN(const auto none, tx.expired_between(kNow, kNow + Seconds(1) - Millis(1)));
    CHECK(none.empty());
    TRY_ASSIGN(const auto two, tx.expired_between(kNow, kNow + Seconds(2)));
    CHECK(two == std::vector<std::string>{"cid-1", "cid-2"});
    TRY_ASSIGN(const auto last, tx.expired_between(kNow + Seconds(2), kNow + Seconds(1000)));
    CHECK(last == std::vector<std::string>{"cid-3"});
    return {};
  });
}

}  // namespace
}  // namespace fleet::provisioner
