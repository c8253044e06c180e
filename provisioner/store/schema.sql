-- The store's database as all migrations leave it; for reading, and compared with them by a test. Times are milliseconds
-- since 1970, maps and lists are JSON, names of accounts and profiles are soft references (the domain checks them).

CREATE TABLE migration (
  name       TEXT PRIMARY KEY,
  applied_at INTEGER NOT NULL,
  applied_by TEXT NOT NULL
) STRICT;

CREATE TABLE account (
  name           TEXT PRIMARY KEY,
  broker_url     TEXT NOT NULL,
  ca_pem         TEXT NOT NULL CHECK (json_valid(ca_pem)),
  credentials    TEXT NOT NULL DEFAULT 'x509' CHECK (credentials IN ('x509', 'password')),
  owner_database TEXT NOT NULL DEFAULT '',
  owner_command  TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(owner_command)),
  tight          TEXT NOT NULL DEFAULT 'INHERITED' CHECK (tight IN ('INHERITED', 'STRICT', 'LOOSE'))
) STRICT, WITHOUT ROWID;

CREATE TABLE profile (
  name                    TEXT PRIMARY KEY,
  account                 TEXT NOT NULL,
  configuration           TEXT NOT NULL CHECK (json_valid(configuration)),
  certificate_validity_ms INTEGER NOT NULL CHECK (certificate_validity_ms > 0),
  retry_max_attempts      INTEGER NOT NULL CHECK (retry_max_attempts >= -1),
  attempt_timeout_ms      INTEGER NOT NULL CHECK (attempt_timeout_ms > 0),
  packages                TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(packages)),
  wants_certificate       INTEGER NOT NULL DEFAULT 0 CHECK (wants_certificate IN (0, 1))
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: an id is never used again, so that certificates keep pointing at the right request.
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
  status                  TEXT NOT NULL CHECK (status = 'CREATED' OR status = 'STARTED' OR status = 'RUNNING' OR status = 'APPS_INSTALLING'
    OR status = 'APPS_INSTALLED' OR status = 'CONF_UPDATING' OR status = 'CONF_UPDATED' OR status = 'COMPLETED'
    OR status = 'FAILED' OR status = 'ABANDONED' OR status = 'SKIPPED' OR status = 'STOPPING' OR status = 'STOPPED'),
  failures                INTEGER NOT NULL CHECK (failures >= 0),
  last_error              TEXT NOT NULL,
  facts                   TEXT NOT NULL CHECK (json_valid(facts)),
  optlock                 INTEGER NOT NULL,
  created_at              INTEGER NOT NULL,
  updated_at              INTEGER NOT NULL,
  completed_at            INTEGER,
  configuration           TEXT CHECK (configuration IS NULL OR json_valid(configuration)),
  packages                TEXT CHECK (packages IS NULL OR json_valid(packages)),
  secure_url              INTEGER NOT NULL DEFAULT 1 CHECK (secure_url IN (0, 1)),
  tight                   TEXT NOT NULL DEFAULT 'INHERITED' CHECK (tight = 'INHERITED' OR tight = 'STRICT' OR tight = 'LOOSE')
) STRICT;
CREATE INDEX request_by_username ON request (username);
-- For lists by status in the order of names, and for counts that read nothing but this.
CREATE INDEX request_by_status ON request (status, name, enabled, expires_on, activates_on);
CREATE INDEX request_with_error ON request (status) WHERE last_error <> '';
CREATE INDEX request_with_packages ON request (id) WHERE packages IS NOT NULL;
CREATE INDEX request_by_expiry ON request (expires_on) WHERE expires_on IS NOT NULL;

CREATE TABLE attempt (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  request_id     INTEGER NOT NULL REFERENCES request (id) ON DELETE CASCADE,
  number         INTEGER NOT NULL CHECK (number >= 1),
  nonce          BLOB NOT NULL,
  hello_id       TEXT NOT NULL,
  state          TEXT NOT NULL CHECK (state = 'OPEN' OR state = 'COMPLETED' OR state = 'FAILED' OR state = 'SUPERSEDED' OR state = 'STOPPED'),
  timeout_ms     INTEGER NOT NULL CHECK (timeout_ms > 0),
  started_at     INTEGER NOT NULL,
  moved_at       INTEGER NOT NULL,
  ended_at       INTEGER,
  due_at         INTEGER,
  error          TEXT NOT NULL,
  handover       TEXT NOT NULL DEFAULT 'NONE' CHECK (handover = 'NONE' OR handover = 'PENDING' OR handover = 'DONE'),
  owner_username TEXT NOT NULL DEFAULT '',
  owner_password TEXT NOT NULL DEFAULT '', -- emptied when the attempt ends
  handover_error TEXT NOT NULL DEFAULT '',
  owner_account  TEXT NOT NULL DEFAULT '',
  UNIQUE (request_id, number)
) STRICT;
CREATE UNIQUE INDEX attempt_one_open ON attempt (request_id) WHERE state = 'OPEN';
CREATE INDEX attempt_handover ON attempt (id) WHERE handover = 'PENDING';
CREATE INDEX attempt_completed ON attempt (ended_at) WHERE state = 'COMPLETED';
CREATE INDEX attempt_due ON attempt (due_at) WHERE state = 'OPEN' AND due_at IS NOT NULL;

-- No reference to request: it is taken back when its request has gone.
CREATE TABLE given_login (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  account   TEXT NOT NULL,
  client_id TEXT NOT NULL,
  username  TEXT NOT NULL,
  given_up  INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)), -- its request was deleted
  UNIQUE (client_id, account, username)
) STRICT;
CREATE INDEX given_login_given_up ON given_login (id) WHERE given_up = 1;

CREATE TABLE step (
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

-- What was sent for the steps of an attempt, packed, until it ends.
CREATE TABLE message (
  attempt_id INTEGER PRIMARY KEY REFERENCES attempt (id) ON DELETE CASCADE,
  messages   BLOB NOT NULL
) STRICT;

-- No reference to request: a certificate stays when its request goes.
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
CREATE INDEX certificate_by_expiry ON certificate (not_after, serial);

CREATE TABLE timeline (
  id         INTEGER PRIMARY KEY,
  request_id INTEGER NOT NULL REFERENCES request (id) ON DELETE CASCADE,
  attempt_id INTEGER,
  at         INTEGER NOT NULL,
  kind       TEXT NOT NULL,
  text       TEXT NOT NULL
) STRICT;
CREATE INDEX timeline_by_request ON timeline (request_id, id);

-- No reference to request: most lines are about client ids that no request has.
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

-- admission_generation: another random number whenever the admission of any request changes; the admission projection holds
-- the same one. expiries_ended_until: up to when (Unix milliseconds) the live connections of what expired have been ended.
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
