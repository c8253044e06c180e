#include "provisioner/store/migrations.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "core/base/log.hpp"
#include "core/base/time.hpp"

namespace fleet::provisioner {
namespace {

constexpr std::string_view kInitial = R"sql(
CREATE TABLE account (
  name       TEXT PRIMARY KEY,
  broker_url TEXT NOT NULL,
  ca_pem     TEXT NOT NULL CHECK (json_valid(ca_pem))
) STRICT, WITHOUT ROWID;

CREATE TABLE profile (
  name                    TEXT PRIMARY KEY,
  account                 TEXT NOT NULL,
  configuration           TEXT NOT NULL CHECK (json_valid(configuration)),
  certificate_validity_ms INTEGER NOT NULL CHECK (certificate_validity_ms > 0),
  retry_max_attempts      INTEGER NOT NULL CHECK (retry_max_attempts >= -1),
  attempt_timeout_ms      INTEGER NOT NULL CHECK (attempt_timeout_ms > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE request (
  id                      INTEGER PRIMARY KEY AUTOINCREMENT,
  name                    TEXT NOT NULL UNIQUE,
  profile                 TEXT NOT NULL,
  client_id               TEXT NOT NULL UNIQUE,
  username                TEXT NOT NULL,
  connect_verifier        BLOB NOT NULL CHECK (length(connect_verifier) = 32),
  username_verifier       BLOB NOT NULL CHECK (length(username_verifier) = 32),
  activation_key_verifier BLOB CHECK (length(activation_key_verifier) = 32),
  activation_key_used     INTEGER NOT NULL CHECK (activation_key_used IN (0, 1)),
  labels                  TEXT NOT NULL CHECK (json_valid(labels)),
  params                  TEXT NOT NULL CHECK (json_valid(params)),
  enabled                 INTEGER NOT NULL CHECK (enabled IN (0, 1)),
  activates_on            INTEGER,
  expires_on              INTEGER,
  retry_max_attempts      INTEGER CHECK (retry_max_attempts >= -1),
  status                  TEXT NOT NULL CHECK (status IN (
    'CREATED', 'STARTED', 'RUNNING', 'APPS_INSTALLING', 'APPS_INSTALLED', 'CONF_UPDATING', 'CONF_UPDATED', 'COMPLETED',
    'FAILED', 'ABANDONED', 'SKIPPED', 'STOPPING', 'STOPPED')),
  failures                INTEGER NOT NULL CHECK (failures >= 0),
  last_error              TEXT NOT NULL,
  facts                   TEXT NOT NULL CHECK (json_valid(facts)),
  optlock                 INTEGER NOT NULL,
  created_at              INTEGER NOT NULL,
  updated_at              INTEGER NOT NULL,
  completed_at            INTEGER
) STRICT;
CREATE INDEX request_by_username ON request (username);
CREATE INDEX request_by_status ON request (status);

CREATE TABLE attempt (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  request_id INTEGER NOT NULL REFERENCES request (id) ON DELETE CASCADE,
  number     INTEGER NOT NULL CHECK (number >= 1),
  nonce      BLOB NOT NULL,
  hello_id   TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('OPEN', 'COMPLETED', 'FAILED', 'SUPERSEDED', 'STOPPED')),
  timeout_ms INTEGER NOT NULL CHECK (timeout_ms > 0),
  started_at INTEGER NOT NULL,
  moved_at   INTEGER NOT NULL,
  ended_at   INTEGER,
  due_at     INTEGER,
  error      TEXT NOT NULL,
  UNIQUE (request_id, number)
) STRICT;
CREATE UNIQUE INDEX attempt_one_open ON attempt (request_id) WHERE state = 'OPEN';
CREATE INDEX attempt_due ON attempt (due_at) WHERE state = 'OPEN' AND due_at IS NOT NULL;

CREATE TABLE step (
  attempt_id  INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  ordinal     INTEGER NOT NULL CHECK (ordinal >= 0),
  kind        TEXT NOT NULL,
  rid         TEXT NOT NULL UNIQUE,
  summary     TEXT NOT NULL,
  topic       TEXT NOT NULL,
  payload     BLOB NOT NULL,
  sent_at     INTEGER NOT NULL,
  send_count  INTEGER NOT NULL CHECK (send_count >= 0),
  reply_code  INTEGER,
  reply_error TEXT NOT NULL,
  replied_at  INTEGER,
  PRIMARY KEY (attempt_id, ordinal)
) STRICT;

CREATE TABLE certificate (
  serial      TEXT PRIMARY KEY,
  spki_sha256 BLOB NOT NULL CHECK (length(spki_sha256) = 32),
  client_id   TEXT NOT NULL,
  request_id  INTEGER NOT NULL,
  pem         TEXT NOT NULL,
  not_before  INTEGER NOT NULL,
  not_after   INTEGER NOT NULL,
  issued_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX certificate_by_key ON certificate (spki_sha256, issued_at);
CREATE INDEX certificate_by_client_id ON certificate (client_id, issued_at);

CREATE TABLE timeline (
  id         INTEGER PRIMARY KEY,
  request_id INTEGER NOT NULL REFERENCES request (id) ON DELETE CASCADE,
  attempt_id INTEGER,
  at         INTEGER NOT NULL,
  kind       TEXT NOT NULL,
  text       TEXT NOT NULL
) STRICT;
CREATE INDEX timeline_by_request ON timeline (request_id, id);

CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counter (name, value) VALUES ('admission_generation', 0);
)sql";

constexpr std::string_view kListIndexes = R"sql(
DROP INDEX request_by_status;
CREATE INDEX request_by_status ON request (status, name, enabled, expires_on, activates_on);
CREATE INDEX request_with_error ON request (status) WHERE last_error <> '';
CREATE INDEX certificate_by_expiry ON certificate (not_after, serial);
)sql";

constexpr std::string_view kAudit = R"sql(
CREATE TABLE audit (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  at        INTEGER NOT NULL,
  until     INTEGER NOT NULL,
  times     INTEGER NOT NULL CHECK (times >= 1),
  source    TEXT NOT NULL CHECK (source IN ('operator', 'device')),
  kind      TEXT NOT NULL,
  who       TEXT NOT NULL,
  client_id TEXT NOT NULL,
  text      TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_client_id ON audit (client_id, id);
CREATE INDEX audit_by_source ON audit (source, id);
CREATE INDEX request_by_expiry ON request (expires_on) WHERE expires_on IS NOT NULL;
)sql";

constexpr std::string_view kPackages = R"sql(
ALTER TABLE profile ADD COLUMN packages TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(packages));
ALTER TABLE request ADD COLUMN configuration TEXT CHECK (configuration IS NULL OR json_valid(configuration));
ALTER TABLE request ADD COLUMN packages TEXT CHECK (packages IS NULL OR json_valid(packages));
ALTER TABLE step ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));
ALTER TABLE step ADD COLUMN optional INTEGER NOT NULL DEFAULT 0 CHECK (optional IN (0, 1));
ALTER TABLE step ADD COLUMN job_id INTEGER;
ALTER TABLE step ADD COLUMN progress INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 200);
ALTER TABLE step ADD COLUMN notified_at INTEGER;
ALTER TABLE step ADD COLUMN installed INTEGER CHECK (installed IN (0, 1));
CREATE UNIQUE INDEX step_by_job ON step (job_id) WHERE job_id IS NOT NULL;
)sql";

constexpr std::string_view kOwnerCredentials = R"sql(
ALTER TABLE account ADD COLUMN credentials TEXT NOT NULL DEFAULT 'x509' CHECK (credentials IN ('x509', 'password'));
ALTER TABLE account ADD COLUMN strict INTEGER NOT NULL DEFAULT 1 CHECK (strict IN (0, 1));
ALTER TABLE account ADD COLUMN owner_database TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN owner_command TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(owner_command));
ALTER TABLE profile ADD COLUMN wants_certificate INTEGER NOT NULL DEFAULT 0 CHECK (wants_certificate IN (0, 1));
ALTER TABLE attempt ADD COLUMN handover TEXT NOT NULL DEFAULT 'NONE' CHECK (handover IN ('NONE', 'PENDING', 'DONE'));
ALTER TABLE attempt ADD COLUMN owner_username TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN owner_password TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt ADD COLUMN handover_error TEXT NOT NULL DEFAULT '';
CREATE INDEX attempt_handover ON attempt (id) WHERE handover = 'PENDING';
)sql";

// An open attempt is of the account that its profile has as this is applied.
constexpr std::string_view kOwnerAccount = R"sql(
ALTER TABLE attempt ADD COLUMN owner_account TEXT NOT NULL DEFAULT '';
UPDATE attempt SET owner_account = coalesce((SELECT profile.account FROM request JOIN profile ON profile.name = request.profile
  WHERE request.id = attempt.request_id), '') WHERE handover <> 'NONE' AND state = 'OPEN';
)sql";

// So far logins were handed over as attempts began, and nothing told of one that its attempt had not survived. Where the
// account is not known it is the one that the profile has as this is applied.
constexpr std::string_view kGivenLogins = R"sql(
CREATE TABLE given_login (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  account   TEXT NOT NULL,
  client_id TEXT NOT NULL,
  username  TEXT NOT NULL,
  given_up  INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)),
  UNIQUE (client_id, account, username)
) STRICT;
CREATE INDEX given_login_given_up ON given_login (id) WHERE given_up = 1;
INSERT OR IGNORE INTO given_login (account, client_id, username)
  SELECT coalesce(nullif(attempt.owner_account, ''), profile.account), request.client_id, attempt.owner_username
  FROM attempt JOIN request ON request.id = attempt.request_id JOIN profile ON profile.name = request.profile
  WHERE attempt.owner_username <> '' ORDER BY attempt.id;
)sql";

constexpr std::string_view kCompletedAttempts = R"sql(
CREATE INDEX attempt_completed ON attempt (ended_at) WHERE state = 'COMPLETED';
)sql";

// STRICT was what an account had that said nothing: it inherits that from now on.
constexpr std::string_view kSecureUrlAndTight = R"sql(
ALTER TABLE account ADD COLUMN tight TEXT NOT NULL DEFAULT 'INHERITED' CHECK (tight IN ('INHERITED', 'STRICT', 'LOOSE'));
UPDATE account SET tight = 'LOOSE' WHERE strict = 0;
ALTER TABLE account DROP COLUMN strict;
ALTER TABLE request ADD COLUMN secure_url INTEGER NOT NULL DEFAULT 1 CHECK (secure_url IN (0, 1));
ALTER TABLE request ADD COLUMN tight TEXT NOT NULL DEFAULT 'INHERITED' CHECK (tight IN ('INHERITED', 'STRICT', 'LOOSE'));
)sql";

// So that what package files are named is known without a look at every request.
constexpr std::string_view kRequestsWithPackages = R"sql(
CREATE INDEX request_with_packages ON request (id) WHERE packages IS NOT NULL;
)sql";

// What a CHECK compares with more than two texts by IN, SQLite puts into a table made for the occasion, for each row that is
// written: one comparison after the other takes a fifth of the time. The rows stay as they are, so that the text of the
// tables is edited in its place (https://www.sqlite.org/lang_altertable.html#otheralter). The version tells every connection that
// the schema is another one: far beyond what the migrations before can have made of it.
constexpr std::string_view kChecksWithoutTables = R"sql(
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(sql, 'status IN (
    ''CREATED'', ''STARTED'', ''RUNNING'', ''APPS_INSTALLING'', ''APPS_INSTALLED'', ''CONF_UPDATING'', ''CONF_UPDATED'', ''COMPLETED'',
    ''FAILED'', ''ABANDONED'', ''SKIPPED'', ''STOPPING'', ''STOPPED'')',
    'status = ''CREATED'' OR status = ''STARTED'' OR status = ''RUNNING'' OR status = ''APPS_INSTALLING''
    OR status = ''APPS_INSTALLED'' OR status = ''CONF_UPDATING'' OR status = ''CONF_UPDATED'' OR status = ''COMPLETED''
    OR status = ''FAILED'' OR status = ''ABANDONED'' OR status = ''SKIPPED'' OR status = ''STOPPING'' OR status = ''STOPPED'''),
    'tight IN (''INHERITED'', ''STRICT'', ''LOOSE'')', 'tight = ''INHERITED'' OR tight = ''STRICT'' OR tight = ''LOOSE''')
  WHERE type = 'table' AND name = 'request';
UPDATE sqlite_schema SET sql = replace(replace(sql, 'state IN (''OPEN'', ''COMPLETED'', ''FAILED'', ''SUPERSEDED'', ''STOPPED'')',
    'state = ''OPEN'' OR state = ''COMPLETED'' OR state = ''FAILED'' OR state = ''SUPERSEDED'' OR state = ''STOPPED'''),
    'handover IN (''NONE'', ''PENDING'', ''DONE'')', 'handover = ''NONE'' OR handover = ''PENDING'' OR handover = ''DONE''')
  WHERE type = 'table' AND name = 'attempt';
PRAGMA schema_version = 1011;
PRAGMA writable_schema = RESET;
)sql";

// A step is looked for among those of its request: what it was called by was written at four random places of an index for
// each device. What is long comes last in the row, so that the rest of it is read without it.
constexpr std::string_view kStepsOfRequests = R"sql(
CREATE TABLE step_of_request (
  attempt_id  INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  ordinal     INTEGER NOT NULL CHECK (ordinal >= 0),
  kind        TEXT NOT NULL,
  rid         TEXT NOT NULL,
  summary     TEXT NOT NULL,
  sent_at     INTEGER NOT NULL,
  send_count  INTEGER NOT NULL CHECK (send_count >= 0),
  reply_code  INTEGER,
  reply_error TEXT NOT NULL,
  replied_at  INTEGER,
  held        INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
  optional    INTEGER NOT NULL DEFAULT 0 CHECK (optional IN (0, 1)),
  job_id      INTEGER,
  progress    INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 200),
  notified_at INTEGER,
  installed   INTEGER CHECK (installed IN (0, 1)),
  topic       TEXT NOT NULL,
  payload     BLOB NOT NULL,
  PRIMARY KEY (attempt_id, ordinal)
) STRICT, WITHOUT ROWID;
INSERT INTO step_of_request (attempt_id, ordinal, kind, rid, summary, sent_at, send_count, reply_code, reply_error, replied_at, held,
    optional, job_id, progress, notified_at, installed, topic, payload)
  SELECT attempt_id, ordinal, kind, rid, summary, sent_at, send_count, reply_code, reply_error, replied_at, held,
    optional, job_id, progress, notified_at, installed, topic, payload FROM step ORDER BY attempt_id, ordinal;
DROP TABLE step;
ALTER TABLE step_of_request RENAME TO step;
)sql";

// The messages of an attempt in one row (messages.hpp): four rows of 2 KB took a page each behind their own, which were written
// once more when they were emptied.
constexpr std::string_view kMessages = R"sql(
CREATE TABLE message (
  attempt_id INTEGER PRIMARY KEY REFERENCES attempt (id) ON DELETE CASCADE,
  messages   BLOB NOT NULL
) STRICT;
INSERT INTO message (attempt_id, messages)
  SELECT attempt_id, CAST(group_concat(ordinal || ' ' || length(CAST(topic AS BLOB)) || ' ' || length(payload) || char(10) || topic
    || payload, '') AS BLOB) FROM step WHERE topic <> '' GROUP BY attempt_id;
CREATE TABLE step_alone (
  attempt_id  INTEGER NOT NULL REFERENCES attempt (id) ON DELETE CASCADE,
  ordinal     INTEGER NOT NULL CHECK (ordinal >= 0),
  kind        TEXT NOT NULL,
  rid         TEXT NOT NULL,
  summary     TEXT NOT NULL,
  sent_at     INTEGER NOT NULL,
  send_count  INTEGER NOT NULL CHECK (send_count >= 0),
  reply_code  INTEGER,
  reply_error TEXT NOT NULL,
  replied_at  INTEGER,
  held        INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
  optional    INTEGER NOT NULL DEFAULT 0 CHECK (optional IN (0, 1)),
  job_id      INTEGER,
  progress    INTEGER NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 200),
  notified_at INTEGER,
  installed   INTEGER CHECK (installed IN (0, 1)),
  PRIMARY KEY (attempt_id, ordinal)
) STRICT, WITHOUT ROWID;
INSERT INTO step_alone (attempt_id, ordinal, kind, rid, summary, sent_at, send_count, reply_code, reply_error, replied_at, held,
    optional, job_id, progress, notified_at, installed)
  SELECT attempt_id, ordinal, kind, rid, summary, sent_at, send_count, reply_code, reply_error, replied_at, held,
    optional, job_id, progress, notified_at, installed FROM step ORDER BY attempt_id, ordinal;
DROP TABLE step;
ALTER TABLE step_alone RENAME TO step;
)sql";

constexpr std::array kMigrations{
    Migration{"0001-initial", kInitial},
    Migration{"0002-list-indexes", kListIndexes},
    Migration{"0003-audit", kAudit},
    Migration{"0004-packages", kPackages},
    Migration{"0005-owner-credentials", kOwnerCredentials},
    Migration{"0006-owner-account", kOwnerAccount},
    Migration{"0007-given-logins", kGivenLogins},
    Migration{"0008-completed-attempts", kCompletedAttempts},
    Migration{"0009-secure-url-and-tight", kSecureUrlAndTight},
    Migration{"0010-requests-with-packages", kRequestsWithPackages},
    Migration{"0011-checks-without-tables", kChecksWithoutTables},
    Migration{"0012-steps-of-requests", kStepsOfRequests},
    Migration{"0013-messages", kMessages},
};

// "FLTP": tells our file from any other SQLite database.
constexpr std::int64_t kApplicationId = 0x464C5450;
constexpr std::string_view kProgram = "provisioner " FLEET_VERSION;

struct Applied {
  std::string name;
  std::string by;
};

Result<std::int64_t> integer_of(sqlite::Database& database, std::string_view sql) {
  TRY_ASSIGN(sqlite::Statement query, database.prepare(sql));
  TRY_ASSIGN(const bool row, query.next());
  return row ? query.integer(0) : 0;
}

// Makes an empty file ours; kCorrupt if it is somebody else's.
Result<void> claim(sqlite::Database& database) {
  TRY_ASSIGN(const std::int64_t application, integer_of(database, "PRAGMA application_id"));
  if (application == kApplicationId) return {};
  TRY_ASSIGN(const std::int64_t objects, integer_of(database, "SELECT count(*) FROM sqlite_master"));
  if (objects != 0 || application != 0) {
    return fail(ErrorCode::kCorrupt, "{}: a database, but not one of the provisioner's", database.path());
  }
  TRY(
      database.execute("BEGIN IMMEDIATE; CREATE TABLE migration (name TEXT PRIMARY KEY, applied_at INTEGER NOT NULL, "
                       "applied_by TEXT NOT NULL) STRICT;"));
  return database.execute(fmt::format("PRAGMA application_id = {}; COMMIT", kApplicationId));
}

Result<std::vector<Applied>> applied_to(sqlite::Database& database) {
  TRY_ASSIGN(sqlite::Statement query, database.prepare("SELECT name, applied_by FROM migration ORDER BY rowid"));
  std::vector<Applied> applied;
  while (true) {
    TRY_ASSIGN(const bool row, query.next());
    if (!row) return applied;
    applied.push_back({query.text(0), query.text(1)});
  }
}

Result<void> apply(sqlite::Database& database, const Migration& migration) {
  TRY(database.execute("BEGIN IMMEDIATE"));
  TRY(database.execute(migration.sql));
  TRY_ASSIGN(sqlite::Statement record,
             database.prepare("INSERT INTO migration (name, applied_at, applied_by) VALUES (?1, ?2, ?3)"));
  TRY(record.bind(1, migration.name).bind(2, to_unix_millis(wall_now())).bind(3, kProgram).run());
  return database.execute("COMMIT");
}

}  // namespace

std::span<const Migration> migrations() {
  return kMigrations;
}

Result<void> migrate(sqlite::Database& database) {
  TRY(claim(database));
  TRY_ASSIGN(const std::vector<Applied> applied, applied_to(database));
  for (const Applied& one : applied) {
    const auto known = [&](const Migration& migration) { return migration.name == one.name; };
    if (std::none_of(kMigrations.begin(), kMigrations.end(), known)) {
      return fail(ErrorCode::kUnsupported,
                  "{}: written by a newer version: {} applied the migration {}, which this program ({}) does not know; "
                  "run that version or a later one, or restore a backup made before it",
                  database.path(), one.by, one.name, kProgram);
    }
  }
  for (const Migration& migration : kMigrations) {
    const auto same = [&](const Applied& one) { return one.name == migration.name; };
    if (std::any_of(applied.begin(), applied.end(), same)) continue;
    if (auto done = apply(database, migration); !done) {
      return fail(with_context(done.error(), fmt::format("migration {}", migration.name)));
    }
    log::info("store", "applied a migration",
              {{"database", database.path()}, {"migration", std::string(migration.name)}});
  }
  return {};
}

}  // namespace fleet::provisioner
