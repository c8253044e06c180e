// The provisioner's durable state: one writer thread, many changes a commit. Here in one SQLite database; in
// provisioner/store_postgres in a PostgreSQL that several cells share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/result.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

// Which requests are meant: those for which all of it holds.
struct RequestFilter {
  std::optional<std::vector<std::string>> names = {};  // one of these
  std::vector<JobStatus> statuses = {};                // one of these; empty: any
  std::map<std::string, std::string> labels = {};      // all of these
  std::string text = {};     // in name, client id, username, or what the device said of itself; upper and lower case alike
  std::string profile = {};  // of this profile only
  std::string after = {};    // lists only: names behind this one, for paging by name
  std::size_t limit = 1000;  // lists only
};

// Why requests fail, and how many for that reason.
struct FailureReason {
  std::string cause;
  std::int64_t requests = 0;
  std::string example;  // the name of one of them
};

// How far requests have come.
struct RequestProgress {
  std::int64_t total = 0;
  std::map<JobStatus, std::int64_t> by_status;  // none with 0
  // Not COMPLETED, and shut out; a request that is disabled and expired counts as disabled.
  std::int64_t disabled = 0, expired = 0, not_yet = 0;
  // Not COMPLETED, and never will be unless an operator does something: ABANDONED, disabled or expired.
  std::int64_t stuck = 0;
  std::vector<FailureReason> reasons;  // the most frequent first
};

struct CertificateFilter {
  std::string client_id = {};  // empty: any
  std::optional<WallTime> expires_before = {};
  // Lists come in the order of expiry, then of serial; only what is behind this one.
  std::optional<std::pair<WallTime, std::string>> after = {};
  std::size_t limit = 1000;
};

struct AuditFilter {
  std::optional<WallTime> since = {};  // the last time of a line
  std::string client_id = {};          // empty: all
  std::string kind = {};               // the same
  std::size_t limit = 1000;            // the newest
};

// The files that profiles and requests name as packages, by their SHA-256.
struct PackageFiles {
  std::set<std::string> all;
  bool downloads = false;  // some of them are to be downloaded from the provisioner
};

// A certificate and the name of the request it was issued for; none if that was deleted.
struct CertificateRecord {
  IssuedCertificate certificate;
  std::optional<std::string> request;
};

// What an operator's act means for the devices of every cell, beside their admission.
struct Tidings {
  std::vector<std::string> kick{};      // client ids whose live connection must end
  std::vector<std::string> forgiven{};  // client ids whose wrong secrets so far count no more
  bool applied = false;                 // manifests were applied
};

// Reads and changes within one piece of work. Everything is by value; a find that finds nothing is nullopt. Errors are
// kCorrupt, kNoSpace, kIo; kAlreadyExists where a unique name, client id, rid or serial is taken; kNotFound where a
// change names a row that is not there; kInvalidArgument where a value cannot be stored (a verifier or SPKI hash that
// is not 32 bytes long; a map, list or configuration with text that is not UTF-8). An error of a change may show with a
// later call, or at the end of the piece of work: whoever meets one ends the piece. Not to be kept beyond it.
//
// Several cells (a broker and a provisioner each) may share a store. What a piece finds of a request is that cell's until its
// commit: another cell's piece about the same request waits for it.
class Transaction {
 public:
  virtual ~Transaction() = default;

  virtual Result<void> put_account(const Account& account) = 0;
  virtual Result<std::optional<Account>> find_account(std::string_view name) = 0;
  virtual Result<std::vector<Account>> list_accounts() = 0;

  virtual Result<void> put_profile(const Profile& profile) = 0;
  virtual Result<std::optional<Profile>> find_profile(std::string_view name) = 0;
  virtual Result<std::vector<Profile>> list_profiles() = 0;
  virtual Result<PackageFiles> package_files() = 0;

  // Assigns request.id.
  virtual Result<void> insert_request(ProvisionRequest& request) = 0;
  // Writes every field but id and created_at, and adds 1 to optlock. kConflict if optlock is not the stored one.
  virtual Result<void> update_request(ProvisionRequest& request) = 0;
  // The same for who has changed nothing but what provisioning brings about: status, failures, last_error, facts,
  // activation_key_used, updated_at, completed_at. Only these are written.
  virtual Result<void> update_progress(ProvisionRequest& request) = 0;
  // Also its attempts, steps and timeline; issued certificates stay.
  virtual Result<void> delete_request(std::int64_t id) = 0;
  virtual Result<std::optional<ProvisionRequest>> find_request(std::int64_t id) = 0;
  virtual Result<std::optional<ProvisionRequest>> find_request_by_name(std::string_view name) = 0;
  virtual Result<std::optional<ProvisionRequest>> find_request_by_client_id(std::string_view client_id) = 0;
  // Any one request with that username (all share its password).
  virtual Result<std::optional<ProvisionRequest>> find_request_by_username(std::string_view username) = 0;
  // All of them, by name.
  virtual Result<std::vector<ProvisionRequest>> requests_with_username(std::string_view username) = 0;
  virtual Result<std::vector<ProvisionRequest>> list_requests(const RequestFilter& filter) = 0;
  virtual Result<std::map<JobStatus, std::int64_t>> count_requests() = 0;
  // Client ids of the requests with after < expires_on <= until.
  virtual Result<std::vector<std::string>> expired_between(WallTime after, WallTime until) = 0;
  // Up to when live connections of what expired have been ended; nullopt if none ever were.
  virtual Result<std::optional<WallTime>> expiries_ended_until() = 0;
  virtual Result<void> note_expiries_ended_until(WallTime time) = 0;
  // Of the requests of a filter, with the `reasons` most frequent reasons of failure.
  virtual Result<RequestProgress> progress_of(const RequestFilter& filter, WallTime now, std::size_t reasons) = 0;

  // Assigns attempt.id. kAlreadyExists if the request has an open attempt, or one of that number: supersede it first.
  // Of the request's ended attempts the newest 100 are kept, with their steps.
  virtual Result<void> insert_attempt(Attempt& attempt) = 0;
  // Its request and its number stay. kConflict if another cell has taken the attempt over: nothing of it is this cell's.
  virtual Result<void> update_attempt(const Attempt& attempt) = 0;
  // This cell acts on the attempt from now on, for the device or an operator is here: its fence grows if it was another's.
  virtual Result<void> take_attempt(Attempt& /*attempt*/) { return {}; }
  virtual Result<std::optional<Attempt>> find_attempt(std::int64_t id) = 0;
  virtual Result<std::optional<Attempt>> latest_attempt(std::int64_t request_id) = 0;
  virtual Result<std::vector<Attempt>> attempts_of(std::int64_t request_id) = 0;
  // Open attempts with due_at <= now, the longest due first: this cell's, and those of cells that have died, which are this
  // cell's from now on.
  virtual Result<std::vector<Attempt>> due_attempts(WallTime now, std::size_t limit) = 0;
  // Those whose handover is pending, of this cell and of cells that have died, as above.
  virtual Result<std::vector<Attempt>> attempts_to_hand_over() = 0;
  // Whether an attempt that began at `begun` or before is open, or was completed after `completed_after`.
  virtual Result<bool> has_live_attempt(WallTime begun, WallTime completed_after) = 0;
  // Lifts moved_at of every open attempt so far that it has `grace` left from now, or its whole timeout if that is less.
  virtual Result<void> put_off_deadlines(WallTime now, Millis grace) = 0;

  // That broker has, or will have been told, that login: kept, also without its request, until it is given up and then
  // forgotten. One that is given up is so no more.
  virtual Result<void> keep_login(const std::string& account, const std::string& client_id,
                                  const std::string& username) = 0;
  // All logins of a device are to be taken back from wherever they were given; their ids.
  virtual Result<std::vector<std::int64_t>> give_up_logins(std::string_view client_id) = 0;
  virtual Result<std::optional<GivenLogin>> find_login(std::int64_t id) = 0;
  // By this cell, and by cells that have died.
  virtual Result<std::vector<std::int64_t>> logins_given_up() = 0;
  // Nothing if it is not given up (any more).
  virtual Result<void> forget_login(std::int64_t id) = 0;

  // All of one attempt: kInternal otherwise. The one with ordinal 0 comes with its first.
  virtual Result<void> insert_steps(const std::vector<Step>& steps) = 0;
  // By attempt_id and ordinal. What it is (kind, rid, job_id) and its message do not change, whether or not `step` has it.
  virtual Result<void> update_step(const Step& step) = 0;
  // The same just before forget_messages(): a store that keeps a message with its step need not write it once more.
  virtual Result<void> update_last(const Step& step) { return update_step(step); }
  virtual Result<std::vector<Step>> steps_of(std::int64_t attempt_id) = 0;  // by ordinal
  // The same for whoever sends none of them: topic and payload may be left empty.
  virtual Result<std::vector<Step>> steps_without_messages(std::int64_t attempt_id) { return steps_of(attempt_id); }
  // Of any attempt of that request; its message need not be there. There is no looking for a step of whomever: an index of all
  // that was ever asked would be written at a random place for each message.
  virtual Result<std::optional<Step>> find_step(std::int64_t request_id, std::string_view rid) = 0;
  virtual Result<std::optional<Step>> find_step_by_job(std::int64_t request_id, std::int64_t job_id) = 0;
  // The steps of an attempt that has ended have no topic and payload any more.
  virtual Result<void> forget_messages(std::int64_t attempt_id) = 0;

  virtual Result<void> insert_certificate(const IssuedCertificate& certificate) = 0;
  // The certificate for a key that was inserted last, whatever the clock said.
  virtual Result<std::optional<IssuedCertificate>> certificate_of_key(std::string_view spki_sha256) = 0;
  virtual Result<std::vector<IssuedCertificate>> certificates_of(std::string_view client_id) = 0;
  virtual Result<std::optional<CertificateRecord>> find_certificate(std::string_view serial) = 0;
  virtual Result<std::vector<CertificateRecord>> list_certificates(const CertificateFilter& filter) = 0;

  // About the newest 1,000 entries of a request are kept.
  virtual Result<void> add_timeline(const TimelineEntry& entry) = 0;
  // Oldest first; the newest `limit`.
  virtual Result<std::vector<TimelineEntry>> timeline_of(std::int64_t request_id, std::size_t limit) = 0;

  // `at` is when; `until` is not looked at. A device's line that says what one of the last about that client id says, not
  // ten minutes after it began, adds its times to that one. About the newest 100,000 lines of each source are kept: devices, and who
  // claims to be one, do not push out what operators did.
  virtual Result<void> add_audit(const AuditEntry& entry) = 0;
  // Oldest first; the newest that fit.
  virtual Result<std::vector<AuditEntry>> list_audit(const AuditFilter& filter) = 0;

  // The other cells hear of it after the commit.
  virtual Result<void> tell_other_cells(const Tidings& /*tidings*/) { return {}; }
};

struct StoreSettings {
  std::filesystem::path database;   // provisioner.db
  std::filesystem::path admission;  // admission.db
  int admission_mode = 0600;        // 0640 if the broker runs under another user of the group
  std::function<Result<void>(const std::filesystem::path&)> share_admission =
      {};  // called for admission.db, -wal, -shm; may be empty
};

// One piece of work: reads and changes through the transaction. An error, or an exception (kInternal), rolls this piece
// back, and only this one. It may run more than once, when what it did the first time was rolled back with somebody
// else's piece: only its last run may show in what it leaves outside of the store.
using Work = std::function<Result<void>(Transaction&)>;
// Called after the commit that holds the work (Ok), or with its own error, or with the commit's.
using Done = std::function<void(Result<void>)>;

// Opens, migrates, and owns the writer thread. Group commit: all work that has queued up while a commit ran goes into
// the next one; a piece that fails takes back its own changes only. Changes of a request's admission reach the admission projection
// in the safe order: closings before the commit, openings after it. Thread-safe. If the disk is full, the pieces of
// that commit fail with kNoSpace and nothing of them is stored; the store stays usable. Crash points:
// store.after-closings, store.before-commit, store.after-commit (only commits that change something).
class Store {
 public:
  // `post` carries a completed Done to the thread that shall run it (e.g. an io_context). kUnsupported if the database
  // was written by a newer version; kCorrupt with the file's name. An admission projection that is missing, damaged or
  // out of date is no error: it is made anew from the requests.
  static Result<std::unique_ptr<Store>> open(StoreSettings settings, std::function<void(std::function<void()>)> post);
  virtual ~Store() = default;  // finishes what is queued

  virtual void submit(Work work, Done done) = 0;
  // As submit() for work that only reads, on a thread and a connection of its own: however long it takes, no device
  // waits for it. It sees what was committed when it began; changes fail.
  virtual void read(Work work, Done done) = 0;
  // Runs the work on the writer thread and waits for its commit. Does not go through `post`. Not from within a Work
  // (kInternal).
  virtual Result<void> run(Work work) = 0;
  // Pieces of work not yet committed.
  virtual std::size_t backlog() const = 0;
  // From now on, and for what has not been heard yet, `hear` is called (through `post`) with what other cells tell.
  virtual void hear_other_cells(std::function<void(Tidings)> /*hear*/) {}
  // Why nothing can be stored at the moment; nullopt if all is well. Thread-safe.
  virtual std::optional<std::string> trouble() const { return std::nullopt; }
};

}  // namespace fleet::provisioner
