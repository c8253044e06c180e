// The Transaction on SQLite. It also notes which devices' admission a piece of work has changed, for the projection.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "provisioner/store/columns.hpp"
#include "provisioner/store/rows.hpp"
#include "provisioner/store/sqlite.hpp"
#include "provisioner/store/statement_cache.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// So many of the newest timeline entries of a request are kept; older ones go, at about every 32nd entry.
inline constexpr std::int64_t kTimelineKept = 1000;
inline constexpr std::int64_t kTimelineSlack = 32;

// So many of the newest ended attempts of a request are kept, when another begins.
inline constexpr std::int64_t kAttemptsKept = 100;

// So many of the newest audit lines of each source are kept, and up to kAuditSlack more.
inline constexpr std::int64_t kAuditKept = 100'000;
inline constexpr std::int64_t kAuditSlack = 1'000;
inline constexpr Seconds kAuditMerged{600};

// has_live_attempt: two walks, each over an index of nothing but open attempts, or of those that were completed since. With
// an OR in one SELECT it would be a walk over all attempts.
inline constexpr std::string_view kLiveAttemptQuery =
    "SELECT EXISTS (SELECT 1 FROM attempt WHERE state = 'OPEN' AND started_at <= ?1) OR EXISTS "
    "(SELECT 1 FROM attempt WHERE state = 'COMPLETED' AND ended_at > ?2 AND started_at <= ?1)";

// Whose admission has changed, by client id: the row as it was just written, or nullopt where it has to be looked up, if there
// is one at all.
using TouchedRows = std::map<std::string, std::optional<AdmissionRow>>;

// One for the life of a connection; the writer sets the borders of transactions and savepoints. Not thread-safe.
class SqlTransaction final : public Transaction {
 public:
  explicit SqlTransaction(sqlite::Database& database) : database_(database), statements_(database) {}

  // For the connection that writes, and only for it: accounts and profiles that were read stay in memory until they are written. Each
  // device needs both, and to read them is to parse JSON. forget_catalogue() whenever changes are taken back.
  void keep_catalogue() { keeps_catalogue_ = true; }
  void forget_catalogue() {
    accounts_.clear();
    profiles_.clear();
  }

  // Ends a piece of work, kept or not: what it has changed.
  TouchedRows take_touched() {
    known_.reset();
    return std::exchange(touched_, {});
  }

  // What the projection should hold for a client id; nullopt: no row.
  Result<std::optional<AdmissionRow>> admission_row(std::string_view client_id);
  // Calls `each` with every row that the projection should hold; stops at its first error.
  Result<void> all_admission_rows(const std::function<Result<void>(const AdmissionRow&)>& each);
  // Names the present state of all admissions; the projection holds the same number when it is up to date. A random one
  // for each change: a projection that is older or newer than a restored backup never passes for its own.
  Result<std::int64_t> admission_generation();
  Result<void> bump_admission_generation();

  Result<void> put_account(const Account& account) override;
  Result<std::optional<Account>> find_account(std::string_view name) override;
  Result<std::vector<Account>> list_accounts() override;

  Result<void> put_profile(const Profile& profile) override;
  Result<std::optional<Profile>> find_profile(std::string_view name) override;
  Result<std::vector<Profile>> list_profiles() override;
  Result<PackageFiles> package_files() override;

  Result<void> insert_request(ProvisionRequest& request) override;
  Result<void> update_request(ProvisionRequest& request) override;
  Result<void> update_progress(ProvisionRequest& request) override;
  Result<void> delete_request(std::int64_t id) override;
  Result<std::optional<ProvisionRequest>> find_request(std::int64_t id) override;
  Result<std::optional<ProvisionRequest>> find_request_by_name(std::string_view name) override;
  Result<std::optional<ProvisionRequest>> find_request_by_client_id(std::string_view client_id) override;
  Result<std::optional<ProvisionRequest>> find_request_by_username(std::string_view username) override;
  Result<std::vector<ProvisionRequest>> requests_with_username(std::string_view username) override;
  Result<std::vector<ProvisionRequest>> list_requests(const RequestFilter& filter) override;
  Result<std::map<JobStatus, std::int64_t>> count_requests() override;
  Result<std::vector<std::string>> expired_between(WallTime after, WallTime until) override;
  Result<std::optional<WallTime>> expiries_ended_until() override;
  Result<void> note_expiries_ended_until(WallTime time) override;
  Result<RequestProgress> progress_of(const RequestFilter& filter, WallTime now, std::size_t reasons) override;

  Result<void> insert_attempt(Attempt& attempt) override;
  Result<void> update_attempt(const Attempt& attempt) override;
  Result<std::optional<Attempt>> find_attempt(std::int64_t id) override;
  Result<std::optional<Attempt>> latest_attempt(std::int64_t request_id) override;
  Result<std::vector<Attempt>> attempts_of(std::int64_t request_id) override;
  Result<std::vector<Attempt>> due_attempts(WallTime now, std::size_t limit) override;
  Result<std::vector<Attempt>> attempts_to_hand_over() override;
  Result<bool> has_live_attempt(WallTime begun, WallTime completed_after) override;
  Result<void> put_off_deadlines(WallTime now, Millis grace) override;

  Result<void> keep_login(const std::string& account, const std::string& client_id,
                          const std::string& username) override;
  Result<std::vector<std::int64_t>> give_up_logins(std::string_view client_id) override;
  Result<std::optional<GivenLogin>> find_login(std::int64_t id) override;
  Result<std::vector<std::int64_t>> logins_given_up() override;
  Result<void> forget_login(std::int64_t id) override;

  Result<void> insert_steps(const std::vector<Step>& steps) override;
  Result<void> update_step(const Step& step) override;
  Result<std::vector<Step>> steps_of(std::int64_t attempt_id) override;
  Result<std::vector<Step>> steps_without_messages(std::int64_t attempt_id) override;
  Result<std::optional<Step>> find_step(std::int64_t request_id, std::string_view rid) override;
  Result<std::optional<Step>> find_step_by_job(std::int64_t request_id, std::int64_t job_id) override;
  Result<void> forget_messages(std::int64_t attempt_id) override;

  Result<void> insert_certificate(const IssuedCertificate& certificate) override;
  Result<std::optional<IssuedCertificate>> certificate_of_key(std::string_view spki_sha256) override;
  Result<std::vector<IssuedCertificate>> certificates_of(std::string_view client_id) override;
  Result<std::optional<CertificateRecord>> find_certificate(std::string_view serial) override;
  Result<std::vector<CertificateRecord>> list_certificates(const CertificateFilter& filter) override;

  Result<void> add_timeline(const TimelineEntry& entry) override;
  Result<std::vector<TimelineEntry>> timeline_of(std::int64_t request_id, std::size_t limit) override;

  Result<void> add_audit(const AuditEntry& entry) override;
  Result<std::vector<AuditEntry>> list_audit(const AuditFilter& filter) override;

 private:
  struct StoredAdmission {
    AdmissionRow row;
    std::int64_t optlock;
  };
  // True if the line was added to one of the last about that client id.
  Result<bool> merge_audit(const AuditEntry& entry);
  Result<std::optional<StoredAdmission>> stored_admission(std::int64_t id);
  // What is stored for the request, if that is what the caller has read.
  Result<StoredAdmission> current_admission(const ProvisionRequest& request);
  void touch(const AdmissionRow& before, const ProvisionRequest& after);
  Result<Bytes> messages_of(std::int64_t attempt_id);

  sqlite::Database& database_;
  sqlite::StatementCache statements_;
  TouchedRows touched_;
  // As it is stored: what this piece of work has found last by client id, and not changed since.
  std::optional<ProvisionRequest> known_;

  bool keeps_catalogue_ = false;
  std::map<std::string, Account, std::less<>> accounts_;
  std::map<std::string, Profile, std::less<>> profiles_;
};

// All rows of a query, each read by `read` (a Result<T>(RowReader&)).
template <typename T, typename Read>
Result<std::vector<T>> read_all(sqlite::Statement& query, Read read) {
  std::vector<T> rows;
  while (true) {
    TRY_ASSIGN(const bool found, query.next());
    if (!found) return rows;
    RowReader row(query);
    TRY_ASSIGN(T value, read(row));
    rows.push_back(std::move(value));
  }
}

// The first row of a query, if there is one.
template <typename T, typename Read>
Result<std::optional<T>> read_one(sqlite::Statement& query, Read read) {
  TRY_ASSIGN(const bool found, query.next());
  if (!found) return std::optional<T>();
  RowReader row(query);
  TRY_ASSIGN(T value, read(row));
  return std::optional<T>(std::move(value));
}

}  // namespace fleet::provisioner
