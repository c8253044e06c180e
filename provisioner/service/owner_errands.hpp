// What there is to do at owners' brokers, as the store has it, and what the store is told of how it went.
#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/owner/connector.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

struct OwnerTask {
  enum class Kind : std::uint8_t { kHandOver, kTakeBack };
  Kind kind = Kind::kHandOver;
  std::int64_t id = 0;  // of the attempt whose login is to be handed over, or of the GivenLogin to be taken back
  friend auto operator<=>(const OwnerTask&, const OwnerTask&) = default;
};
std::string_view to_string(OwnerTask::Kind kind);  // "hand-over", "take-back"

// A task with all that is needed to do it.
struct OwnerErrand {
  OwnerTask::Kind kind = OwnerTask::Kind::kHandOver;
  OwnerConnector connector{};
  OwnerLogin login{};
  std::int64_t fence = 0;  // of the attempt, as this cell has it
};

struct LookedUp {
  std::optional<OwnerErrand> errand{};  // none: there is nothing to do, not any more or not yet
  Outcome outcome{};                    // what came of looking, for after the commit
};

// All tasks that the store has; of some there is nothing to do yet.
Result<std::vector<OwnerTask>> owner_tasks(Transaction& tx);
// What is to be done for a task now; nothing if the attempt is another cell's. A login that is to be handed over is noted as given, so that it is taken back some day
// whatever happens from here.
Result<LookedUp> look_up(Transaction& tx, const Executor& executor, const OwnerTask& task, WallTime now);
// How it went. `first_try`: of this run of the service; a failure is told in the audit once. `fence`: the errand's; kConflict
// if another cell has taken the attempt over since, which does the errand itself.
Result<Outcome> record(Transaction& tx, const Executor& executor, const OwnerTask& task, const Result<void>& result,
                       std::int64_t fence, bool first_try, WallTime now);

// Does an errand; blocks, is ended early by the flag, and may be called by several threads at a time.
using DoErrand = std::function<Result<void>(const OwnerErrand&, const std::atomic<bool>&)>;
// By the errand's connector (provisioner/owner).
Result<void> do_by_connector(const OwnerErrand& errand, const std::atomic<bool>& stopping);

}  // namespace fleet::provisioner
