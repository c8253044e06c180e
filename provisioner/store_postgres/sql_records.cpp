// What stays as a record: issued certificates, the timeline, logins that owners' brokers were told, the audit.
#include "provisioner/store_postgres/transaction.hpp"

namespace fleet::provisioner::postgres {
// The key is its client id's from its first certificate on, whichever cell issued it: another one's is refused.
Result<void> PgTransaction::insert_certificate(const IssuedCertificate& certificate) {
  Parameters values;
  to_values::certificate(values, certificate);
  connection_.send("WITH owner AS (INSERT INTO device_key (spki_sha256, client_id) VALUES ($2, $3) ON CONFLICT (spki_sha256) "
                   "DO UPDATE SET client_id = excluded.client_id WHERE device_key.client_id = excluded.client_id RETURNING 1) "
                   "INSERT INTO certificate (" CERTIFICATE_COLUMNS ") SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM owner",
                   values,
                   Error{ErrorCode::kAlreadyExists, "device_key.spki_sha256: already taken by another client id"});
  return {};
}

Result<std::optional<IssuedCertificate>> PgTransaction::certificate_of_key(std::string_view spki_sha256) {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " CERTIFICATE_COLUMNS " FROM certificate WHERE spki_sha256 = $1 ORDER BY id DESC LIMIT 1",
                                                Parameters().blob(spki_sha256)));
  return read_one<IssuedCertificate>(rows, read_certificate);
}

Result<std::vector<IssuedCertificate>> PgTransaction::certificates_of(std::string_view client_id) {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " CERTIFICATE_COLUMNS " FROM certificate WHERE client_id = $1 ORDER BY issued_at, id",
                                                Parameters().text(client_id)));
  return read_all<IssuedCertificate>(rows, read_certificate);
}

Result<std::optional<CertificateRecord>> PgTransaction::find_certificate(std::string_view serial) {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " CERTIFICATE_COLUMNS ", (SELECT name FROM request WHERE id = request_id) "
                                                "FROM certificate WHERE serial = $1",
                                                Parameters().text(serial)));
  return read_one<CertificateRecord>(rows, read_certificate_record);
}

Result<std::vector<CertificateRecord>> PgTransaction::list_certificates(const CertificateFilter& filter) {
  Parameters values;
  std::string where = "TRUE";
  if (!filter.client_id.empty()) where += " AND client_id = " + values.text(filter.client_id).last();
  if (filter.expires_before) where += " AND not_after < " + values.time(*filter.expires_before).last();
  if (filter.after) {
    where += " AND (not_after, serial) > (" + values.time(filter.after->first).last();
    where += ", " + values.text(filter.after->second).last() + ")";
  }
  TRY_ASSIGN(const Rows rows,
             connection_.query_once("SELECT " CERTIFICATE_COLUMNS ", (SELECT name FROM request WHERE id = request_id) FROM certificate WHERE " +
                                        where + " ORDER BY not_after, serial LIMIT " +
                                        values.integer(static_cast<std::int64_t>(filter.limit)).last(),
                                    values));
  return read_all<CertificateRecord>(rows, read_certificate_record);
}

Result<void> PgTransaction::add_timeline(const TimelineEntry& entry) {
  Parameters values;
  to_values::timeline_entry(values, entry);
  connection_.send("INSERT INTO timeline (" TIMELINE_COLUMNS ") VALUES ($1, $2, $3, $4, $5)", values);
  lengthened_.insert(entry.request_id);
  return {};
}

// Now and then is often enough for a timeline that grows without end; the others would be looked at for nothing. By chance, so
// that no pattern of work leaves one out.
void PgTransaction::end_piece() {
  if (dice_() % kTrimEvery == 0) trim_timelines();
  lengthened_.clear();
}

// A walk over the index from the newest entry: as cheap as the timeline is short. Once for all lines of a piece of work.
void PgTransaction::trim_timelines() {
  for (const std::int64_t request_id : lengthened_) {
    connection_.send("DELETE FROM timeline WHERE request_id = $1 AND id <= (SELECT id FROM timeline WHERE request_id = $1 "
                     "ORDER BY id DESC LIMIT 1 OFFSET $2)",
                     Parameters().integer(request_id).integer(kTimelineKept));
  }
  lengthened_.clear();
}

Result<std::vector<TimelineEntry>> PgTransaction::timeline_of(std::int64_t request_id, std::size_t limit) {
  trim_timelines();
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " TIMELINE_COLUMNS " FROM (SELECT * FROM timeline WHERE request_id = $1 "
                                                "ORDER BY id DESC LIMIT $2) AS newest ORDER BY id",
                                                Parameters().integer(request_id).integer(static_cast<std::int64_t>(limit))));
  return read_all<TimelineEntry>(rows, read_timeline_entry);
}

Result<void> PgTransaction::keep_login(const std::string& account, const std::string& client_id, const std::string& username) {
  connection_.send("INSERT INTO given_login (account, client_id, username, cell) VALUES ($1, $2, $3, $4) "
                   "ON CONFLICT (client_id, account, username) DO UPDATE SET given_up = FALSE, cell = $4 WHERE given_login.given_up",
                   Parameters().text(account).text(client_id).text(username).text(cell_));
  return {};
}

// Whoever gives them up takes them back.
Result<std::vector<std::int64_t>> PgTransaction::give_up_logins(std::string_view client_id) {
  TRY_ASSIGN(const Rows rows, connection_.query("UPDATE given_login SET given_up = TRUE, cell = $2 WHERE client_id = $1 RETURNING id",
                                                Parameters().text(client_id).text(cell_)));
  return read_all<std::int64_t>(rows, read_id);
}

Result<std::optional<GivenLogin>> PgTransaction::find_login(std::int64_t id) {
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT " LOGIN_COLUMNS " FROM given_login WHERE id = $1", Parameters().integer(id)));
  return read_one<GivenLogin>(rows, read_login);
}

Result<std::vector<std::int64_t>> PgTransaction::logins_given_up() {
  if (access_ == Access::kWrite) {
    connection_.send("UPDATE given_login SET cell = $1 WHERE id = ANY(ARRAY(SELECT id FROM given_login WHERE given_up AND cell <> $1 AND "
                     "cell IN (SELECT holder FROM cell WHERE lease_until <= clock_timestamp()) FOR UPDATE OF given_login SKIP LOCKED))",
                     Parameters().text(cell_));
  }
  TRY_ASSIGN(const Rows rows, connection_.query("SELECT id FROM given_login WHERE given_up AND cell = $1 ORDER BY id", Parameters().text(cell_)));
  return read_all<std::int64_t>(rows, read_id);
}

Result<void> PgTransaction::forget_login(std::int64_t id) {
  connection_.send("DELETE FROM given_login WHERE id = $1 AND given_up", Parameters().integer(id));
  return {};
}

Result<void> PgTransaction::add_audit(const AuditEntry& entry) {
  const Parameters values = Parameters()
                                .time(entry.at)
                                .integer(entry.times)
                                .text(to_string(entry.source))
                                .text(entry.kind)
                                .text(entry.who)
                                .text(entry.client_id)
                                .text(entry.text)
                                .time(entry.at - kAuditMerged);
  // A line that another cell is just adding to is left to it: then there are two.
  connection_.send("WITH newest AS MATERIALIZED (SELECT * FROM audit WHERE client_id = $6 ORDER BY id DESC LIMIT 8), "
                   "free AS MATERIALIZED (SELECT id FROM audit WHERE id = (SELECT id FROM newest WHERE $3 = 'device' AND source = $3 AND kind = $4 "
                   "AND who = $5 AND text = $7 AND at > $8 AND at <= $1 LIMIT 1) FOR UPDATE SKIP LOCKED), "
                   "merged AS (UPDATE audit SET until = greatest(until, $1), times = times + $2 WHERE id = (SELECT id FROM free) RETURNING id) "
                   "INSERT INTO audit (" AUDIT_COLUMNS ") SELECT $1, $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM merged)",
                   values);
  // Now and then, so that a line costs no walk over all of them; and of several cells one at a time.
  if (++audit_lines_ % kAuditSlack != 0) return {};
  for (const AuditSource each : {AuditSource::kOperator, AuditSource::kDevice}) {
    connection_.send("DELETE FROM audit WHERE pg_try_advisory_xact_lock(5066551) AND source = $1 AND id <= (SELECT id FROM audit "
                     "WHERE source = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
                     Parameters().text(to_string(each)).integer(kAuditKept));
  }
  return {};
}

Result<std::vector<AuditEntry>> PgTransaction::list_audit(const AuditFilter& filter) {
  Parameters values;
  std::string where = "until >= " + values.time(filter.since.value_or(WallTime{})).last();
  if (!filter.client_id.empty()) where += " AND client_id = " + values.text(filter.client_id).last();
  if (!filter.kind.empty()) where += " AND kind = " + values.text(filter.kind).last();
  TRY_ASSIGN(const Rows rows, connection_.query_once("SELECT " AUDIT_COLUMNS " FROM (SELECT * FROM audit WHERE " + where +
                                                         " ORDER BY id DESC LIMIT " +
                                                         values.integer(static_cast<std::int64_t>(filter.limit)).last() +
                                                         ") AS newest ORDER BY id",
                                                     values));
  return read_all<AuditEntry>(rows, read_audit_entry);
}

Result<void> PgTransaction::tell_other_cells(const Tidings& tidings) {
  tidings_.kick.insert(tidings_.kick.end(), tidings.kick.begin(), tidings.kick.end());
  tidings_.forgiven.insert(tidings_.forgiven.end(), tidings.forgiven.begin(), tidings.forgiven.end());
  tidings_.applied = tidings_.applied || tidings.applied;
  return {};
}

}  // namespace fleet::provisioner::postgres
