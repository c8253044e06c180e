// The device's side of provisioning (edc §4) as a pure state machine: no I/O, no clock, no threads. The edge (the
// daemon, or a simulator with thousands of sessions) feeds events and carries out effects in their order.
//
//   disabled ── nothing to do: not enabled
//   waiting ─── pause before the next attempt ◀──────────────── timeout, refusal, failure
//   connecting ─ to the provision broker, then SUBSCRIBE           ▲
//   hello ────── PROV sent, nothing accepted yet ──────────────────┤
//   installing ─ CERT-V1 accepted, requests are being handled ─────┘
//   confirming ─ CONF-V1 is durable; its reply is repeated until the platform has recorded it, or `timeout`
//   awaiting-owner ─ the owner's broker has not acknowledged BIRTH yet: growing pauses up to a minute; after
//                `owner-timeout` also attempts (owner-unreachable), with growing pauses up to an hour
//   provisioned ─ BIRTH was acknowledged; keep the owner's connection
//   gave-up ──── retry-max-attempts used up
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/backoff.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/crypto/certificate.hpp"
#include "core/protocol/deploy.hpp"
#include "core/protocol/esf_xml.hpp"

namespace fleet::agent {

// What a session knows from the start and never changes. Times as in edc §7.
struct SessionConfig {
  std::string account;  // provision account
  std::string client_id;
  std::string username;
  Secret password;
  std::optional<Secret> activation_key;
  bool ca_authentication = true;
  std::vector<crypto::Certificate> platform_roots;
  Millis timeout{120'000};
  Millis retry_interval{60'000};
  int retry_max_attempts = -1;  // -1: until it succeeds
  Millis owner_timeout{900'000};
  std::map<std::string, std::string> facts;  // the BIRTH metrics that PROV carries
  WallTime build_time;                       // floor of the verification time: survives a clock in 1970
};

enum class Phase {
  kDisabled,
  kWaiting,
  kConnecting,
  kHello,
  kInstalling,
  kConfirming,
  kAwaitingOwner,
  kProvisioned,
  kGaveUp
};
std::string_view to_string(Phase phase);
Result<Phase> parse_phase(std::string_view name);

// A reply that was sent, kept so that a repeated request gets the same one, word for word (edc §4, duplicates).
struct SentReply {
  std::string topic;
  Bytes payload;
};

// A package and its content: the same version with another content is another package.
struct Package {
  protocol::PackageId id;
  std::string sha256;  // of its file: 64 lower-case hex digits
  friend bool operator==(const Package&, const Package&) = default;
};

// What the accepted requests of an attempt have brought so far; becomes a generation with CONF-V1.
struct Staged {
  std::vector<std::string> device_chain_pem;       // leaf first
  std::map<std::string, std::string> trusted_pem;  // alias → CA of the owner's broker
  std::vector<Package> packages;                   // installed, each once, in the order in which they were
  protocol::Configurations configurations;
};

// A package that the platform wants on this device (edc §4.5), from its request until it is there or has failed.
struct PackageJob {
  std::string request_id;  // {rid}; also the key of the job in effects and events
  std::string requester;   // whom NOTIFY tells
  std::int64_t job_id = 0;
  Package package;
  std::string uri;               // empty: it came inline (DEPLOY-V1) and is answered by its reply alone
  bool install = true;           // false: download and check only
  bool downloads = true;         // false: EXEC install of one that was downloaded before
  std::optional<protocol::DeployStatus> outcome;  // COMPLETED, ALREADY DONE or FAILED; none: not ended
  protocol::DeployStage failed_stage = protocol::DeployStage::kDownload;
  std::string error;  // FAILED: why, for a person

  bool is_inline() const { return uri.empty(); }
};

// One attempt. Its nonce is fresh; everything in it dies with it.
struct Attempt {
  Bytes nonce;                               // 16 bytes
  std::string request_id;                    // of our PROV
  std::string reason;                        // prov.reason
  std::string signing_chain_pem;             // accepted CERT-V1, empty before
  std::map<std::string, SentReply> replies;  // by {rid}
  bool refused = false;                      // we refused a request: the rest of the attempt is refused too
  std::string refusal;                       // why, for a person
  std::string conf_request_id;               // {rid} whose reply is being repeated
  // Of its configuration, from the first time that it is installed: repeated after a crash it gets no other number.
  std::optional<std::uint64_t> generation;
  std::vector<PackageJob> jobs;              // in the order of their requests
  Staged staged;
};

struct Failure {
  WallTime at;
  std::string what;  // for a person: what failed, why
};

// All that must survive a crash. The edge stores it as one file; the key lives beside it (see Started).
struct SessionState {
  Phase phase = Phase::kWaiting;
  bool enabled = true;
  bool provisioned = false;
  int attempts_failed = 0;
  std::uint64_t generation = 0;  // of the configuration in force, 0: none
  std::optional<Attempt> attempt;
  std::optional<WallTime> wait_until;   // phases waiting and awaiting-owner: the next try
  Millis wait_length{0};                // of that pause when it began: bounds it if the clock has been set since
  std::optional<WallTime> owner_since;  // since when the owner's broker has not taken us
  std::optional<Bytes> pinned_issuer;   // spki_sha256 of the signing leaf's issuer (ca-authentication false)
  std::optional<WallTime> last_time;    // at which a platform chain verified against platform_roots; only grows
  std::optional<Failure> last_failure;  // none once provisioned; a text that is repeated keeps its first time
};

// When the session tries again by itself, if it is waiting for that; a time that is over means that it is trying now.
std::optional<WallTime> next_try(const SessionState& state);

// JSON text of a state and back; secrets of configurations are in it, so the file is born 0600. Otherwise kCorrupt.
std::string to_json(const SessionState& state);
Result<SessionState> parse_session_state(std::string_view json);

// When an event happens. `random` is a fresh uniformly distributed number for jitter.
struct Now {
  WallTime wall;
  SteadyTime steady;
  std::uint64_t random = 0;
};

// --- events

// The edge has read the state and made or read the device key; `csr_der` is the PKCS#10 over it.
struct Started {
  Bytes csr_der;
};
struct ProvisionConnected {};
// CONNACK 4 or 5.
struct ProvisionRefused {
  Error error;
};
// DNS, network, TLS; kUnauthenticated: the broker's certificate is not trusted.
struct ProvisionUnreachable {
  Error error;
};
struct ProvisionLost {
  Error error;
};
struct ProvisionSubscribed {
  bool granted = true;
};
struct ProvisionMessage {
  std::string topic;
  Bytes payload;
};
// Answer to InstallGeneration.
struct Installed {
  std::uint64_t generation = 0;
  std::optional<Error> error;
  std::optional<std::uint64_t> in_force = std::nullopt;  // with an error, if known: what is in force instead, 0: none
};
// A package is arriving: `percent` of the stage, 0 if the whole is not known. Comes only when something has arrived.
struct PackageProgress {
  std::string key;
  protocol::DeployStage stage = protocol::DeployStage::kDownload;
  int percent = 0;
};
// Answers to FetchPackage. `already`: it was there.
struct PackageDone {
  std::string key;
  bool already = false;
};
struct PackageFailed {
  std::string key;
  protocol::DeployStage stage = protocol::DeployStage::kDownload;
  Error error;
};
// Connected, and the PUBACK of BIRTH is in.
struct OwnerBorn {};
// Refused, unreachable, or lost before or after BIRTH.
struct OwnerFailed {
  Error error;
};
// A person has gone back to the generation before, and it is in force now (see Session::why_no_rollback()).
struct RolledBack {
  std::uint64_t generation = 0;
};
struct TimerFired {};
// SaveState did not work: the effects behind it were not carried out.
struct SaveFailed {
  Error error;
};

using Event =
    std::variant<Started, ProvisionConnected, ProvisionRefused, ProvisionUnreachable, ProvisionLost,
                 ProvisionSubscribed, ProvisionMessage, Installed, PackageProgress, PackageDone, PackageFailed, OwnerBorn,
                 OwnerFailed, RolledBack, TimerFired, SaveFailed>;

// --- effects

// Write state() durably; on failure drop the remaining effects and feed SaveFailed before anything else.
struct SaveState {};
struct ConnectProvision {};
struct SubscribeProvision {
  std::string filter;
};
struct PublishProvision {
  std::string topic;
  Bytes payload;
};
// Harmless without a connection.
struct LeaveProvision {
  bool goodbye = true;  // publish DC first
};
// Write a new generation durably and switch to it, then feed Installed. Repeating it with the same number is harmless,
// whatever the content.
struct InstallGeneration {
  std::uint64_t generation = 0;
  Staged content;
};
// Bring a package to its place, then feed PackageDone or PackageFailed, PackageProgress meanwhile. What is there already is
// not brought again, and what an earlier try has brought of it is used. In the order of the effects.
struct FetchPackage {
  std::string key;
  Package package;
  std::string uri;        // empty: `content` is the file
  std::string file_name;  // of an inline package
  Bytes content;
  bool install = true;  // false: download and check only
};
// The attempt is over: stop fetching; no event about its packages is wanted any more.
struct CancelPackages {};
// With the generation in force; BIRTH; then OwnerBorn or OwnerFailed.
struct ConnectOwner {};
// Feed TimerFired then; replaces an earlier one.
struct WakeAt {
  SteadyTime at;
};
// For the log and the person: what happened, in one line.
struct Report {
  bool problem = false;
  std::string text;
};
// Provisioned: the key is spent, the generation has its copy; make another before the next Started.
struct NewKey {};

using Effect = std::variant<SaveState, ConnectProvision, SubscribeProvision, PublishProvision, LeaveProvision,
                            InstallGeneration, FetchPackage, CancelPackages, ConnectOwner, WakeAt, Report, NewKey>;
using Effects = std::vector<Effect>;

// One device. Copyable value; every method is pure but for the session's own state (and the nonce of a new attempt,
// which comes from the kernel).
//
// What the edge owes it: ConnectProvision is answered by ProvisionConnected, ProvisionRefused or ProvisionUnreachable;
// SubscribeProvision by ProvisionSubscribed or ProvisionLost (a broker that does neither is left after 30 s);
// InstallGeneration by Installed; FetchPackage by PackageDone or PackageFailed, unless it is cancelled; ConnectOwner by
// OwnerBorn or OwnerFailed. Whatever the session waits for beyond that has a WakeAt, at least 100 ms ahead.
class Session {
 public:
  // `config` must outlive the session.
  Session(const SessionConfig& config, SessionState state);

  // The state after the event is state(); the effects must be carried out in order.
  Effects handle(const Event& event, const Now& now);

  const SessionState& state() const { return state_; }
  // When a pause before the next connection ends, to whichever broker; nullopt if it is not pausing. For showing.
  std::optional<SteadyTime> pause_until() const;
  // Why nobody may go back to the generation before just now, for a person; nullopt if there is no reason.
  std::optional<std::string> why_no_rollback() const;

 private:
  class Step;  // one call of handle(): the rules (step.hpp)

  enum class Link { kDown, kConnecting, kSubscribing, kUp };
  enum class Timer : std::size_t { kTimeout, kWait, kReconnect, kRepeat, kOwner, kSave };
  static constexpr std::size_t kTimers = 6;

  // A request whose reply is still owed.
  struct Owed {
    std::string request_id;
    std::string reply_topic;
  };

  // CONF-V1 that waits until all packages have ended.
  struct Held {
    Owed owed;
    protocol::Configurations configurations;
  };

  // What the platform was last told about a job that has not ended.
  struct Told {
    protocol::DeployStage stage = protocol::DeployStage::kDownload;
    int percent = 0;
    SteadyTime at;
  };

  // Waiting for the owner's broker, and asking the platform again about that.
  struct OwnerWait {
    Backoff pause;               // between tries of the owner's broker
    Backoff ask_pause;           // between attempts for its sake
    SteadyTime ask_platform_at;  // not before
    std::string failure;         // of the last try, for a person; empty: none in this run of the process
    std::string answer;          // what came of asking the platform; empty: not asked
  };

  // What a restart of the process forgets.
  struct Live {
    Bytes csr_der;
    Link link = Link::kDown;  // to the provision broker
    std::array<std::optional<SteadyTime>, kTimers> timers;
    Backoff reconnect;
    OwnerWait owner;
    std::optional<Owed> installing;  // CONF-V1, until Installed
    std::optional<Held> held;        // CONF-V1, until it is its turn
    std::map<std::string, Told> told;  // by key of the jobs that the edge is at work on
    std::optional<Owed> answering;   // the request whose reply hangs on the last SaveState
    std::string last_drop;           // why a message of this attempt was dropped: what its timeout may have come from
    bool unsaved = false;            // state_ is ahead of the disk
    bool connect_owner_hangs_on_save = false;
  };

  const SessionConfig* config_;
  SessionState state_;
  Live live_;
};

}  // namespace fleet::agent
