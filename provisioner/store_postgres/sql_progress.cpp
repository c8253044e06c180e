// Selections of requests, and how far they have come, in numbers that PostgreSQL works out.
#include <algorithm>

#include "provisioner/store/columns.hpp"
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {
namespace {

// As lower() does it in the "C" collation.
std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

Result<void> add_count(RowReader& row, RequestProgress& progress) {
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

Result<std::string> where_of(const RequestFilter& filter, Parameters& parameters) {
  std::string where = "TRUE";
  if (filter.names) {
    for (const std::string& name : *filter.names) {
      if (!is_storable(name)) return fail(ErrorCode::kInvalidArgument, "a name is not UTF-8, or holds a NUL");
    }
    where += " AND request.name = ANY(" + parameters.texts(*filter.names).last() + "::text[])";
  }
  if (!filter.statuses.empty()) {
    std::vector<std::string> names;
    for (const JobStatus status : filter.statuses) names.emplace_back(to_string(status));
    where += " AND request.status = ANY(" + parameters.texts(names).last() + "::text[])";
  }
  if (!filter.profile.empty()) where += " AND request.profile = " + parameters.text(filter.profile).last();
  if (!filter.text.empty()) {
    const std::string text = parameters.text(lower(filter.text)).last() + "::text";
    where += " AND (position(" + text + " in lower(request.name)) > 0 OR position(" + text + " in lower(request.client_id)) > 0 OR position(" +
             text + " in lower(request.username)) > 0 OR EXISTS (SELECT 1 FROM jsonb_each_text(request.facts) AS fact WHERE position(" + text +
             " in lower(fact.value COLLATE \"C\")) > 0))";
  }
  if (!filter.labels.empty()) {
    TRY_ASSIGN(const std::string labels, to_json(filter.labels));
    where += " AND request.labels @> " + parameters.text(labels).last() + "::jsonb";
  }
  return where;
}

Result<RequestProgress> PgTransaction::progress_of(const RequestFilter& filter, WallTime now, std::size_t reasons) {
  RequestProgress progress;
  Parameters counted;
  const std::string at = counted.time(now).last() + "::bigint";
  TRY_ASSIGN(const std::string where, where_of(filter, counted));
  TRY_ASSIGN(const Rows counts, connection_.query_once("SELECT status, count(*), count(*) FILTER (WHERE NOT enabled), "
                                                       "count(*) FILTER (WHERE enabled AND expires_on <= " + at + "), "
                                                       "count(*) FILTER (WHERE enabled AND activates_on > " + at + ") FROM request WHERE " +
                                                           where + " GROUP BY status",
                                                       counted));
  for (std::size_t i = 0; i < counts.size(); ++i) {
    RowReader row(counts, i);
    TRY(add_count(row, progress));
  }
  if (reasons == 0) return progress;

  // The cause alone, as the attempt has it: what the request says besides names the request and counts its failures, so
  // that no two were alike. Without a failed attempt it is a refusal that says the same to all.
  Parameters caused;
  TRY_ASSIGN(const std::string among, where_of(filter, caused));
  TRY_ASSIGN(const Rows causes,
             connection_.query_once(
                 "SELECT coalesce((SELECT nullif(error, '') FROM attempt WHERE request_id = request.id ORDER BY number DESC LIMIT 1), "
                 "request.last_error) COLLATE \"C\" AS cause, count(*) AS requests, min(request.name) FROM request WHERE "
                 "request.last_error <> '' AND request.status IN ('CREATED', 'FAILED', 'ABANDONED') AND " + among +
                     " GROUP BY 1 ORDER BY requests DESC, cause LIMIT " +
                     caused.integer(static_cast<std::int64_t>(reasons)).last(),
                 caused));
  TRY_ASSIGN(progress.reasons, read_all<FailureReason>(causes, read_failure_reason));
  return progress;
}

}  // namespace fleet::provisioner::postgres
