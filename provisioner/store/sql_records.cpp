// What stays as a record: issued certificates and the timeline.
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
Result<void> SqlTransaction::insert_certificate(const IssuedCertificate& certificate) {
  TRY_ASSIGN(const auto change, statements_.use("INSERT INTO certificate (" CERTIFICATE_COLUMNS
                                                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"));
  Binder values(*change);
  to_values::certificate(values, certificate);
  return change->run();
}

Result<std::optional<IssuedCertificate>> SqlTransaction::certificate_of_key(std::string_view spki_sha256) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT " CERTIFICATE_COLUMNS
                             " FROM certificate WHERE spki_sha256 = ?1 ORDER BY rowid DESC LIMIT 1"));
  Binder(*query).blob(spki_sha256);
  return read_one<IssuedCertificate>(*query, read_certificate);
}

Result<std::vector<IssuedCertificate>> SqlTransaction::certificates_of(std::string_view client_id) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " CERTIFICATE_COLUMNS
                                               " FROM certificate WHERE client_id = ?1 ORDER BY issued_at, rowid"));
  Binder(*query).text(client_id);
  return read_all<IssuedCertificate>(*query, read_certificate);
}

Result<std::optional<CertificateRecord>> SqlTransaction::find_certificate(std::string_view serial) {
  TRY_ASSIGN(const auto query, statements_.use("SELECT " CERTIFICATE_COLUMNS ", (SELECT name FROM request WHERE id = request_id) "
                                               "FROM certificate WHERE serial = ?1"));
  Binder(*query).text(serial);
  return read_one<CertificateRecord>(*query, read_certificate_record);
}

Result<std::vector<CertificateRecord>> SqlTransaction::list_certificates(const CertificateFilter& filter) {
  std::string where = "TRUE";
  if (!filter.client_id.empty()) where += " AND client_id = ?";
  if (filter.expires_before) where += " AND not_after < ?";
  if (filter.after) where += " AND (not_after, serial) > (?, ?)";
  TRY_ASSIGN(sqlite::Statement query,
             database_.prepare("SELECT " CERTIFICATE_COLUMNS ", (SELECT name FROM request WHERE id = request_id) "
                               "FROM certificate WHERE " + where + " ORDER BY not_after, serial LIMIT ?"));
  Binder binder(query);
  if (!filter.client_id.empty()) binder.text(filter.client_id);
  if (filter.expires_before) binder.time(*filter.expires_before);
  if (filter.after) binder.time(filter.after->first).text(filter.after->second);
  binder.integer(static_cast<std::int64_t>(filter.limit));
  return read_all<CertificateRecord>(query, read_certificate_record);
}

Result<void> SqlTransaction::add_timeline(const TimelineEntry& entry) {
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO timeline (" TIMELINE_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5)"));
  Binder values(*change);
  to_values::timeline_entry(values, entry);
  TRY(change->run());
  if (database_.last_insert_id() % kTimelineSlack != 0) return {};
  // A walk over the index from the newest entry: as cheap as the timeline is short.
  TRY_ASSIGN(const auto trim,
             statements_.use("DELETE FROM timeline WHERE request_id = ?1 AND id <= (SELECT id FROM timeline "
                             "WHERE request_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"));
  Binder(*trim).integer(entry.request_id).integer(kTimelineKept);
  return trim->run();
}

Result<std::vector<TimelineEntry>> SqlTransaction::timeline_of(std::int64_t request_id, std::size_t limit) {
  TRY_ASSIGN(const auto query,
             statements_.use("SELECT " TIMELINE_COLUMNS " FROM (SELECT * FROM timeline WHERE request_id = ?1 "
                             "ORDER BY id DESC LIMIT ?2) ORDER BY id"));
  Binder(*query).integer(request_id).integer(static_cast<std::int64_t>(limit));
  return read_all<TimelineEntry>(*query, read_timeline_entry);
}

}  // namespace fleet::provisioner
