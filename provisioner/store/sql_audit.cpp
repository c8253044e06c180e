// Who did what: the audit.
#include "provisioner/store/sql_transaction.hpp"

namespace fleet::provisioner {
Result<bool> SqlTransaction::merge_audit(const AuditEntry& entry) {
  TRY_ASSIGN(const auto change,
             statements_.use("UPDATE audit SET until = max(until, ?1), times = times + ?2 WHERE id = "
                             "(SELECT id FROM (SELECT * FROM audit WHERE client_id = ?3 ORDER BY id DESC LIMIT 8) "
                             "WHERE source = 'device' AND kind = ?4 AND who = ?5 AND text = ?6 AND at > ?7 AND at <= ?1 "
                             "LIMIT 1)"));
  Binder(*change)
      .time(entry.at)
      .integer(entry.times)
      .text(entry.client_id)
      .text(entry.kind)
      .text(entry.who)
      .text(entry.text)
      .time(entry.at - kAuditMerged);
  TRY(change->run());
  return database_.changes() > 0;
}

Result<void> SqlTransaction::add_audit(const AuditEntry& entry) {
  if (entry.source == AuditSource::kDevice) {
    TRY_ASSIGN(const bool merged, merge_audit(entry));
    if (merged) return {};
  }
  TRY_ASSIGN(const auto change,
             statements_.use("INSERT INTO audit (" AUDIT_COLUMNS ") VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
  Binder(*change)
      .time(entry.at)
      .integer(entry.times)
      .text(to_string(entry.source))
      .text(entry.kind)
      .text(entry.who)
      .text(entry.client_id)
      .text(entry.text);
  TRY(change->run());
  // Now and then, so that a line costs no walk over all of them.
  if (database_.last_insert_id() % kAuditSlack != 0) return {};
  TRY_ASSIGN(const auto trim,
             statements_.use("DELETE FROM audit WHERE source = ?1 AND id <= (SELECT id FROM audit WHERE source = ?1 "
                             "ORDER BY id DESC LIMIT 1 OFFSET ?2)"));
  for (const AuditSource each : {AuditSource::kOperator, AuditSource::kDevice}) {
    Binder(*trim).text(to_string(each)).integer(kAuditKept);
    TRY(trim->run());
  }
  return {};
}

Result<std::vector<AuditEntry>> SqlTransaction::list_audit(const AuditFilter& filter) {
  std::string where = "until >= ?";
  if (!filter.client_id.empty()) where += " AND client_id = ?";
  if (!filter.kind.empty()) where += " AND kind = ?";
  TRY_ASSIGN(sqlite::Statement query,
             database_.prepare("SELECT " AUDIT_COLUMNS " FROM (SELECT * FROM audit WHERE " + where +
                               " ORDER BY id DESC LIMIT ?) ORDER BY id"));
  Binder binder(query);
  binder.time(filter.since.value_or(WallTime{}));
  if (!filter.client_id.empty()) binder.text(filter.client_id);
  if (!filter.kind.empty()) binder.text(filter.kind);
  binder.integer(static_cast<std::int64_t>(filter.limit));
  return read_all<AuditEntry>(query, read_audit_entry);
}

}  // namespace fleet::provisioner
