// What the device's and the operator's side of the executor both write: lines of the timeline, and the ends of
// attempts. Internal to provisioner/provisioning.
#pragma once

#include <string>
#include <string_view>

#include "core/base/result.hpp"
#include "core/base/time.hpp"
#include "provisioner/provisioning/model.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// Kinds of timeline lines.
inline constexpr std::string_view kHelloLine = "hello";
inline constexpr std::string_view kCertificateLine = "certificate";
inline constexpr std::string_view kSentLine = "sent";
inline constexpr std::string_view kHeldLine = "held";
inline constexpr std::string_view kReplyLine = "reply";
inline constexpr std::string_view kHandoverLine = "handover";
inline constexpr std::string_view kPackageLine = "package";
inline constexpr std::string_view kRefusedLine = "refused";
inline constexpr std::string_view kDeniedLine = "denied";
inline constexpr std::string_view kLockedLine = "locked";
inline constexpr std::string_view kCompletedLine = "completed";
inline constexpr std::string_view kFailedLine = "failed";
inline constexpr std::string_view kSupersededLine = "superseded";
inline constexpr std::string_view kOperatorLine = "operator";

Result<void> add_line(Transaction& tx, std::int64_t request_id, std::optional<std::int64_t> attempt_id,
                      std::string_view kind, std::string text, WallTime now);

// As add_line, but a line that says what the last one says is left out: what a device can repeat at will does not fill
// the disk.
Result<void> add_line_once(Transaction& tx, std::int64_t request_id, std::optional<std::int64_t> attempt_id,
                           std::string_view kind, std::string text, WallTime now);

// As add_line, for what the request's device or strangers can bring about at will: `what` and its `circumstances` are the
// text. Left out if, since the last line of another sort (kRefusedLine, kDeniedLine and kLockedLine are one), there is one
// that says `what`, whatever the circumstances and, of lockouts, whatever numbers it names.
Result<void> add_incident(Transaction& tx, std::int64_t request_id, std::string_view kind, const std::string& what,
                          const std::string& circumstances, WallTime now);

// Writes the attempt as ended; its messages are forgotten.
Result<void> end_attempt(Transaction& tx, Attempt& attempt, AttemptState state, std::string error, WallTime now);

// Of the request's profile; the default if it is gone, so that no missing profile keeps an attempt from ending.
Result<int> max_attempts_of(Transaction& tx, const ProvisionRequest& request);

// The attempt FAILED for `cause`, and what that makes of its request; both written, with a line.
Result<void> fail_attempt(Transaction& tx, ProvisionRequest& request, Attempt& attempt, const std::string& cause,
                          WallTime now);

}  // namespace fleet::provisioner
