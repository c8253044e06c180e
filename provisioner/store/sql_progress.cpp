// How far requests have come, in numbers that SQLite works out: no request leaves it.
#include "provisioner/store/sql_filter.hpp"
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
namespace {

Result<void> add_count(const sqlite::Statement& query, RequestProgress& progress) {
  RowReader row(query);
  TRY_ASSIGN(const JobStatus status, enum_from(row.text(), JobStatus::kCreated, JobStatus::kStopped));
  const std::int64_t count = row.integer(), disabled = row.integer(), expired = row.integer(), not_yet = row.integer();
  progress.total += count;
  progress.by_status[status] = count;
  if (status == JobStatus::kCompleted) return {};
  progress.stuck += status == JobStatus::kAbandoned ? count : disabled + expired;
  progress.disabled += disabled;
  progress.expired += expired;
  progress.not_yet += not_yet;
  return {};
}

}  // namespace

Result<RequestProgress> SqlTransaction::progress_of(const RequestFilter& filter, WallTime now, std::size_t reasons) {
  RequestProgress progress;
  // Without labels and text, the index request_by_status holds all that this looks at, in the order of the groups.
  TRY_ASSIGN(sqlite::Statement counts,
             database_.prepare("SELECT status, count(*), sum(enabled = 0), sum(enabled = 1 AND expires_on <= ?), "
                               "sum(enabled = 1 AND activates_on > ?) FROM request WHERE " +
                               where_of(filter) + " GROUP BY status"));
  Binder count_binder(counts);
  count_binder.time(now).time(now);
  TRY(bind_filter(count_binder, filter));
  while (true) {
    TRY_ASSIGN(const bool row, counts.next());
    if (!row) break;
    TRY(add_count(counts, progress));
  }
  if (reasons == 0) return progress;

  // The cause alone, as the attempt has it: what the request says besides names the request and counts its failures, so
  // that no two were alike. Without a failed attempt it is a refusal that says the same to all.
  TRY_ASSIGN(sqlite::Statement causes,
             database_.prepare(
                 "SELECT coalesce((SELECT nullif(error, '') FROM attempt WHERE request_id = request.id "
                 "ORDER BY number DESC LIMIT 1), request.last_error) AS cause, count(*) AS requests, min(request.name) "
                 "FROM request WHERE request.last_error <> '' AND request.status IN ('CREATED', 'FAILED', 'ABANDONED') AND " +
                 where_of(filter) + " GROUP BY cause ORDER BY requests DESC, cause LIMIT ?"));
  Binder cause_binder(causes);
  TRY(bind_filter(cause_binder, filter));
  cause_binder.integer(static_cast<std::int64_t>(reasons));
  TRY_ASSIGN(progress.reasons, read_all<FailureReason>(causes, read_failure_reason));
  return progress;
}

}  // namespace fleet::provisioner
