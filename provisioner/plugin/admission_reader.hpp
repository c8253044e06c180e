// Reads the admission projection that the provisioner writes, from inside the broker.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/admission/admission.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace fleet::provisioner::plugin {

// One row of the projection.
struct AdmissionRow {
  std::string username;
  Bytes verifier;  // 32 bytes
  Admission state = Admission::kDisabled;
  std::int64_t opens_ms = 0;
  std::int64_t closes_ms = 0;
};

// Why a device may not connect ("wrong-credentials", "disabled", …, as in BrokerEvent), or nullopt if it may. `row` is
// nullptr for an unknown client id; the comparison then runs all the same, so that the answer takes as long.
std::optional<std::string_view> refusal(const AdmissionRow* row, std::string_view username, std::string_view verifier,
                                        std::int64_t now_ms);

// Whether a reason of refusal() says that the secrets were wrong, as opposed to right at the wrong time.
bool is_guess(std::string_view reason);

inline constexpr std::string_view kAdmissionLookup =
    "SELECT username, verifier, state, opens_ms, closes_ms FROM device WHERE client_id = ?1";
// The same of the password projection (owner_passwords.hpp), whose rows stand open as long as they are there.
inline constexpr std::string_view kOwnerLookupByClientId =
    "SELECT username, verifier, 0, 0, 9223372036854775807 FROM device WHERE client_id = ?1";
inline constexpr std::string_view kOwnerLookupByUsername =
    "SELECT username, verifier, 0, 0, 9223372036854775807 FROM device WHERE username = ?1";

// A read-only handle with one prepared statement. A lookup that finds the writer in the middle of something is tried again
// for at most 5 ms, and then fails; those after it are tried twice each, until one works. While none does, and after any
// other failure, the database is opened again, at most once a second; the same happens when the file was replaced by another
// one. A writer that is stopped for long while it holds its lock makes one lookup wait for SQLite's own ten seconds. Not
// thread-safe.
class AdmissionReader {
 public:
  // `lookup`: an SQL query that lives for ever, with ?1 for what find() is given, for the columns of AdmissionRow.
  explicit AdmissionReader(std::string path, std::string_view lookup = kAdmissionLookup);

  // Opens the projection; the error names the file. Called by find() too.
  Result<void> open(SteadyTime now);
  // The row of a client id (or of what else the lookup looks up), or nullopt if there is none; kUnavailable if the projection
  // cannot be read now.
  Result<std::optional<AdmissionRow>> find(std::string_view client_id, SteadyTime now);

 private:
  struct CloseDatabase {
    void operator()(sqlite3* database) const;
  };
  struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const;
  };
  struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
  };

  FileIdentity identity() const;
  Result<void> reopen_if_due(SteadyTime now);
  Result<std::optional<AdmissionRow>> query(std::string_view client_id);
  int step();
  void close();

  std::string path_;
  std::string_view query_;
  FileIdentity identity_;
  SteadyTime checked_{};
  bool broken_ = false;    // a lookup failed for another reason than a busy writer
  bool patient_ = true;    // the last lookup has not waited for the writer in vain
  std::unique_ptr<sqlite3, CloseDatabase> database_;
  std::unique_ptr<sqlite3_stmt, FinalizeStatement> lookup_;  // goes before its database
};

}  // namespace fleet::provisioner::plugin
