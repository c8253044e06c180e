#include "provisioner/provisioning/model.hpp"

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

namespace {
const WallTime kNow = from_unix_millis(1'800'000'000'000);

ProvisionRequest request_with(JobStatus status) {
  ProvisionRequest request;
  request.client_id = "GW1";
  request.username = "gw";
  request.connect_verifier = Bytes(32, 'v');
  request.status = status;
  return request;
}
}  // namespace

TEST_CASE("Every job status reads back from its name") {
  for (int i = 0; i <= static_cast<int>(JobStatus::kStopped); ++i) {
    const auto status = static_cast<JobStatus>(i);
    const auto parsed = parse_job_status(to_string(status));
    REQUIRE(parsed.has_value());
    CHECK(*parsed == status);
  }
  CHECK(to_string(JobStatus::kConfUpdating) == "CONF_UPDATING");
  CHECK(to_string(AttemptState::kSuperseded) == "SUPERSEDED");
  CHECK(to_string(StepKind::kTrustedCertificate) == "trusted-certificate");
  CHECK(!parse_job_status("created").has_value());
}

TEST_CASE("Job statuses have the names of the protocol, in its order") {
  const std::vector<std::string_view> names{"CREATED",        "STARTED",       "RUNNING",      "APPS_INSTALLING",
                                            "APPS_INSTALLED", "CONF_UPDATING", "CONF_UPDATED", "COMPLETED",
                                            "FAILED",         "ABANDONED",     "SKIPPED",      "STOPPING",
                                            "STOPPED"};
  for (std::size_t i = 0; i < names.size(); ++i) CHECK(to_string(static_cast<JobStatus>(i)) == names[i]);
}

TEST_CASE("A request stands open unless it is disabled, abandoned or completed") {
  for (const JobStatus status : {JobStatus::kCreated, JobStatus::kRunning, JobStatus::kFailed, JobStatus::kStopped}) {
    const AdmissionRow row = admission_of(request_with(status));
    CHECK(row == AdmissionRow{"GW1", "gw", Bytes(32, 'v'), Admission::kOpen, 0, kNeverCloses});
  }
  CHECK(admission_of(request_with(JobStatus::kAbandoned)).state == Admission::kAbandoned);
  ProvisionRequest disabled = request_with(JobStatus::kCompleted);
  disabled.enabled = false;
  CHECK(admission_of(disabled).state == Admission::kDisabled);
}

TEST_CASE("The window of a request is its admission's") {
  ProvisionRequest request = request_with(JobStatus::kCreated);
  request.activates_on = kNow;
  request.expires_on = kNow + Seconds(60);
  const AdmissionRow row = admission_of(request);
  CHECK(row.opens_ms == 1'800'000'000'000);
  CHECK(row.closes_ms == 1'800'000'060'000);
}

TEST_CASE("A completed request closes after its grace period, or when it expires if that is sooner") {
  ProvisionRequest request = request_with(JobStatus::kCompleted);
  request.completed_at = kNow;
  CHECK(admission_of(request).state == Admission::kCompleted);
  CHECK(admission_of(request).closes_ms == to_unix_millis(kNow + Seconds(600)));
  request.expires_on = kNow + Seconds(5);
  CHECK(admission_of(request).closes_ms == to_unix_millis(kNow + Seconds(5)));
}
