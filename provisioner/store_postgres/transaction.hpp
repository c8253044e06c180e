// The Transaction on PostgreSQL. Changes are sent without waiting for their answers, which come with the next read or the
// end of the group; what a piece of work finds of a request is locked until the commit. Private to
// provisioner/store_postgres.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "provisioner/store/admission_projection.hpp"
#include "provisioner/store/rows.hpp"
#include "provisioner/store/store.hpp"
#include "provisioner/store_postgres/connection.hpp"
#include "provisioner/store_postgres/values.hpp"

namespace fleet::provisioner::postgres {

// The same bounds as those of the store on SQLite; timelines are somewhat longer until they are trimmed.
inline constexpr std::int64_t kTimelineKept = 1000;
// One of so many pieces of work trims the timelines that it has lengthened.
inline constexpr std::uint64_t kTrimEvery = 16;
inline constexpr std::int64_t kAttemptsKept = 100;
inline constexpr std::int64_t kAuditKept = 100'000;
inline constexpr std::int64_t kAuditSlack = 1'000;
inline constexpr Seconds kAuditMerged{600};

// A query for a row that a piece of work will go by: as it is, or so that nobody else changes it before the commit. With
// `at_once` a row that somebody else holds is not found, so that one request never holds up all the others.
struct Lockable {
  std::string_view plain, at_once, waiting;
};
#define FLEET_LOCKABLE(sql) \
  ::fleet::provisioner::postgres::Lockable { sql, sql " FOR UPDATE SKIP LOCKED", sql " FOR UPDATE" }

// Which cell a transaction is of: its name, and what no other run of that cell ever is.
struct CellIdentity {
  std::string name;
  std::string holder;
};

// The columns of a request, in the order in which the transaction reads them.
#define FLEET_REQUEST_COLUMNS                                                                                                    \
  "request.id, request.name, request.profile, request.client_id, request.username, request.connect_verifier, "                  \
  "request.username_verifier, request.activation_key_verifier, request.activation_key_used, request.labels::text, "             \
  "request.params, request.enabled, request.activates_on, request.expires_on, request.retry_max_attempts, request.status, "     \
  "request.failures, request.last_error, request.facts::text, request.optlock, request.created_at, request.updated_at, "        \
  "request.completed_at, request.configuration, request.packages::text, request.secure_url, request.tight"

// One for the life of a connection; the writer sets the borders of transactions and pieces. Not thread-safe.
class PgTransaction final : public Transaction {
 public:
  enum class Access { kRead, kWrite };
  PgTransaction(Connection& connection, Access access, const CellIdentity& cell)
      : connection_(connection), access_(access), cell_name_(cell.name), cell_(cell.holder) {}

  // Another piece of work begins: what the last one saw is not looked at any more.
  void begin_piece();
  // Sends what the piece has left for its end.
  void end_piece();
  // What changed of admissions since the last take, and what other cells shall hear; emptied.
  WantedRows take_touched() { return std::exchange(touched_, {}); }
  Tidings take_tidings() { return std::exchange(tidings_, {}); }
  // The piece of work came upon a request that another cell holds: it may be run again soon.
  bool in_the_way() const { return in_the_way_; }

  // What the projection should hold for client ids; nullopt: no row.
  Result<WantedRows> admission_rows(const std::set<std::string>& client_ids);
  // Calls `each` with every row that the projection should hold; stops at its first error.
  Result<void> all_admission_rows(const std::function<Result<void>(const AdmissionRow&)>& each);

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
  Result<void> take_attempt(Attempt& attempt) override;
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
  Result<void> update_step(const Step& step) override { return update_step(step, false); }
  Result<void> update_last(const Step& step) override { return update_step(step, true); }
  Result<std::vector<Step>> steps_of(std::int64_t attempt_id) override;
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

  Result<void> tell_other_cells(const Tidings& tidings) override;

 private:
  Result<void> update_step(const Step& step, bool forget_message);

  // What the piece of work is about, as far as it has seen it: a device's message needs its request, attempt and steps, which
  // are fetched together, in one round trip.
  struct Focus {
    std::optional<ProvisionRequest> request{};
    std::optional<Attempt> attempt{};
    bool knows_latest = false;  // `attempt` is the request's latest, or there is none
    std::optional<std::vector<Step>> steps{};  // of `attempt`
  };
  struct Seen {
    AdmissionRow row;  // as it is stored
    std::int64_t optlock = 0;
  };
  // What is stored of the request, if that is what the caller has read.
  Result<Seen*> seen_as(const ProvisionRequest& request);
  // It has been written, with the next optlock.
  void note_written(Seen& seen, ProvisionRequest& request);
  // A request that is to be locked, asked for; the sync() is behind.
  struct Locking {
    Lockable query;
    Parameters parameters;
    Connection::Ticket ticket = 0;
    bool may_miss = false;  // it is not found if somebody else holds it
  };
  Locking ask_locked(const Lockable& query, const Parameters& parameters);
  Result<void> read_focused_request(const Locking& asked);
  // The owner of an attempt that this piece has read or made.
  const std::string* owner_of(std::int64_t attempt_id) const;
  Result<void> must_own(std::int64_t attempt_id);
  Result<Attempt> read_attempt(RowReader& row);
  Result<std::vector<Attempt>> read_attempts(const Rows& rows);
  // The queries have been asked for: the request, its attempt, its steps.
  Result<void> read_focus(const Locking& request, Connection::Ticket attempt, Connection::Ticket steps, bool latest);
  void ask_latest_attempt(const Parameters& client_id, Connection::Ticket& attempt, Connection::Ticket& steps);
  Result<std::optional<ProvisionRequest>> find_one(const Lockable& query, const Parameters& parameters);
  Step* focused_step(std::int64_t attempt_id, int ordinal);
  // Ids are taken from their sequence by the hundred.
  Result<std::int64_t> next_id(std::vector<std::int64_t>& stock, std::string_view sql);
  Result<void> take_over_orphans();
  void trim_timelines();

  Connection& connection_;
  Access access_;
  std::string cell_name_;
  std::string cell_;  // whose attempts are this cell's
  Focus focus_;
  std::map<std::int64_t, std::string> owners_;  // of attempts seen in this piece
  std::map<std::int64_t, Seen> seen_;           // requests that this piece has read or made
  std::set<std::int64_t> lengthened_;           // requests whose timeline this piece has lengthened
  std::minstd_rand dice_{std::random_device{}()};
  std::optional<Account> account_;              // of the profile that was found last
  bool locked_ = false;                         // this piece holds a lock
  bool in_the_way_ = false;
  WantedRows touched_;
  Tidings tidings_;
  std::vector<std::int64_t> request_ids_, attempt_ids_;
  std::int64_t audit_lines_ = 0;
};

// The conditions of a RequestFilter on `request`; their values are added to `parameters`. `after` and `limit` are no
// conditions: they are the list's.
Result<std::string> where_of(const RequestFilter& filter, Parameters& parameters);

}  // namespace fleet::provisioner::postgres
