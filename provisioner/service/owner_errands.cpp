#include "provisioner/service/owner_errands.hpp"

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "provisioner/provisioning/rules.hpp"

namespace fleet::provisioner {
namespace {

Result<LookedUp> look_up_handover(Transaction& tx, const Executor& executor, std::int64_t attempt_id, WallTime now) {
  TRY_ASSIGN(std::optional<Attempt> attempt, tx.find_attempt(attempt_id));
  if (!attempt) return LookedUp{};
  TRY_ASSIGN(const std::vector<Step> steps, tx.steps_without_messages(attempt_id));
  if (!is_time_to_hand_over(*attempt, steps)) return LookedUp{};
  // written as it is: only the cell whose attempt it is can do that
  if (const auto ours = tx.update_attempt(*attempt); !ours) {
    return ours.error().code == ErrorCode::kConflict ? Result<LookedUp>(LookedUp{}) : fail(ours.error());
  }
  TRY_ASSIGN(const std::optional<ProvisionRequest> request, tx.find_request(attempt->request_id));
  if (!request) return LookedUp{};
  TRY_ASSIGN(const std::optional<Profile> profile, tx.find_profile(request->profile));
  if (!profile) return LookedUp{};
  TRY_ASSIGN(std::optional<Account> account, tx.find_account(profile->account));
  if (!account) return LookedUp{};
  if (const auto why = not_of(*attempt, *account)) {
    TRY_ASSIGN(Outcome outcome, executor.on_handover_void(tx, attempt_id, *why, now));
    return LookedUp{.outcome = std::move(outcome)};
  }
  TRY(tx.keep_login(account->name, request->client_id, attempt->owner_username));
  return LookedUp{.errand = OwnerErrand{OwnerTask::Kind::kHandOver,
                                        std::move(account->connector),
                                        {account->name, request->client_id, attempt->owner_username,
                                         std::move(attempt->owner_password), account->is_strict()},
                                        attempt->fence}};
}

AuditEntry take_back_line(const GivenLogin& login, std::string_view what, WallTime now) {
  AuditEntry entry{.at = now, .kind = "take-back", .who = "provisioner", .client_id = login.client_id};
  entry.text = presentable(fmt::format("login {} at the broker of account {}: {}", login.username, login.account, what));
  return entry;
}

Result<LookedUp> look_up_taking_back(Transaction& tx, std::int64_t login_id, WallTime now) {
  TRY_ASSIGN(const std::optional<GivenLogin> login, tx.find_login(login_id));
  if (!login || !login->given_up) return LookedUp{};
  TRY_ASSIGN(std::optional<Account> account, tx.find_account(login->account));
  if (!account || account->credentials != OwnerCredentials::kPassword) {
    TRY(tx.add_audit(take_back_line(*login, "cannot be taken back: the account has no connector any more", now)));
    TRY(tx.forget_login(login_id));
    return LookedUp{};
  }
  return LookedUp{.errand = OwnerErrand{OwnerTask::Kind::kTakeBack,
                                        std::move(account->connector),
                                        {account->name, login->client_id, login->username, Secret(), account->is_strict()}}};
}

Result<void> record_taking_back(Transaction& tx, std::int64_t login_id, const Result<void>& result, bool first_try,
                                WallTime now) {
  TRY_ASSIGN(const std::optional<GivenLogin> login, tx.find_login(login_id));
  if (!login || !login->given_up) return {};
  if (!result) {
    if (!first_try) return {};
    return tx.add_audit(take_back_line(*login, "not taken back yet, which is tried again: " + result.error().message, now));
  }
  TRY(tx.add_audit(take_back_line(*login, "taken back", now)));
  return tx.forget_login(login_id);
}

}  // namespace

std::string_view to_string(OwnerTask::Kind kind) {
  return kind == OwnerTask::Kind::kHandOver ? "hand-over" : "take-back";
}

Result<std::vector<OwnerTask>> owner_tasks(Transaction& tx) {
  std::vector<OwnerTask> tasks;
  TRY_ASSIGN(const std::vector<std::int64_t> given_up, tx.logins_given_up());
  for (const std::int64_t id : given_up) tasks.push_back({OwnerTask::Kind::kTakeBack, id});
  TRY_ASSIGN(const std::vector<Attempt> pending, tx.attempts_to_hand_over());
  for (const Attempt& attempt : pending) tasks.push_back({OwnerTask::Kind::kHandOver, attempt.id});
  return tasks;
}

Result<LookedUp> look_up(Transaction& tx, const Executor& executor, const OwnerTask& task, WallTime now) {
  return task.kind == OwnerTask::Kind::kHandOver ? look_up_handover(tx, executor, task.id, now)
                                                 : look_up_taking_back(tx, task.id, now);
}

Result<Outcome> record(Transaction& tx, const Executor& executor, const OwnerTask& task, const Result<void>& result,
                       std::int64_t fence, bool first_try, WallTime now) {
  if (task.kind == OwnerTask::Kind::kHandOver) {
    TRY_ASSIGN(const std::optional<Attempt> attempt, tx.find_attempt(task.id));
    if (attempt && fence != 0 && attempt->fence != fence) {
      return fail(ErrorCode::kConflict, "attempt {}: another cell has taken it over", task.id);
    }
    return result ? executor.on_handed_over(tx, task.id, now)
                  : executor.on_not_handed_over(tx, task.id, result.error().message, now);
  }
  TRY(record_taking_back(tx, task.id, result, first_try, now));
  return Outcome{};
}

Result<void> do_by_connector(const OwnerErrand& errand, const std::atomic<bool>& stopping) {
  return errand.kind == OwnerTask::Kind::kHandOver ? hand_over(errand.connector, errand.login, stopping)
                                                   : take_back(errand.connector, errand.login, stopping);
}

}  // namespace fleet::provisioner
