#include "provisioner/provisioning/model.hpp"

#include <algorithm>
#include <array>

namespace fleet::provisioner {

namespace {

// In the order of JobStatus; the names of edc §6.
constexpr std::array<std::string_view, 13> kJobStatusNames{
    "CREATED",   "STARTED", "RUNNING",   "APPS_INSTALLING", "APPS_INSTALLED", "CONF_UPDATING", "CONF_UPDATED",
    "COMPLETED", "FAILED",  "ABANDONED", "SKIPPED",         "STOPPING",       "STOPPED",
};
constexpr std::array<std::string_view, 5> kAttemptStateNames{"OPEN", "COMPLETED", "FAILED", "SUPERSEDED", "STOPPED"};
constexpr std::array<std::string_view, 7> kStepKindNames{
    "signing-certificates", "signing-request", "device-certificate", "trusted-certificate",
    "package",              "inline-package",  "configuration"};
constexpr std::array<std::string_view, 2> kOwnerCredentialsNames{"x509", "password"};
constexpr std::array<std::string_view, 3> kCredentialsTightNames{"INHERITED", "STRICT", "LOOSE"};
constexpr std::array<std::string_view, 3> kHandoverNames{"NONE", "PENDING", "DONE"};
constexpr std::array<std::string_view, 3> kPackageSourceNames{"url", "file", "inline"};

static_assert(static_cast<std::size_t>(JobStatus::kStopped) + 1 == kJobStatusNames.size());
static_assert(static_cast<std::size_t>(AttemptState::kStopped) + 1 == kAttemptStateNames.size());
static_assert(static_cast<std::size_t>(StepKind::kConfiguration) + 1 == kStepKindNames.size());
static_assert(static_cast<std::size_t>(PackageSource::kInline) + 1 == kPackageSourceNames.size());

}  // namespace

std::string_view to_string(JobStatus status) {
  return kJobStatusNames.at(static_cast<std::size_t>(status));
}

Result<JobStatus> parse_job_status(std::string_view name) {
  const auto* const found = std::find(kJobStatusNames.begin(), kJobStatusNames.end(), name);
  if (found == kJobStatusNames.end()) return fail(ErrorCode::kMalformed, "job status \"{}\": no such status", name);
  return static_cast<JobStatus>(found - kJobStatusNames.begin());
}

std::string_view to_string(AttemptState state) {
  return kAttemptStateNames.at(static_cast<std::size_t>(state));
}

std::string_view to_string(StepKind kind) {
  return kStepKindNames.at(static_cast<std::size_t>(kind));
}

std::string_view to_string(AuditSource source) {
  return source == AuditSource::kOperator ? "operator" : "device";
}

std::string_view to_string(OwnerCredentials credentials) {
  return kOwnerCredentialsNames.at(static_cast<std::size_t>(credentials));
}

std::string_view to_string(CredentialsTight tight) {
  return kCredentialsTightNames.at(static_cast<std::size_t>(tight));
}

std::string_view to_string(Handover handover) {
  return kHandoverNames.at(static_cast<std::size_t>(handover));
}

std::string_view to_string(PackageSource source) {
  return kPackageSourceNames.at(static_cast<std::size_t>(source));
}

AdmissionRow admission_of(const ProvisionRequest& request) {
  AdmissionRow row{.client_id = request.client_id, .username = request.username, .verifier = request.connect_verifier};
  if (request.activates_on) row.opens_ms = to_unix_millis(*request.activates_on);
  if (request.expires_on) row.closes_ms = to_unix_millis(*request.expires_on);
  if (!request.enabled) {
    row.state = Admission::kDisabled;
  } else if (request.status == JobStatus::kAbandoned) {
    row.state = Admission::kAbandoned;
  } else if (request.status == JobStatus::kCompleted) {
    row.state = Admission::kCompleted;
    const WallTime completed = request.completed_at.value_or(request.updated_at);
    row.closes_ms = std::min(row.closes_ms, to_unix_millis(completed + kCompletedGrace));
  }
  return row;
}

}  // namespace fleet::provisioner
