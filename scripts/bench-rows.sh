# The measurement `rows` of bench.sh, which sources this: what sqlite3 itself takes to write what the devices just provisioned have
# left in the store into a copy that has forgotten them: in groups, as durable, with nobody to decide anything.
#   uses $dir $PROVISIONER_DATA, print, say

# rows_script FIRST LAST GROUP MODE: the hellos of one group of attempts with the replies of the one before, a transaction each. MODE
# `read`: only what is read of the store as it was.
rows_script() {
  awk -v first="$1" -v last="$2" -v group="$3" -v mode="$4" '
    function insert(table, query) { print mode == "write" ? "INSERT INTO " table " " query ";" : only_read(query) }
    function only_read(query) { return "SELECT count(*) FROM (" query " LIMIT -1);" }
    function write(statement) { if (mode == "write") print statement ";" }
    BEGIN {
      write("PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 8192")
      for (from = first; from <= last + group; from += group) {
        hello = "BETWEEN " from " AND " (from + group - 1 < last ? from + group - 1 : last)
        reply = "BETWEEN " from - group " AND " (from - 1 < last ? from - 1 : last)
        write("BEGIN IMMEDIATE")
        if (from <= last) {
          old = "SELECT r.id, r.facts, a.started_at FROM was.attempt a JOIN was.request r ON r.id = a.request_id WHERE a.number = 1 AND a.id " hello
          if (mode == "write")
            print "UPDATE request SET status = \x27STARTED\x27, optlock = optlock + 1, updated_at = old.started_at, facts = old.facts FROM (" old ") AS old WHERE request.id = old.id;"
          else
            print only_read(old)
          insert("attempt", "SELECT id, request_id, number, nonce, hello_id, \x27OPEN\x27, timeout_ms, started_at, moved_at, NULL, started_at + 10000, error, handover, owner_username, owner_password, handover_error, owner_account FROM was.attempt WHERE number = 1 AND id " hello)
          insert("certificate", "SELECT c.* FROM was.attempt a JOIN was.request r ON r.id = a.request_id JOIN was.certificate c ON c.client_id = r.client_id WHERE a.number = 1 AND a.id " hello)
          insert("step", "SELECT attempt_id, ordinal, kind, rid, summary, sent_at, send_count, NULL, \x27\x27, NULL, held, optional, job_id, progress, notified_at, installed FROM was.step WHERE attempt_id " hello " AND attempt_id IN (SELECT id FROM was.attempt WHERE number = 1 AND id " hello ")")
          insert("message", "SELECT id, zeroblob(6500) FROM was.attempt WHERE number = 1 AND id " hello)
          insert("timeline", "SELECT t.* FROM was.attempt a JOIN was.timeline t ON t.request_id = a.request_id AND t.attempt_id = a.id WHERE a.number = 1 AND a.id " hello " AND t.kind IN (\x27hello\x27, \x27certificate\x27, \x27sent\x27)")
        }
        if (from > first) {
          write("UPDATE step SET reply_code = 200, replied_at = sent_at + 100 WHERE attempt_id " reply)
          write("UPDATE attempt SET state = \x27COMPLETED\x27, ended_at = started_at + 100, due_at = NULL WHERE id " reply)
          write("DELETE FROM message WHERE attempt_id " reply)
          write("UPDATE request SET status = \x27COMPLETED\x27, optlock = optlock + 1, completed_at = updated_at + 100 WHERE id IN (SELECT request_id FROM attempt WHERE id " reply ")")
          insert("timeline", "SELECT t.* FROM was.attempt a JOIN was.timeline t ON t.request_id = a.request_id AND t.attempt_id = a.id WHERE a.number = 1 AND a.id " reply " AND t.kind IN (\x27reply\x27, \x27completed\x27)")
        }
        write("COMMIT")
      }
    }'
}
# rows_cpu MODE FIRST LAST GROUP: microseconds of processor that sqlite3 takes for that script
rows_cpu() {
  rows_script "$2" "$3" "$4" "$1" >"$dir/rows.sql"
  /usr/bin/time -f '%U %S' -o "$dir/time" sqlite3 -bail -cmd "ATTACH 'file:$dir/was.db?mode=ro' AS was" "$dir/rows.db" <"$dir/rows.sql" >/dev/null 2>"$dir/rows.log" || return 1
  awk '{printf "%d", ($1 + $2) * 1000000}' "$dir/time"
}
forget_rows() { # OF: in rows.db, all that the devices of these requests have left
  sqlite3 -bail "$dir/rows.db" "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; BEGIN;
    DELETE FROM attempt WHERE request_id IN $1; DELETE FROM certificate WHERE request_id IN $1; DELETE FROM timeline WHERE request_id IN $1 AND attempt_id NOT NULL;
    UPDATE request SET status = 'CREATED', facts = '{}', completed_at = NULL WHERE id IN $1; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null 2>"$dir/rows.log"
}
try_rows() { # PREFIX GROUP
  local group=$2 of="(SELECT id FROM request WHERE name LIKE '$1-%')" first last devices written read
  sqlite3 "$PROVISIONER_DATA/provisioner.db" ".backup '$dir/was.db'" 2>"$dir/rows.log" || return 1
  cp "$dir/was.db" "$dir/rows.db"
  IFS='|' read -r first last devices <<<"$(sqlite3 "$dir/was.db" "SELECT min(id), max(id), count(*) FROM attempt WHERE number = 1 AND request_id IN $of")"
  [[ -n ${first:-} ]] && forget_rows "$of" || return 1
  read=$(rows_cpu read "$first" "$last" "$group") && written=$(rows_cpu write "$first" "$last" "$group") || return 1
  [[ $(sqlite3 "$dir/rows.db" "SELECT count(*) FROM attempt WHERE state = 'COMPLETED' AND id BETWEEN $first AND $last") == "$devices" ]] || return 1
  jq -cn --argjson written "$written" --argjson read "$read" --argjson n "$devices" --argjson group "$group" \
    '{bench: "rows", devices: $n, group: $group, sqlite3Micros: (($written - $read) / $n | round)}' | print
}
# measure_rows PREFIX GROUP: of the devices called so, so many in a transaction; one line of JSON. What goes wrong here costs no more
# than this line.
measure_rows() {
  try_rows "$@" || say "the rows could not be measured: $(head -n 1 "$dir/rows.log" 2>/dev/null)"
  rm -f "$dir"/was.db* "$dir"/rows.*
}
