#include "provisioner/service/broker_events.hpp"

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {
namespace {

// Strangers' client ids that get a line of their own, a report.
constexpr std::size_t kStrangersNamed = 8;
constexpr std::size_t kExpiredNamed = 100;
constexpr std::string_view kLockedReason = "locked";

struct Words {
  std::string_view kind;
  std::string_view phrase;
};

std::optional<Words> words_of(EventKind kind) {
  switch (kind) {
    case EventKind::kRefused: return Words{"refused", "connection refused by the broker"};
    case EventKind::kDenied: return Words{"denied", "denied by the broker"};
    case EventKind::kLocked: return Words{"locked", "locked out by the broker"};
    case EventKind::kConnected:
    case EventKind::kDisconnected: break;
  }
  return std::nullopt;
}

std::string circumstances_of(const BrokerEvent& event) {
  std::string text;
  if (event.count > 1) text += fmt::format(" ({} times)", event.count);
  if (!event.address.empty()) text += fmt::format(", from {}", event.address);
  return text;
}

}  // namespace

Result<void> record_events(Transaction& tx, const Executor& executor, EventKind kind,
                           const std::vector<BrokerEvent>& events, WallTime now) {
  const auto words = words_of(kind);
  if (!words) return {};
  AuditEntry others{.at = now, .times = 0, .kind = std::string(words->kind), .client_id = std::string(kEverybody)};
  std::size_t strangers = 0;
  for (const BrokerEvent& event : events) {
    const bool for_timeline = event.reason != kLockedReason;
    bool known = false;
    if (for_timeline) {
      const std::string what = fmt::format("{}: {}", words->phrase, event.reason);
      TRY_ASSIGN(known, executor.note(tx, event.client_id, words->kind, what, circumstances_of(event), now));
    } else {
      TRY_ASSIGN(const auto request, tx.find_request_by_client_id(event.client_id));
      known = request.has_value();
    }
    if (!known && (event.client_id == kEverybody || ++strangers > kStrangersNamed)) {
      others.times += event.count;
      continue;
    }
    AuditEntry entry{.at = now, .times = event.count, .kind = std::string(words->kind)};
    entry.who = event.address;
    entry.client_id = presentable(event.client_id, 128);
    entry.text = presentable(fmt::format("{}: {}", words->phrase, event.reason));
    TRY(tx.add_audit(entry));
  }
  if (others.times == 0) return {};
  others.text = fmt::format("{}: many client ids", words->phrase);
  return tx.add_audit(others);
}

Result<void> record_expired(Transaction& tx, const std::vector<std::string>& client_ids, WallTime now) {
  AuditEntry entry{.at = now, .kind = "kicked", .who = "provisioner"};
  entry.text = "expiresOn has passed: whoever is connected is cut off";
  for (std::size_t i = 0; i < client_ids.size(); ++i) {
    const bool named = i < kExpiredNamed;
    entry.client_id = named ? client_ids[i] : std::string(kEverybody);
    entry.times = named ? 1 : static_cast<std::int64_t>(client_ids.size() - i);
    TRY(tx.add_audit(entry));
    if (!named) break;
  }
  return {};
}

}  // namespace fleet::provisioner
