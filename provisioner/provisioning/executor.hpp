// Carries out the rules of provisioning within a transaction: reads, decides (rules.hpp), writes, and returns what must
// be said to devices once the transaction is committed. Persist, commit, then send.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/result.hpp"
#include "core/crypto/certificate.hpp"
#include "provisioner/provisioning/dialect.hpp"
#include "provisioner/provisioning/model.hpp"
#include "provisioner/provisioning/rules.hpp"
#include "provisioner/store/store.hpp"

namespace fleet::provisioner {

// How an attempt ended, for the service's log.
struct Ending {
  std::string request, client_id;
  AttemptState state = AttemptState::kCompleted;
  std::string why;  // empty if it completed
};

// What to do after the commit.
struct Outcome {
  std::vector<Outgoing> send{};     // in this order
  std::vector<std::string> kick{};  // client ids whose live connection must end
  std::vector<std::string> forgiven{};  // client ids whose wrong secrets so far count no more: an operator has stepped in
  std::vector<Ending> endings{};
  // Of a hello; kNotJudged where it was turned away for another reason.
  enum class Secrets : std::uint8_t { kNotJudged, kRight, kWrong } secrets = Secrets::kNotJudged;
  std::vector<std::int64_t> hand_over{};  // attempts whose owner credentials must reach the owner's broker; may repeat
  std::vector<std::int64_t> take_back{};  // GivenLogins that the owner's broker must forget
  int misses = 0;  // replies that fit no step of their sender, as a guess would: to be counted (edc §3)
};

// Issues a device certificate valid from now; thread-safe.
using IssueCertificate = std::function<Result<crypto::NewCertificate>(
    const std::string& client_id, const crypto::PublicKey&, Millis validity, WallTime now)>;

// Where a device finds a file of the operator, for as long as that attempt lasts (the number is within its request).
using PackageUrl = std::function<Result<std::string>(const Package&, std::int64_t request_id, int attempt_number)>;
// The content of an inline package.
using ReadPackage = std::function<Result<Bytes>(const Package&)>;

struct ExecutorSettings {
  Bytes verifier_key;               // 32 bytes; see crypto::secret_verifier
  std::string signing_chain_pem;    // CERT-V1: leaf first, without the root
  std::string device_ca_chain_pem;  // what follows a device certificate in its chain, without the root
  IssueCertificate issue;
  PackageUrl package_url{};    // without these two, packages of their kind are not served
  ReadPackage read_package{};
};

class Executor {
 public:
  Executor(ExecutorSettings settings, const Dialect& dialect);

  // --- the device's side; all called within a transaction of the store, each may be run again after a rollback
  // --------- An accepted, refused or repeated hello of the authenticated `client_id` (edc §4 duplicates, counting;
  // §4.1). What keeps the platform itself from serving it (a profile that does not render, a CA that cannot issue) is
  // answered kNotNow and told the operator; only the store's errors are errors here.
  Result<Outcome> on_hello(Transaction& tx, const std::string& client_id, const Hello& hello, WallTime now) const;
  // A hello that could not be read: 400 to `hello_id` if there is one, with the `nonce` if there is one; a line in the
  // timeline.
  Result<Outcome> on_malformed_hello(Transaction& tx, const std::string& client_id,
                                     const std::optional<std::string>& hello_id, const std::optional<Bytes>& nonce,
                                     const std::string& why, WallTime now) const;
  // Replies that came one after the other, in their order. What they change is written once.
  Result<Outcome> on_replies(Transaction& tx, const std::string& client_id, const std::vector<StepReply>& replies,
                             WallTime now) const;
  // News of a package: moves the attempt, ends the package's step, and sends what waited for it.
  Result<Outcome> on_notice(Transaction& tx, const std::string& client_id, const JobNotice& notice, WallTime now) const;
  // What became of handing an attempt's credentials over to the owner's broker, which happens outside of all transactions
  // and may happen twice: it has them, or why it has not. Nothing if the attempt does not wait for it.
  Result<Outcome> on_handed_over(Transaction& tx, std::int64_t attempt_id, WallTime now) const;
  Result<Outcome> on_not_handed_over(Transaction& tx, std::int64_t attempt_id, const std::string& why,
                                     WallTime now) const;
  // The attempt's credentials cannot be handed over any more, whatever is tried: it has failed.
  Result<Outcome> on_handover_void(Transaction& tx, std::int64_t attempt_id, const std::string& why, WallTime now) const;
  // The provisioner is back from where no device could reach it: the deadlines of open attempts are put off to
  // kReturnGrace from now, where they come earlier. Before the first sweep.
  Result<void> on_return(Transaction& tx, WallTime now) const;
  // Resends what is overdue and fails what has not moved for its timeout; at most `limit` attempts. `more` tells
  // whether to call again at once.
  struct Swept {
    Outcome outcome{};
    bool more = false;
  };
  Result<Swept> sweep(Transaction& tx, WallTime now, std::size_t limit) const;
  // A connection was refused or an action denied by the broker, or hellos are: a line in the timeline of the device that it
  // names, if there is such a request: tells that. `what` is a sentence, `circumstances` follow it in the line ("" or how
  // often and from where). Anybody can bring such lines about who knows a client id: one that differs from an earlier one
  // only by its circumstances or by numbers is left out, until something else has happened.
  Result<bool> note(Transaction& tx, const std::string& client_id, std::string_view kind, const std::string& what,
                    const std::string& circumstances, WallTime now) const;

  // --- the operator's side ------------------------------------------------------------------------------------------
  // Arms the request again: failures 0, status CREATED, activation key usable; an open attempt is superseded without
  // counting. Also for COMPLETED and ABANDONED ones. kNotFound.
  Result<Outcome> retry(Transaction& tx, const std::string& name, const std::string& by, WallTime now) const;
  // Disabling ends an open attempt (STOPPED) and the live connection.
  Result<Outcome> set_enabled(Transaction& tx, const std::string& name, bool enabled, const std::string& by,
                              WallTime now) const;
  // Deletes the request. What owners' brokers were told of its device is given up, to be taken back.
  Result<Outcome> remove(Transaction& tx, const std::string& name, const std::string& by, WallTime now) const;

  // Whether this request's configuration and packages can be rendered from its profile and account: kInvalidArgument
  // names the missing label or parameter. Called when requests and profiles are applied, so that no device meets it.
  Result<void> check_renders(const ProvisionRequest& request, const Profile& profile, const Account& account) const;

 private:
  struct Opening;  // what an attempt needs before anything is written
  struct Heard;    // a device's word on its steps: whose it is, and what comes of it
  // `is` tells the step that the device named; `find` finds it if it is not of the latest attempt of the request of that id.
  using IsNamed = std::function<bool(const Step&)>;
  using FindNamed = std::function<Result<std::optional<Step>>(std::int64_t request_id)>;
  Result<Heard> hear(Transaction& tx, const std::string& client_id, const IsNamed& is, const FindNamed& find) const;
  Result<void> on_reply(Transaction& tx, Heard& heard, const std::string& client_id, const StepReply& reply,
                        Outcome& outcome, WallTime now) const;
  // Writes what has been heard so far, and what follows from it.
  Result<void> write_heard(Transaction& tx, Heard& heard, Outcome& outcome, WallTime now) const;
  Result<void> write_steps(Transaction& tx, Heard& heard, bool attempt_ends, WallTime now) const;
  Result<void> ignore(Transaction& tx, const Heard& heard, const IgnoreReply& verdict, Outcome& outcome,
                      WallTime now) const;
  Result<Outcome> refuse(Transaction& tx, const ProvisionRequest* request, const std::string& client_id,
                         const Hello& hello, const RefuseHello& refusal, WallTime now) const;
  Result<Outcome> repeat(Transaction& tx, Attempt attempt, std::vector<Step> steps, const std::string& client_id,
                         const Hello& hello, WallTime now) const;
  Result<Outcome> record_again(Transaction& tx, Attempt attempt, const std::string& client_id, const Hello& hello,
                               WallTime now) const;
  Result<Outcome> open(Transaction& tx, ProvisionRequest request, std::optional<Attempt> latest,
                       const std::vector<Step>& steps, const OpenAttempt& verdict, const Hello& hello,
                       WallTime now) const;
  CredentialMatch match(const ProvisionRequest& request, const Hello& hello) const;
  Result<std::variant<RefuseHello, Opening>> prepare(Transaction& tx, const ProvisionRequest& request,
                                                     const std::optional<crypto::Csr>& csr) const;
  Result<std::optional<RefuseHello>> certify(const ProvisionRequest& request, Opening& opening, WallTime now) const;
  Result<void> keep_certificate(Transaction& tx, const Attempt& attempt, const Opening& opening, WallTime now) const;
  Result<std::vector<StepContent>> plan_of(const ProvisionRequest& request, const Opening& opening) const;
  Result<std::vector<StepContent>> package_steps(const ProvisionRequest& request, const Opening& opening) const;
  // The steps of a plan with their messages, not yet of any attempt; fails only by the dialect.
  Result<std::vector<Step>> make_steps(const std::string& client_id, const Attempt& attempt,
                                       const std::vector<StepContent>& plan, int first_ordinal, WallTime now) const;
  Result<void> begin_steps(Transaction& tx, const ProvisionRequest& request, const Attempt& attempt,
                           std::vector<Step> steps, Outcome& outcome, WallTime now) const;
  // After a step has moved: sends the held steps that nothing stands in the way of any more, asks for the credentials to be
  // handed over if that is all that does, and writes when the attempt is due and the request's status.
  Result<void> go_on(Transaction& tx, ProvisionRequest& request, Attempt& attempt, std::vector<Step> steps,
                     Outcome& outcome, WallTime now) const;
  Result<void> on_signing_request(Transaction& tx, ProvisionRequest request, Attempt attempt, Step step,
                                  const StepReply& reply, Outcome& outcome, WallTime now) const;
  Result<void> note_not_served(Transaction& tx, const ProvisionRequest& request, const RefuseHello& refusal,
                               WallTime now) const;
  Result<void> answer(Outcome& outcome, const std::string& client_id, const Bytes& nonce, const std::string& hello_id,
                      const AnswerDetails& details, WallTime now) const;
  Result<void> complete(Transaction& tx, ProvisionRequest& request, Attempt& attempt, WallTime now) const;

  ExecutorSettings settings_;
  const Result<std::vector<std::string>> device_ca_chain_;  // settings_.device_ca_chain_pem, one by one
  const Dialect& dialect_;
};

}  // namespace fleet::provisioner
