// Refusals, denials and lockouts at the broker, as lines of the timeline and the audit.
#pragma once

#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/admission/events.hpp"
#include "provisioner/provisioning/executor.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// Writes what the plugin reported of one kind since its last report; connections and their ends leave no lines. Each event
// goes to the timeline of the device that it names, except tries during a lockout (their number says nothing, and they
// would push out what happened), and to the audit. Client ids without a request have no timeline; a few are named in the
// audit, the others are one line together.
Result<void> record_events(Transaction& tx, const Executor& executor, EventKind kind,
                           const std::vector<BrokerEvent>& events, WallTime now);

// Audit lines of devices whose live connection was ended because their request's expiresOn has passed: a few by name.
Result<void> record_expired(Transaction& tx, const std::vector<std::string>& client_ids, WallTime now);

}  // namespace fleet::provisioner
