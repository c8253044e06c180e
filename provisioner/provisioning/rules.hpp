// The rules of provisioning (edc §4) as pure decisions: what is, and what happened, go in; what to do comes out. No
// store, no clock, no wire. The executor looks up the first and carries out the second.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/time.hpp"
#include "provisioner/provisioning/dialect.hpp"
#include "provisioner/provisioning/model.hpp"

namespace fleet::provisioner {

// --- a hello
// ------------------------------------------------------------------------------------------------------------

// Which of the device's secrets are right.
struct CredentialMatch {
  bool login = false;           // username and password
  bool activation_key = false;  // the right one was sent, used or not; true if the request has none
};

struct RefuseHello {
  Answer answer = Answer::kWrongCredentials;
  std::string message;  // for the device: tells nobody which secret was wrong
  std::string note;     // for the timeline
  std::optional<Seconds> retry_after = {};
};
// It belongs to the open attempt: answer it again, send again what is unanswered.
struct RepeatHello {};
// It belongs to the attempt that was completed: say so again.
struct RecordedHello {};
// It begins an attempt, after ending the open one if there is one.
struct OpenAttempt {
  bool supersede = false;
  bool counts = false;  // the device owed a reply: the superseded attempt is a failure
};
using HelloVerdict = std::variant<RefuseHello, RepeatHello, RecordedHello, OpenAttempt>;

// `request`: of the client id that sent the hello, or nullptr. `latest`: its newest attempt, or nullptr, with its
// `steps`. `nonce`: of the hello, empty if it has none. Credentials are judged before anything is told about the
// request. A device that has failed often begins an attempt at most every 10 s (kTooMany): with retryMaxAttempts -1
// nothing else would stop it.
HelloVerdict judge_hello(const ProvisionRequest* request, const Attempt* latest, const std::vector<Step>& steps,
                         const CredentialMatch& match, std::string_view nonce, WallTime now);

// --- a reply
// ------------------------------------------------------------------------------------------------------------

// It changes nothing. `miss`: it fits no step of this device, as a guess would; `note`: for the timeline, if not empty.
struct IgnoreReply {
  bool miss = false;
  std::string note;
};
// The configuration of a completed attempt is confirmed once more: the device has not seen its final answer.
struct RecordedReply {};
// One step is done, others are not.
struct AnswerStep {};
struct CompleteAttempt {};
struct FailAttempt {
  std::string cause;  // with the device's words
};
using ReplyVerdict = std::variant<IgnoreReply, RecordedReply, AnswerStep, CompleteAttempt, FailAttempt>;

// `step`: the one with the reply's rid among all that the device was ever asked, or nullptr; `attempt`: the step's, or nullptr.
ReplyVerdict judge_reply(const Attempt* attempt, const Step* step, const StepReply& reply);

// --- news of a package
// --------------------------------------------------------------------------------------------------

// The device works on it, or has installed it.
struct AdvanceStep {};
// An optional package, which the device had accepted, failed: the attempt goes on.
struct NoteFailure {
  std::string note;  // with the device's words, for the timeline
};
using NoticeVerdict = std::variant<IgnoreReply, AdvanceStep, FailAttempt, NoteFailure>;

// `step`: the one with the notice's job id, or nullptr; `attempt` as for a reply. What comes for a step whose last word was
// said, or for an attempt that has ended, changes nothing.
NoticeVerdict judge_notice(const Attempt* attempt, const Step* step, const JobNotice& notice);

// How far a step is after the notice, see Step::progress: never less than before.
int progress_after(const Step& step, const JobNotice& notice);

// A phrase for the timeline if `after` passes the beginning, the middle or the end of a phase that `before` had not
// reached: a device that notifies at will does not fill the disk.
std::optional<std::string> milestone(int before, int after);

// --- what waits for what
// ------------------------------------------------------------------------------------------------

// Nothing more is to come of the step: it has its reply and, if it is a download, its last notification, or failed.
bool is_finished(const Step& step);

// What must happen before the held steps may be sent, in phrases; empty: nothing. Required packages are to be finished,
// and the owner's broker has to know the credentials that the configuration tells the device.
std::vector<std::string> obstacles(const Attempt& attempt, const std::vector<Step>& steps);

// The owner's broker is to be told the device's credentials now: they are all that the configuration still waits for, and the
// device owes nothing else that it could fail by. So an attempt that fails on its way has changed nothing at the owner's
// broker, where the device may have a login that works. Once true it stays so until it is done or the attempt has ended.
bool is_time_to_hand_over(const Attempt& attempt, const std::vector<Step>& steps);

// Marks the configuration as held if anything stands in its way.
void hold_back(const Attempt& attempt, std::vector<Step>& steps);

// --- time
// ---------------------------------------------------------------------------------------------------------------

struct ExpireAttempt {
  std::string cause;
};
// The steps to send again, by their place in the vector that was judged; may be none.
struct ResendSteps {
  std::vector<std::size_t> places;
};
using DueVerdict = std::variant<ExpireAttempt, ResendSteps>;
DueVerdict judge_due(const Attempt& open, const std::vector<Step>& steps, WallTime now);

// Whether a repeated hello brings a step once more: whatever is unanswered is sent again at once (edc §4, duplicates). The
// flood limit: a step that has been sent more than kFloodSends times comes with hellos at most every kFloodPause, so that
// a device that says hello without end is not answered with its whole configuration each time. No device in order gets
// there: it would have to lose its connection so often within one attempt.
inline constexpr int kFloodSends = 20;
inline constexpr Millis kFloodPause{2000};
bool worth_repeating(const Step& step, WallTime now);

// What is left to each open attempt, or all of its timeout if that is less, when the provisioner returns to its devices:
// from a restart, or from a time without its broker. Nobody could hear a reply meanwhile, so that time is not held
// against a device, however long it was; and a device waits for a while before it connects again. It is enough for that
// and for a few repetitions; it is not the whole timeout, so that a provisioner that comes and goes does not keep alive
// for hours what has long failed.
inline constexpr Millis kReturnGrace{120'000};

// When judge_due has something to do next: a resend or the deadline.
WallTime next_due(const Attempt& open, const std::vector<Step>& steps);

// --- what follows
// -------------------------------------------------------------------------------------------------------

struct AfterFailure {
  int failures = 0;                       // with this one
  JobStatus status = JobStatus::kFailed;  // or kAbandoned, at the maximum
  std::string last_error;                 // the cause, and what a person can do
};
// `max_attempts` of the profile; the request's own goes before it. -1: no limit.
AfterFailure after_failure(const ProvisionRequest& request, int max_attempts, std::string_view cause);

// Of an open attempt, by its steps: STARTED, RUNNING from the first 200, APPS_INSTALLING while packages stand in the way
// of the configuration, APPS_INSTALLED when none does any more but something else is owed, CONF_UPDATING when only the
// configuration is. Optional packages do not show.
JobStatus status_of(const std::vector<Step>& steps);

// "configuration, device-certificate": the kinds that the device has been sent and not finished, each once; empty if
// none.
std::string owed(const std::vector<Step>& steps);

// Why the credentials of an attempt, made for the account that its profile had, are no good any more now that the
// profile's account is this one; nullopt: they are.
std::optional<std::string> not_of(const Attempt& attempt, const Account& account);

// A text from outside for a person's eyes: control characters become spaces, at most `limit` bytes, cut between
// characters.
std::string presentable(std::string_view text, std::size_t limit = 300);

}  // namespace fleet::provisioner
