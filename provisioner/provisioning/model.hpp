// The nouns of provisioning as typed values, free of any wire protocol and any database: accounts, profiles, provision
// requests, attempts, steps, issued certificates, and the timeline.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/protocol/esf_xml.hpp"
#include "provisioner/admission/admission.hpp"

namespace fleet::provisioner {

// How long after COMPLETED a device may still connect to fetch its final answer (edc §1, completedGrace).
inline constexpr Millis kCompletedGrace{600'000};
// A request without reply is sent again after this (edc §4, time).
inline constexpr Millis kResendAfter{10'000};
// A package takes its time; its request is sent again when so long nothing was heard of it.
inline constexpr Millis kPackageResendAfter{60'000};

// Purposes of crypto::secret_verifier beside kConnectPurpose.
inline constexpr std::string_view kUsernamePurpose = "username";             // owner: the username
inline constexpr std::string_view kActivationKeyPurpose = "activation-key";  // owner: the client id

// What devices log in to the owner's broker with.
enum class OwnerCredentials : std::uint8_t {
  kX509,      // the certificate that provisioning gives them
  kPassword,  // a username and a password that are made for each device
};
std::string_view to_string(OwnerCredentials credentials);  // "x509", "password"

// deviceCredentialsTight (edc §6): whether a device's password is good for its own client id only.
enum class CredentialsTight : std::uint8_t {
  kInherited,  // as the level above has it: of a request its account, of an account the product, which is STRICT
  kStrict,
  kLoose,
};
std::string_view to_string(CredentialsTight tight);  // "INHERITED", …

// How the owner's broker learns the passwords of its devices; one of the two is set.
struct OwnerConnector {
  std::string database;              // path of the projection that our plugin reads there, in its owner mode
  std::vector<std::string> command;  // a program that takes them, and its arguments
  friend bool operator==(const OwnerConnector&, const OwnerConnector&) = default;
};

// Who owns devices: the account whose broker they end up on.
struct Account {
  std::string name;                 // also topic.context.account-name
  std::string broker_url;           // mqtts://host[:port]; kPassword: also mqtt://host[:port]
  std::vector<std::string> ca_pem;  // one certificate each: what devices shall trust for that broker; none: mqtt://
  OwnerCredentials credentials = OwnerCredentials::kX509;
  CredentialsTight tight = CredentialsTight::kInherited;  // kPassword only
  OwnerConnector connector{};                             // kPassword only
  bool is_strict() const { return tight != CredentialsTight::kLoose; }
};

// How the content of a package gets to a device.
enum class PackageSource : std::uint8_t {
  kUrl,     // the device downloads it from a server of the operator's
  kFile,    // the device downloads it from the provisioner
  kInline,  // it travels within the message
};
std::string_view to_string(PackageSource source);  // "url", "file", "inline"

// An application that devices get (edc §4.5).
struct Package {
  std::string name, version;  // protocol::is_package_name, is_package_version
  PackageSource source = PackageSource::kUrl;
  std::string url;        // kUrl: http or https; a template as configuration values are
  std::string file_name;  // kFile, kInline: what the operator calls it, without a folder
  std::string sha256;     // of the content, lower-case hex
  std::int64_t size = 0;  // kFile, kInline: bytes
  // The configuration waits until it is installed, and its failure is the attempt's. Otherwise a failure is only noted.
  bool required_before_configuration = true;
  friend bool operator==(const Package&, const Package&) = default;
};

// What devices of one kind get.
struct Profile {
  std::string name;
  std::string account;
  // Values may hold ${clientId}, ${labels.NAME}, ${params.NAME}; "$${" is a literal "${".
  protocol::Configurations configuration;
  Millis certificate_validity{365LL * 86'400'000};
  int retry_max_attempts = 5;  // -1: no limit
  Millis attempt_timeout{300'000};
  std::vector<Package> packages{};
  // Devices get a certificate although their account's credentials are passwords; with x509 they do in any case.
  bool wants_certificate = false;
};

// edc §6, job status. No request rests in kConfUpdated, kStopping or kSkipped: what comes after the first two is in the same
// commit, and nothing is skipped.
enum class JobStatus : std::uint8_t {
  kCreated,
  kStarted,
  kRunning,
  kAppsInstalling,
  kAppsInstalled,
  kConfUpdating,
  kConfUpdated,
  kCompleted,
  kFailed,
  kAbandoned,
  kSkipped,
  kStopping,
  kStopped,
};
std::string_view to_string(JobStatus status);  // "CREATED", …
Result<JobStatus> parse_job_status(std::string_view name);

// The permission for one device to be provisioned once.
struct ProvisionRequest {
  std::int64_t id = 0;  // assigned by the store
  std::string name;     // unique, [A-Za-z0-9][A-Za-z0-9._-]{0,127}
  std::string profile;
  std::string client_id;  // unique
  std::string username;
  Bytes connect_verifier;   // secret_verifier(key, "connect", client_id, password)
  Bytes username_verifier;  // secret_verifier(key, "username", username, password): one username, one password
  std::optional<Bytes> activation_key_verifier;  // secret_verifier(key, "activation-key", client_id, key)
  bool activation_key_used = false;
  std::map<std::string, std::string> labels, params;
  bool enabled = true;
  std::optional<WallTime> activates_on, expires_on;
  std::optional<int> retry_max_attempts;  // these three override the profile's
  std::optional<protocol::Configurations> configuration;
  std::optional<std::vector<Package>> packages;
  bool secure_url = true;  // provisionSecureURL (edc §6): the broker-url that the device gets is mqtts://, else mqtt://
  // What the operator counts on; the account decides, and a request that wants something else does not fit it.
  CredentialsTight tight = CredentialsTight::kInherited;
  JobStatus status = JobStatus::kCreated;
  int failures = 0;                          // that count towards retry_max_attempts
  std::string last_error;                    // for a person: why the last attempt ended, what to do next
  std::map<std::string, std::string> facts;  // what the device said of itself in its last accepted hello
  std::int64_t optlock = 1;
  WallTime created_at, updated_at;
  std::optional<WallTime> completed_at;
};

enum class AttemptState : std::uint8_t { kOpen, kCompleted, kFailed, kSuperseded, kStopped };
std::string_view to_string(AttemptState state);  // "OPEN", …

// Whether the device's owner credentials have reached the owner's broker, for which the configuration waits.
enum class Handover : std::uint8_t { kNone, kPending, kDone };
std::string_view to_string(Handover handover);  // "NONE", …

// One conversation with a device, from its accepted hello to its end.
struct Attempt {
  std::int64_t id = 0;
  std::int64_t request_id = 0;
  int number = 1;        // within the request
  Bytes nonce;           // empty if the device sent none
  std::string hello_id;  // request.id of the latest hello with this nonce; empty: the device wants no answers
  AttemptState state = AttemptState::kOpen;
  Millis timeout{300'000};        // the profile's attemptTimeout when it opened
  // moved: the last message either way that brought it forward, or later if the provisioner was away (kReturnGrace)
  WallTime started_at, moved_at;
  std::optional<WallTime> ended_at;
  std::optional<WallTime> due_at;  // when the sweeper must look at it: next resend or deadline; none once ended
  std::string error;               // why it did not complete
  Handover handover = Handover::kNone;
  std::string owner_account;  // whose credentials these are; empty without a handover
  std::string owner_username;
  Secret owner_password;       // wiped when the attempt ends
  std::string handover_error;  // why the owner's broker has not taken them yet
  std::int64_t fence = 1;      // grows whenever another cell takes the attempt over (see Transaction::take_attempt)
};

// A login that an owner's broker has, or may have: it is noted before it is handed over, and goes when it was taken back.
struct GivenLogin {
  std::int64_t id = 0;  // assigned by the store
  std::string account, client_id, username;
  bool given_up = false;  // its request was deleted: it is to be taken back
};

enum class StepKind : std::uint8_t {
  kSigningCertificates,
  kSigningRequest,  // asks for the device's certificate signing request, if its hello held none
  kDeviceCertificate,
  kTrustedCertificate,
  kPackage,        // the device downloads and installs it, and notifies of its progress
  kInlinePackage,  // the message holds it
  kConfiguration
};
std::string_view to_string(StepKind kind);  // "signing-certificates", …

// One request of the provisioner within an attempt, and what became of it.
struct Step {
  std::int64_t attempt_id = 0;
  int ordinal = 0;  // order of sending, from 0
  StepKind kind = StepKind::kSigningCertificates;
  std::string rid;      // 128 random bits in hex, unique for ever
  std::string summary;  // for the timeline: what it brings, without secrets
  std::string topic;    // the message as first sent, so that a repetition is the same to the byte;
  Bytes payload;        // both are emptied when the attempt ends
  WallTime sent_at;
  int send_count = 1;
  std::optional<std::int32_t> reply_code;
  std::string reply_error;
  std::optional<WallTime> replied_at;
  bool held = false;      // recorded, but not sent yet: something must happen first (see is_blocked in rules.hpp)
  bool optional = false;  // a package whose failure is noted and for which nothing waits
  // kPackage only: a number that names the step in notifications, and what they said.
  std::optional<std::int64_t> job_id;  // random, 53 bits: unique for ever
  int progress = 0;                    // the farthest so far: 0..100 of the download, 100..200 with the installation
  std::optional<WallTime> notified_at;
  std::optional<bool> installed;  // the last word; false: it failed
};

// A certificate that the device CA issued. Kept for ever, also when its request is deleted.
struct IssuedCertificate {
  std::string serial;  // lower-case hex, unique
  Bytes spki_sha256;   // of the key it is for; a key belongs to one client id
  std::string client_id;
  std::int64_t request_id = 0;
  std::string pem;
  WallTime not_before, not_after, issued_at;
};

// One line of a device's history, for a person.
struct TimelineEntry {
  std::int64_t request_id = 0;
  std::optional<std::int64_t> attempt_id;
  WallTime at;
  std::string kind;  // "hello", "sent", "reply", "refused", "completed", "failed", "superseded", "operator", …
  std::string text;
};

// Whose doing a line of the audit is.
enum class AuditSource : std::uint8_t { kOperator, kDevice };
std::string_view to_string(AuditSource source);  // "operator", "device"

// One line of the audit: who did what, or was kept from it.
struct AuditEntry {
  WallTime at{};     // the first time
  WallTime until{};  // the last time
  std::int64_t times = 1;
  AuditSource source = AuditSource::kDevice;
  // "refused", "denied", "locked", "kicked", "take-back" (of a login); of operators "apply", "retry", "enable", "disable",
  // "delete", and "start" of the service itself
  std::string kind{};
  std::string who{};        // "uid 0 (root)", a network address, or "provisioner"
  std::string client_id{};  // empty: none; "*": of many
  std::string text{};       // what, and how it ended; without secrets
};

// The row of the admission projection for a request (edc §1, "admitted").
struct AdmissionRow {
  std::string client_id, username;
  Bytes verifier;
  Admission state = Admission::kOpen;
  std::int64_t opens_ms = 0, closes_ms = kNeverCloses;
  friend bool operator==(const AdmissionRow&, const AdmissionRow&) = default;
};
AdmissionRow admission_of(const ProvisionRequest& request);

}  // namespace fleet::provisioner
