// The admission projection: the small SQLite file through which the provisioner tells the broker's plugin who may connect.
// The store writes it; the plugin reads it. It holds no activation keys and no configuration.
#pragma once

#include <cstdint>
#include <string_view>

namespace fleet::provisioner {

// Whether a provision request stands open for its device (edc §1, "admitted"). Stored as `state`.
enum class Admission : std::uint8_t { kOpen = 0, kDisabled = 1, kAbandoned = 2, kCompleted = 3 };

// Rows: one a provision request. `verifier` = crypto::secret_verifier(key, kConnectPurpose, client_id, password).
// Admitted if the state is kOpen, or kCompleted (its grace period is `closes_ms`), and opens_ms <= now < closes_ms
// (milliseconds since 1970), and username and verifier match.
inline constexpr std::string_view kAdmissionSchema = R"sql(
CREATE TABLE IF NOT EXISTS device (
  client_id TEXT PRIMARY KEY,
  username  TEXT NOT NULL,
  verifier  BLOB NOT NULL CHECK (length(verifier) = 32),
  state     INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
  opens_ms  INTEGER NOT NULL,
  closes_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
)sql";

inline constexpr std::int64_t kNeverCloses = INT64_MAX;
inline constexpr std::string_view kConnectPurpose = "connect";

}  // namespace fleet::provisioner
