#include "provisioner/provisioning/rules.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace fleet;
using namespace fleet::provisioner;

namespace {

const WallTime kNow = from_unix_millis(1'800'000'000'000);
constexpr CredentialMatch kRight{true, true};

ProvisionRequest request_with(JobStatus status) {
  ProvisionRequest request;
  request.id = 1;
  request.name = "gw-1";
  request.client_id = "GW1";
  request.status = status;
  return request;
}

Attempt attempt_with(AttemptState state, std::string nonce) {
  Attempt attempt;
  attempt.id = 7;
  attempt.request_id = 1;
  attempt.nonce = std::move(nonce);
  attempt.state = state;
  attempt.started_at = attempt.moved_at = kNow;
  return attempt;
}

Step step_with(StepKind kind, bool answered) {
  Step step;
  step.kind = kind;
  step.rid = "r";
  step.sent_at = kNow;
  if (answered) {
    step.reply_code = 200;
    step.replied_at = kNow;
  }
  return step;
}

std::vector<Step> steps_with(bool signing, bool device, bool trusted, bool configuration) {
  return {step_with(StepKind::kSigningCertificates, signing), step_with(StepKind::kDeviceCertificate, device),
          step_with(StepKind::kTrustedCertificate, trusted), step_with(StepKind::kConfiguration, configuration)};
}

// What a verdict is, in a word: a row of the tables below reads like the rule.
std::string word(const HelloVerdict& verdict) {
  if (const auto* refusal = std::get_if<RefuseHello>(&verdict)) return std::string(to_string(refusal->answer));
  if (std::holds_alternative<RepeatHello>(verdict)) return "repeat";
  if (std::holds_alternative<RecordedHello>(verdict)) return "recorded again";
  const auto& open = std::get<OpenAttempt>(verdict);
  if (!open.supersede) return "open";
  return open.counts ? "supersede and count" : "supersede";
}

std::string word(const ReplyVerdict& verdict) {
  if (const auto* ignored = std::get_if<IgnoreReply>(&verdict)) return ignored->miss ? "miss" : "ignore";
  if (std::holds_alternative<RecordedReply>(verdict)) return "recorded again";
  if (std::holds_alternative<AnswerStep>(verdict)) return "answered";
  if (std::holds_alternative<CompleteAttempt>(verdict)) return "complete";
  return "fail";
}

StepReply reply_of(StepKind kind, int code, std::string error = "") {
  return {"r", kind, code, std::move(error)};
}

}  // namespace

TEST_CASE("A hello is judged by its credentials before anything is told about the request") {
  const std::vector<Step> none;
  CHECK(word(judge_hello(nullptr, nullptr, none, kRight, "n", kNow)) == "wrong-credentials");
  for (const JobStatus status :
       {JobStatus::kCreated, JobStatus::kCompleted, JobStatus::kAbandoned, JobStatus::kRunning}) {
    for (const bool enabled : {true, false}) {
      ProvisionRequest request = request_with(status);
      request.enabled = enabled;
      request.expires_on = kNow - Millis(1);
      CHECK(word(judge_hello(&request, nullptr, none, {false, true}, "n", kNow)) == "wrong-credentials");
      CHECK(word(judge_hello(&request, nullptr, none, {true, false}, "n", kNow)) == "wrong-credentials");
      CHECK(word(judge_hello(&request, nullptr, none, {false, false}, "n", kNow)) == "wrong-credentials");
    }
  }
}

TEST_CASE("A device does not learn which of its secrets is wrong, the timeline does") {
  const ProvisionRequest request = request_with(JobStatus::kCreated);
  const auto password = std::get<RefuseHello>(judge_hello(&request, nullptr, {}, {false, true}, "n", kNow));
  const auto key = std::get<RefuseHello>(judge_hello(&request, nullptr, {}, {true, false}, "n", kNow));
  const auto unknown = std::get<RefuseHello>(judge_hello(nullptr, nullptr, {}, {false, false}, "n", kNow));
  CHECK(password.message == key.message);
  CHECK(password.message == unknown.message);
  CHECK(password.note != key.note);
}

TEST_CASE("A hello with right credentials gets what the request allows") {
  struct Row {
    std::string what;
    JobStatus status;
    bool enabled;
    int activates_in_s, expires_in_s;  // 0: not set
    std::string verdict;
  };
  const std::vector<Row> rows{
      {"new", JobStatus::kCreated, true, 0, 0, "open"},
      {"failed before", JobStatus::kFailed, true, 0, 0, "open"},
      {"stopped, enabled again", JobStatus::kStopped, true, 0, 0, "open"},
      {"inside its window", JobStatus::kCreated, true, -5, 5, "open"},
      {"disabled", JobStatus::kCreated, false, 0, 0, "forbidden"},
      {"disabled and expired", JobStatus::kCreated, false, 0, -1, "forbidden"},
      {"disabled and completed", JobStatus::kCompleted, false, 0, 0, "forbidden"},
      {"not yet active", JobStatus::kCreated, true, 1, 0, "forbidden"},
      {"expired", JobStatus::kCreated, true, 0, -1, "gone"},
      {"abandoned", JobStatus::kAbandoned, true, 0, 0, "gone"},
      {"completed", JobStatus::kCompleted, true, 0, 0, "already-provisioned"},
      {"completed and expired", JobStatus::kCompleted, true, 0, -1, "already-provisioned"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    ProvisionRequest request = request_with(row.status);
    request.enabled = row.enabled;
    if (row.activates_in_s != 0) request.activates_on = kNow + Seconds(row.activates_in_s);
    if (row.expires_in_s != 0) request.expires_on = kNow + Seconds(row.expires_in_s);
    CHECK(word(judge_hello(&request, nullptr, {}, kRight, "n", kNow)) == row.verdict);
  }
}

TEST_CASE("A window opens and closes on its instants") {
  ProvisionRequest request = request_with(JobStatus::kCreated);
  request.activates_on = kNow;
  CHECK(word(judge_hello(&request, nullptr, {}, kRight, "n", kNow)) == "open");
  CHECK(word(judge_hello(&request, nullptr, {}, kRight, "n", kNow - Millis(1))) == "forbidden");
  request.expires_on = kNow + Seconds(1);
  CHECK(word(judge_hello(&request, nullptr, {}, kRight, "n", kNow + Millis(999))) == "open");
  CHECK(word(judge_hello(&request, nullptr, {}, kRight, "n", kNow + Seconds(1))) == "gone");
}

TEST_CASE("The nonce tells whether a hello repeats, follows or begins an attempt") {
  struct Row {
    JobStatus status;
    AttemptState state;
    std::string had, sent, verdict;
  };
  const std::vector<Row> rows{
      {JobStatus::kRunning, AttemptState::kOpen, "a", "a", "repeat"},
      {JobStatus::kRunning, AttemptState::kOpen, "a", "b", "supersede and count"},
      {JobStatus::kRunning, AttemptState::kOpen, "a", "", "supersede and count"},
      {JobStatus::kRunning, AttemptState::kOpen, "", "", "supersede and count"},
      {JobStatus::kRunning, AttemptState::kOpen, "", "a", "supersede and count"},
      {JobStatus::kFailed, AttemptState::kFailed, "a", "a", "open"},
      {JobStatus::kFailed, AttemptState::kFailed, "a", "b", "open"},
      {JobStatus::kCreated, AttemptState::kSuperseded, "a", "a", "open"},
      {JobStatus::kStopped, AttemptState::kStopped, "a", "a", "open"},
      {JobStatus::kCompleted, AttemptState::kCompleted, "a", "a", "recorded again"},
      {JobStatus::kCompleted, AttemptState::kCompleted, "a", "b", "already-provisioned"},
      {JobStatus::kCompleted, AttemptState::kCompleted, "a", "", "already-provisioned"},
      {JobStatus::kCompleted, AttemptState::kCompleted, "", "", "already-provisioned"},
      // armed again by the operator: a fresh hello begins, but the one that was completed stays completed
      {JobStatus::kCreated, AttemptState::kCompleted, "a", "b", "open"},
      {JobStatus::kCreated, AttemptState::kCompleted, "a", "a", "recorded again"},
  };
  for (const Row& row : rows) {
    CAPTURE(to_string(row.state));
    CAPTURE(row.had);
    CAPTURE(row.sent);
    const ProvisionRequest request = request_with(row.status);
    const Attempt latest = attempt_with(row.state, row.had);
    CHECK(word(judge_hello(&request, &latest, steps_with(true, false, false, false), kRight, row.sent, kNow)) ==
          row.verdict);
  }
}

TEST_CASE("A superseded attempt counts only if the device owed a reply") {
  const ProvisionRequest request = request_with(JobStatus::kConfUpdating);
  const Attempt open = attempt_with(AttemptState::kOpen, "a");
  CHECK(word(judge_hello(&request, &open, steps_with(true, true, true, true), kRight, "b", kNow)) == "supersede");
  CHECK(word(judge_hello(&request, &open, steps_with(true, true, true, false), kRight, "b", kNow)) ==
        "supersede and count");
}

TEST_CASE("A device that has failed often begins an attempt at most every ten seconds, and is told when") {
  const std::vector<Step> owing = steps_with(true, false, false, false);
  ProvisionRequest request = request_with(JobStatus::kFailed);
  request.retry_max_attempts = -1;
  for (const AttemptState state : {AttemptState::kFailed, AttemptState::kOpen}) {
    const Attempt latest = attempt_with(state, "old");
    const auto judged = [&](Millis after) {
      return judge_hello(&request, &latest, owing, kRight, "new", kNow + after);
    };
    request.failures = 4;
    CHECK(word(judged(Millis(0))) == (state == AttemptState::kOpen ? "supersede and count" : "open"));
    request.failures = 5;
    const HelloVerdict refused = judged(Millis(9'999));
    REQUIRE(word(refused) == "too-many");
    CHECK(std::get<RefuseHello>(refused).retry_after == Seconds(10));
    CHECK(word(judged(Millis(10'000))) != "too-many");
    CHECK(word(judged(Millis(-1))) != "too-many");  // the clock was set back
    CHECK(word(judge_hello(&request, nullptr, {}, kRight, "new", kNow)) == "open");
  }
  // the open attempt's own hello begins nothing
  const Attempt open = attempt_with(AttemptState::kOpen, "nonce");
  CHECK(word(judge_hello(&request, &open, owing, kRight, "nonce", kNow)) == "repeat");
}

TEST_CASE("A permission that ended ends the repeats of an open attempt too") {
  ProvisionRequest request = request_with(JobStatus::kRunning);
  const Attempt open = attempt_with(AttemptState::kOpen, "a");
  const auto steps = steps_with(true, false, false, false);
  request.expires_on = kNow;
  CHECK(word(judge_hello(&request, &open, steps, kRight, "a", kNow)) == "gone");
}

TEST_CASE("A used activation key still gets its device the final answer, and nothing else") {
  ProvisionRequest request = request_with(JobStatus::kCompleted);
  request.activation_key_verifier = Bytes(32, 'v');
  request.activation_key_used = true;
  const Attempt completed = attempt_with(AttemptState::kCompleted, "a");
  CHECK(word(judge_hello(&request, &completed, {}, kRight, "a", kNow)) == "recorded again");
  CHECK(word(judge_hello(&request, &completed, {}, kRight, "b", kNow)) == "already-provisioned");
  CHECK(word(judge_hello(&request, &completed, {}, {true, false}, "a", kNow)) == "wrong-credentials");
  request.status = JobStatus::kCreated;
  CHECK(word(judge_hello(&request, &completed, {}, kRight, "b", kNow)) == "wrong-credentials");
}

TEST_CASE("A reply counts for the step that it fits, while its attempt is open") {
  struct Row {
    AttemptState state;
    StepKind kind;
    bool answered;
    StepKind claims;
    int code;
    std::string verdict;
  };
  constexpr auto kKeys = StepKind::kDeviceCertificate;
  constexpr auto kConf = StepKind::kConfiguration;
  constexpr auto kOpen = AttemptState::kOpen;
  const std::vector<Row> rows{
      {kOpen, kKeys, false, kKeys, 200, "answered"},
      {kOpen, kConf, false, kConf, 200, "complete"},
      {kOpen, kKeys, false, kKeys, 400, "fail"},
      {kOpen, kConf, false, kConf, 500, "fail"},
      {kOpen, kKeys, false, kKeys, 202, "fail"},
      {kOpen, kKeys, false, kKeys, 0, "fail"},
      {kOpen, kKeys, false, kConf, 200, "miss"},
      {kOpen, kConf, false, kKeys, 200, "miss"},
      {kOpen, kKeys, true, kKeys, 200, "ignore"},
      {kOpen, kKeys, true, kKeys, 400, "ignore"},
      {AttemptState::kCompleted, kConf, true, kConf, 200, "recorded again"},
      {AttemptState::kCompleted, kConf, true, kConf, 400, "ignore"},
      {AttemptState::kCompleted, kKeys, true, kKeys, 200, "ignore"},
      {AttemptState::kCompleted, kKeys, false, kKeys, 200, "ignore"},
      {AttemptState::kCompleted, kKeys, false, kKeys, 400, "ignore"},
      {AttemptState::kFailed, kConf, false, kConf, 200, "ignore"},
      {AttemptState::kFailed, kConf, false, kConf, 400, "ignore"},
      {AttemptState::kSuperseded, kConf, false, kConf, 200, "ignore"},
      {AttemptState::kStopped, kConf, false, kConf, 200, "ignore"},
  };
  for (const Row& row : rows) {
    CAPTURE(to_string(row.state));
    CAPTURE(to_string(row.kind));
    CAPTURE(to_string(row.claims));
    CAPTURE(row.code);
    const Attempt attempt = attempt_with(row.state, "a");
    const Step step = step_with(row.kind, row.answered);
    CHECK(word(judge_reply(&attempt, &step, reply_of(row.claims, row.code))) == row.verdict);
  }
  CHECK(word(judge_reply(nullptr, nullptr, reply_of(kConf, 200))) == "miss");
}

TEST_CASE("A failure holds the device's words, made fit for a terminal") {
  const Attempt attempt = attempt_with(AttemptState::kOpen, "a");
  const Step step = step_with(StepKind::kSigningCertificates, false);
  const auto failed = std::get<FailAttempt>(
      judge_reply(&attempt, &step, reply_of(step.kind, 400, "no\x1b[2Jtrust\n" + std::string(900, 'x'))));
  CHECK(failed.cause.starts_with("the device refused the signing-certificates (400): no [2Jtrust x"));
  CHECK(failed.cause.size() < 400);
}

TEST_CASE("No note of a refused reply holds a request id") {
  Attempt attempt = attempt_with(AttemptState::kOpen, "a");
  Step step = step_with(StepKind::kConfiguration, false);
  step.rid = "00112233445566778899aabbccddeeff";
  const StepReply reply{step.rid, StepKind::kDeviceCertificate, 200, ""};
  for (const Step* const asked : std::initializer_list<const Step*>{&step, nullptr}) {
    const auto ignored = std::get<IgnoreReply>(judge_reply(&attempt, asked, reply));
    CHECK(!ignored.note.empty());
    CHECK(ignored.note.find(step.rid) == std::string::npos);
  }
}

TEST_CASE(
    "What is unanswered is sent again after ten seconds, and an attempt ends when nothing moved for its timeout") {
  Attempt open = attempt_with(AttemptState::kOpen, "a");
  open.timeout = Seconds(300);
  std::vector<Step> steps = steps_with(true, false, false, false);
  steps[2].sent_at = kNow + Seconds(3);
  CHECK(next_due(open, steps) == kNow + Seconds(10));
  CHECK(std::get<ResendSteps>(judge_due(open, steps, kNow + Millis(9'999))).places.empty());
  CHECK(std::get<ResendSteps>(judge_due(open, steps, kNow + Seconds(10))).places == std::vector<std::size_t>{1, 3});
  CHECK(std::get<ResendSteps>(judge_due(open, steps, kNow + Seconds(13))).places == std::vector<std::size_t>{1, 2, 3});
  for (Step& step : steps) step.sent_at = kNow + Seconds(295);
  CHECK(next_due(open, steps) == kNow + Seconds(300));
  CHECK(std::holds_alternative<ResendSteps>(judge_due(open, steps, kNow + Millis(299'999))));
  const DueVerdict late = judge_due(open, steps, kNow + Seconds(300));
  REQUIRE(std::holds_alternative<ExpireAttempt>(late));
  CHECK(std::get<ExpireAttempt>(late).cause ==
        "nothing moved for 5m: the device owes its reply to device-certificate, trusted-certificate, configuration");
}

TEST_CASE("A package that the device has said nothing about is asked for again after ten seconds, later after a minute") {
  const Attempt open = attempt_with(AttemptState::kOpen, "a");
  for (const StepKind kind : {StepKind::kPackage, StepKind::kInlinePackage}) {
    Step step = step_with(kind, false);
    step.job_id = 7;
    step.sent_at = kNow;
    CHECK(next_due(open, {step}) == kNow + kResendAfter);
    step.notified_at = kNow + Seconds(5);
    CHECK(next_due(open, {step}) == kNow + Seconds(5) + kPackageResendAfter);
  }
}

TEST_CASE("Failures end in ABANDONED at the maximum, the request's own before the profile's") {
  struct Row {
    int failures;
    std::optional<int> own;
    int of_profile;
    JobStatus status;
  };
  const std::vector<Row> rows{
      {0, std::nullopt, 5, JobStatus::kFailed},
      {3, std::nullopt, 5, JobStatus::kFailed},
      {4, std::nullopt, 5, JobStatus::kAbandoned},
      {0, 1, 5, JobStatus::kAbandoned},
      {4, 10, 5, JobStatus::kFailed},
      {9, 10, 5, JobStatus::kAbandoned},
      {1000, std::nullopt, -1, JobStatus::kFailed},
      {1000, -1, 5, JobStatus::kFailed},
      {4, 5, -1, JobStatus::kAbandoned},
      {7, std::nullopt, 5, JobStatus::kAbandoned},
  };
  for (const Row& row : rows) {
    CAPTURE(row.failures);
    CAPTURE(row.of_profile);
    ProvisionRequest request = request_with(JobStatus::kRunning);
    request.failures = row.failures;
    request.retry_max_attempts = row.own;
    const AfterFailure after = after_failure(request, row.of_profile, "the cause");
    CHECK(after.failures == row.failures + 1);
    CHECK(to_string(after.status) == to_string(row.status));
    CHECK(after.last_error.starts_with("the cause. "));
    const bool says_how = after.last_error.find("\"provisioner retry request gw-1\"") != std::string::npos;
    CHECK(says_how == (row.status == JobStatus::kAbandoned));
  }
}

TEST_CASE("The job status follows the steps") {
  CHECK(status_of(steps_with(false, false, false, false)) == JobStatus::kStarted);
  CHECK(status_of(steps_with(true, false, false, false)) == JobStatus::kRunning);
  CHECK(status_of(steps_with(false, false, true, false)) == JobStatus::kRunning);
  CHECK(status_of(steps_with(true, true, true, false)) == JobStatus::kConfUpdating);
}

TEST_CASE("Texts from outside are cut between characters") {
  CHECK(presentable("plain", 5) == "plain");
  CHECK(presentable("ab\xc3\xa4", 3) == "ab…");
  CHECK(presentable("a\tb\x7f", 10) == "a b ");
}
