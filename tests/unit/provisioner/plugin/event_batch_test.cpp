#include "provisioner/plugin/event_batch.hpp"

#include <doctest/doctest.h>

#include "core/base/bytes.hpp"

using namespace fleet;
using namespace fleet::provisioner;
using namespace fleet::provisioner::plugin;

TEST_CASE("equal events are one entry with a count and the last address") {
  EventBatch batch(10);
  batch.add("gw-1", "unknown", "192.0.2.1");
  batch.add("gw-1", "unknown", "192.0.2.2");
  batch.add("gw-1", "disabled", "192.0.2.3");
  const auto events = batch.take();
  REQUIRE(events.size() == 2);
  for (const BrokerEvent& event : events) {
    CHECK(event.client_id == "gw-1");
    CHECK(event.count == (event.reason == "unknown" ? 2 : 1));
    CHECK(event.address == (event.reason == "unknown" ? "192.0.2.2" : "192.0.2.3"));
  }
  CHECK(batch.empty());
  CHECK(batch.take().empty());
}

TEST_CASE("a flood of client ids is counted, not kept") {
  EventBatch batch(256);
  for (int i = 0; i < 100000; ++i) batch.add("id" + std::to_string(i), "unknown", "192.0.2.1");
  batch.add("id0", "unknown", "192.0.2.1");  // known entries go on counting
  const auto events = batch.take();
  REQUIRE(events.size() == 257);
  CHECK(events.back().client_id == "*");
  CHECK(events.back().count == 100000 - 256);
  CHECK(batch.empty());
}

TEST_CASE("one device with a thousand topics has a few entries, and leaves room for all others") {
  EventBatch batch(256);
  for (int i = 0; i < 1000; ++i) batch.add("noisy", "publish topic/" + std::to_string(i), "192.0.2.1");
  batch.add("noisy", "publish topic/0", "192.0.2.1");  // known ones go on counting
  for (int i = 0; i < 247; ++i) batch.add("gw-" + std::to_string(i), "publish x", "192.0.2.2");
  const auto events = batch.take();
  CHECK(events.size() == 256);
  std::size_t entries = 0;
  for (const BrokerEvent& event : events) {
    CHECK(event.client_id != kEverybody);
    if (event.client_id != "noisy") continue;
    ++entries;
    if (event.reason == "publish topic/0") CHECK(event.count == 2);
    if (event.reason == kOtherReasons) CHECK(event.count == 1000 - EventBatch::kMaxReasons);
  }
  CHECK(entries == EventBatch::kMaxReasons + 1);
}

TEST_CASE("long texts are cut at a character's border") {
  EventBatch batch(10);
  std::string id(EventBatch::kMaxClientId - 1, 'a');
  id += "\xc3\xa9\xc3\xa9";  // the first of them would be cut in half
  batch.add(id, std::string(100000, 'b'), "x");
  const auto events = batch.take();
  REQUIRE(events.size() == 1);
  CHECK(events[0].client_id == std::string(EventBatch::kMaxClientId - 1, 'a'));
  CHECK(is_utf8(events[0].client_id));
  CHECK(events[0].reason.size() == EventBatch::kMaxReason);
}

TEST_CASE("a dropped entry is gone") {
  EventBatch batch(10);
  batch.add("gw-1", "", "x");
  batch.add("gw-2", "", "x");
  batch.drop("gw-1", "");
  const auto events = batch.take();
  REQUIRE(events.size() == 1);
  CHECK(events[0].client_id == "gw-2");
}
