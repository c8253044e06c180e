// The border between the domain and a wire protocol: what the domain asks a dialect to say, and what a dialect tells
// the domain that a device said. EDC over MQTT (provisioner/edc) is one dialect.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/base/bytes.hpp"
#include "core/base/result.hpp"
#include "core/base/secret.hpp"
#include "core/base/time.hpp"
#include "core/protocol/esf_xml.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

// A device's hello, already known to come from `client_id`.
struct Hello {
  std::string username;
  Secret password;
  std::optional<Secret> activation_key;
  std::optional<std::string> hello_id;  // how it wants to be answered; none: silence
  std::optional<Bytes> nonce;
  std::optional<Bytes> csr_der;
  std::string reason;
  std::map<std::string, std::string> facts;
};

// A device's reply to a step.
struct StepReply {
  std::string rid;
  // What the reply claims to answer. EDC has one name for kSigningRequest and kTrustedCertificate: it says the latter.
  StepKind kind = StepKind::kSigningCertificates;
  std::int32_t code = 0;
  std::string error;
  std::optional<std::string> signing_request_pem{};  // if it brings one
};

// A device's news of a package that it was asked to download and install.
struct JobNotice {
  enum class Phase { kDownload, kInstall };
  enum class State { kRunning, kDone, kFailed };
  std::int64_t job_id = 0;
  Phase phase = Phase::kDownload;
  State state = State::kRunning;
  int progress = 0;     // of the phase, 0..100
  std::string error{};  // with kFailed
};

// What a step brings, as values.
struct SigningCertificatesContent {
  std::string chain_pem;
};
struct SigningRequestContent {
  std::string client_id;
};
struct DeviceCertificateContent {
  std::vector<std::string> chain_pem;
};
struct TrustedCertificateContent {
  std::size_t number = 1;
  std::string certificate_pem;
};
struct PackageContent {
  std::string name, version;
  std::string url;     // http or https
  std::string sha256;  // lower-case hex
  bool required = true;
  std::int64_t job_id = 0;
};
struct InlinePackageContent {
  std::string name, version;
  std::string file_name;
  Bytes content;
  bool required = true;
};
struct ConfigurationContent {
  protocol::Configurations configurations;
};
using StepContent = std::variant<SigningCertificatesContent, SigningRequestContent, DeviceCertificateContent,
                                 TrustedCertificateContent, PackageContent, InlinePackageContent, ConfigurationContent>;

// The answers to a hello, named by what they mean; a dialect maps them to its codes (edc §4.1).
enum class Answer {
  kRecorded,
  kAccepted,
  kMalformed,
  kWrongCredentials,
  kForbidden,
  kAlreadyProvisioned,
  kGone,
  kTooMany,
  kNotNow
};
std::string_view to_string(Answer answer);  // "recorded", …

struct AnswerDetails {
  Answer answer = Answer::kAccepted;
  std::string message{};                 // for the device's log, on refusals
  std::optional<Seconds> retry_after{};  // with kTooMany and kNotNow
};

// A message to one device.
struct Outgoing {
  std::string client_id;
  std::string topic;
  Bytes payload;
};

// Thread-safe, no I/O.
class Dialect {
 public:
  virtual ~Dialect() = default;
  // The signed message of a step.
  virtual Result<Outgoing> step_message(const std::string& client_id, const Bytes& nonce, const std::string& rid,
                                        const StepContent& content, WallTime now) const = 0;
  // The signed answer to a hello.
  virtual Result<Outgoing> answer_message(const std::string& client_id, const Bytes& nonce, const std::string& hello_id,
                                          const AnswerDetails& details, WallTime now) const = 0;
};

}  // namespace fleet::provisioner
