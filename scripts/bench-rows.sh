# The measurement `rows` of bench.sh, which sources this: what the devices just provisioned have left in the store, written once
# more by the sqlite3 program into a copy that has forgotten them: in the same groups, as durable, with nobody to decide anything.
#   uses $dir $PROVISIONER_DATA, give_up, print

# rows_script FIRST LAST GROUP: the hellos of one group of attempts with the replies of the one before, a transaction each
rows_script() {
  awk -v first="$1" -v last="$2" -v group="$3" 'BEGIN {
    print "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8192; PRAGMA wal_autocheckpoint = 8192;"
    for (from = first; from <= last + group; from += group) {
      hello = "BETWEEN " from " AND " (from + group - 1 < last ? from + group - 1 : last)
      reply = "BETWEEN " from - group " AND " (from - 1 < last ? from - 1 : last)
      print "BEGIN IMMEDIATE;"
      if (from <= last) {
        print "UPDATE request SET status = \x27STARTED\x27, optlock = optlock + 1, updated_at = old.started_at, facts = old.facts FROM (SELECT r.id, r.facts, a.started_at FROM was.attempt a JOIN was.request r ON r.id = a.request_id WHERE a.id " hello ") AS old WHERE request.id = old.id;"
        print "INSERT INTO attempt SELECT id, request_id, number, nonce, hello_id, \x27OPEN\x27, timeout_ms, started_at, moved_at, NULL, started_at + 10000, error, handover, owner_username, owner_password, handover_error, owner_account FROM was.attempt WHERE id " hello ";"
        print "INSERT INTO certificate SELECT c.* FROM was.attempt a JOIN was.request r ON r.id = a.request_id JOIN was.certificate c ON c.client_id = r.client_id WHERE a.id " hello ";"
        print "INSERT INTO step SELECT attempt_id, ordinal, kind, rid, summary, sent_at, send_count, NULL, \x27\x27, NULL, held, optional, job_id, progress, notified_at, installed FROM was.step WHERE attempt_id " hello ";"
        print "INSERT INTO message SELECT id, zeroblob(6500) FROM was.attempt WHERE id " hello ";"
        print "INSERT INTO timeline SELECT t.* FROM was.attempt a JOIN was.timeline t ON t.request_id = a.request_id WHERE a.id " hello " AND t.kind IN (\x27hello\x27, \x27certificate\x27, \x27sent\x27);"
      }
      if (from > first) {
        print "UPDATE step SET reply_code = 200, replied_at = sent_at + 100 WHERE attempt_id " reply ";"
        print "UPDATE attempt SET state = \x27COMPLETED\x27, ended_at = started_at + 100, due_at = NULL WHERE id " reply ";"
        print "DELETE FROM message WHERE attempt_id " reply ";"
        print "UPDATE request SET status = \x27COMPLETED\x27, optlock = optlock + 1, completed_at = updated_at + 100 WHERE id IN (SELECT request_id FROM was.attempt WHERE id " reply ");"
        print "INSERT INTO timeline SELECT t.* FROM was.attempt a JOIN was.timeline t ON t.request_id = a.request_id WHERE a.id " reply " AND t.kind IN (\x27reply\x27, \x27completed\x27);"
      }
      print "COMMIT;"
    }
  }'
}
# rows_cpu SCRIPT: microseconds of processor that sqlite3 takes for it
rows_cpu() {
  /usr/bin/time -f '%U %S' -o "$dir/time" sqlite3 -cmd "ATTACH 'file:$dir/was.db?mode=ro' AS was" "$dir/rows.db" <"$1" >"$dir/rows.log" 2>&1 || give_up "sqlite3"
  [[ ! -s $dir/rows.log ]] || grep -qvE '^[0-9]+$' "$dir/rows.log" && give_up "sqlite3: $(head -n 1 "$dir/rows.log")"
  awk '{printf "%d", ($1 + $2) * 1000000}' "$dir/time"
}

# measure_rows PREFIX GROUP: of the devices called so, so many in a transaction; one line of JSON
measure_rows() {
  local group=$2 of="(SELECT id FROM request WHERE name LIKE '$1-%')" first last all empty
  sqlite3 "$PROVISIONER_DATA/provisioner.db" ".backup '$dir/was.db'" || give_up "sqlite3 .backup"
  cp "$dir/was.db" "$dir/rows.db"
  read -r first last < <(sqlite3 -separator ' ' "$dir/was.db" "SELECT min(id), max(id) FROM attempt WHERE request_id IN $of")
  sqlite3 "$dir/rows.db" "PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; BEGIN;
    DELETE FROM attempt WHERE request_id IN $of; DELETE FROM certificate WHERE request_id IN $of; DELETE FROM timeline WHERE request_id IN $of AND attempt_id NOT NULL;
    UPDATE request SET status = 'CREATED', facts = '{}', completed_at = NULL WHERE id IN $of; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null || give_up "sqlite3"
  rows_script "$first" "$last" "$group" >"$dir/rows.sql"
  # the same for nobody: what reading the statements takes
  rows_script "$((first + 1000000000))" "$((last + 1000000000))" "$group" >"$dir/no-rows.sql"
  empty=$(rows_cpu "$dir/no-rows.sql")
  all=$(rows_cpu "$dir/rows.sql")
  [[ $(sqlite3 "$dir/rows.db" "SELECT count(*) FROM attempt WHERE state = 'COMPLETED' AND id BETWEEN $first AND $last") == $((last - first + 1)) ]] || give_up "rows are missing"
  jq -cn --argjson all "$all" --argjson empty "$empty" --argjson n $((last - first + 1)) --argjson group "$group" \
    '{bench: "rows", devices: $n, group: $group, sqlite3Micros: (($all - $empty) / $n | round)}' | print
  rm -f "$dir"/was.db* "$dir"/rows.db*
}
