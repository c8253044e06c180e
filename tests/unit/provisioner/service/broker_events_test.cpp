#include "provisioner/service/broker_events.hpp"

#include <doctest/doctest.h>

#include "tests/unit/provisioner/service/stage.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::test;

namespace {

struct Record : Stage {
  void operator()(EventKind kind, const std::vector<BrokerEvent>& events) {
    run([&](Transaction& tx) { return record_events(tx, executor, kind, events, wall_now()); });
  }
};

}  // namespace

TEST_CASE("A refusal, a denial and a lockout are in the timeline of the device that they name, and in the audit") {
  Record record;
  record(EventKind::kRefused, {{"GW1", "wrong-credentials", 3, "192.0.2.1"}});
  record(EventKind::kDenied, {{"GW1", "publish data", 1, "192.0.2.1"}});
  record(EventKind::kLocked, {{"GW1", "5 wrong tries in a row, not listened to for 1s", 1, "192.0.2.1"}});
  record(EventKind::kConnected, {{"GW1", "", 1, "192.0.2.1"}});
  CHECK(record.timeline() ==
        std::vector<std::string>{
            "refused: connection refused by the broker: wrong-credentials (3 times), from 192.0.2.1",
            "denied: denied by the broker: publish data, from 192.0.2.1",
            "locked: locked out by the broker: 5 wrong tries in a row, not listened to for 1s, from 192.0.2.1"});
  const auto audit = record.audit();
  REQUIRE(audit.size() == 3);
  CHECK(audit[0].kind == "refused");
  CHECK(audit[0].times == 3);
  CHECK(audit[0].who == "192.0.2.1");
  CHECK(audit[0].client_id == "GW1");
  CHECK(audit[0].source == AuditSource::kDevice);
}

TEST_CASE("Tries during a lockout are counted in the audit and do not push out the timeline") {
  Record record;
  for (int i = 0; i < 100; ++i) record(EventKind::kRefused, {{"GW1", "locked", 7, "192.0.2.1"}});
  CHECK(record.timeline().empty());
  const auto audit = record.audit();
  REQUIRE(audit.size() == 1);
  CHECK(audit[0].times == 700);
}

TEST_CASE("Strangers who vary what they do do not push out a device's history, and each reason is told once") {
  Record record;
  const auto attempt_line = [&](const std::string& text) {
    record.run([&](Transaction& tx) -> Result<void> {
      return tx.add_timeline({record.request_id, std::nullopt, wall_now(), "sent", text});
    });
  };
  for (int i = 0; i < 10; ++i) attempt_line("line " + std::to_string(i));
  const std::vector<std::string> reasons{"wrong-credentials", "unknown", "disabled", "expired", "others"};
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::string address = fmt::format("198.51.{}.{}", i / 250, i % 250);
    record(EventKind::kRefused, {{"GW1", reasons[i % reasons.size()], 1 + i % 7, address}});
    const std::string lockout = fmt::format("{} wrong tries in a row, not listened to for {}s", 5 + i, 1 << (i % 9));
    record(EventKind::kLocked, {{"GW1", lockout, 1, address}});
  }
  auto lines = record.timeline();
  REQUIRE(lines.size() == 10 + reasons.size() + 1);
  CHECK(lines[0] == "sent: line 0");
  CHECK(lines[9] == "sent: line 9");
  CHECK(lines[10] == "refused: connection refused by the broker: wrong-credentials, from 198.51.0.0");
  CHECK(lines[11] == "locked: locked out by the broker: 5 wrong tries in a row, not listened to for 1s, from 198.51.0.0");
  CHECK(lines[12] == "refused: connection refused by the broker: unknown (2 times), from 198.51.0.1");
  // what comes after something has happened is told again
  attempt_line("another");
  record(EventKind::kRefused, {{"GW1", "wrong-credentials", 3, "192.0.2.1"}});
  lines = record.timeline();
  CHECK(lines.back() == "refused: connection refused by the broker: wrong-credentials (3 times), from 192.0.2.1");
}

TEST_CASE("Of client ids that no request has a few are named, the others are a line together") {
  Record record;
  std::vector<BrokerEvent> events{{std::string(kEverybody), std::string(kOverflow), 1000, ""}};
  for (int i = 0; i < 200; ++i) events.push_back({"stranger-" + std::to_string(i), "unknown", 2, "192.0.2.1"});
  events.push_back({"GW1", "wrong-credentials", 1, "192.0.2.1"});
  for (int i = 0; i < 10; ++i) record(EventKind::kRefused, events);
  const auto audit = record.audit();
  REQUIRE(audit.size() == 10);
  std::int64_t many = 0;
  bool known = false;
  for (const AuditEntry& entry : audit) {
    if (entry.client_id == "*") many = entry.times;
    known = known || entry.client_id == "GW1";
  }
  CHECK(many == 10 * (1000 + 192 * 2));
  CHECK(known);
  CHECK(record.timeline().size() == 1);
}
