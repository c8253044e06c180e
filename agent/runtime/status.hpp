// How far the device is, as one value: made by the running agent or from what it has left on disk, sent as JSON, shown
// by `provision-agent status`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/session/session.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"

namespace fleet::agent {

// "" where nothing is known.
struct AgentStatus {
  struct Broker {
    std::string url;
    std::string connection;          // "connecting", "connected", "next" or ""; always "" from the disk
    std::optional<Failure> failure;  // of its last try
  };

  std::optional<std::int64_t> pid;  // of the running agent; nullopt: this was read from the disk
  std::string phase;                // a session's, or "not started"
  bool enabled = true;
  bool provisioned = false;
  int attempts_failed = 0;
  std::uint64_t generation = 0;   // in force; 0: none
  std::vector<Package> packages;  // of that generation
  std::string client_id;
  std::string owner_broker;
  std::string owner_connection;  // as Broker::connection
  std::optional<Failure> owner_failure;
  std::optional<Failure> last_failure;
  std::optional<WallTime> next_try;
  std::string next;  // for a person: what happens next
  std::vector<Broker> brokers;
};

// What a session's state tells. `owner_broker`, `client_id`, brokers and packages stay empty.
AgentStatus status_of(const SessionState& state);

// What happens next, for a person.
std::string what_next(const SessionState& state);

// What `status -o json` prints: the members as above in camelCase, `source` "agent" or "state-file", null for what is not
// known, times as RFC 3339.
std::string to_json(const AgentStatus& status);
// kMalformed names the member that is missing or wrong.
Result<AgentStatus> parse_status(std::string_view json);

}  // namespace fleet::agent
