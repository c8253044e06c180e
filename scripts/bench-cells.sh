# The measurement `cells` of bench.sh, which sources this: 1 and 2 cells over one PostgreSQL behind HAProxy, everything on this
# machine. What counts is the cost of a device, which must not rise with the second cell: both share these processors.
# Each cell has as many devices on their way, as when one is added for more of them.
#   uses $dir $bin $devices $rounds $root, bare_broker, say, give_up, wait_for, find_ports, line, medians, print, pids

per_cell=100

pg_programs=/usr/lib/postgresql/15/bin
pg_dir=$dir/postgres

# PostgreSQL does not run as root.
pg_run() {
  if [[ $(id -u) -eq 0 ]]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi
}

start_postgres() {
  mkdir -p "$pg_dir"
  [[ $(id -u) -ne 0 ]] || chown postgres: "$pg_dir"
  pg_run "$pg_programs/initdb" -D "$pg_dir/data" -A trust -U fleet -E UTF8 --locale=C >"$dir/initdb.log" 2>&1 || give_up "initdb"
  pg_run "$pg_programs/postgres" -D "$pg_dir/data" -k "$pg_dir" -c listen_addresses= -c shared_buffers=256MB -c max_wal_size=4GB \
    >"$dir/postgres.log" 2>&1 &
  pids+=($!)
  pg_url="postgresql:///fleet?user=fleet&host=$pg_dir"
  wait_for 20 psql -XAtc 'SELECT 1' "postgresql:///postgres?user=fleet&host=$pg_dir" || give_up "PostgreSQL did not start"
  pg_pid=$(head -n 1 "$pg_dir/data/postmaster.pid")
}
pg_sql() { psql -XAtqc "$1" "$pg_url"; }
# The processor time of all its processes so far, in microseconds.
pg_cpu() {
  local ticks
  ticks=$(cat /proc/"$pg_pid"/stat $(pgrep -P "$pg_pid" | sed 's|.*|/proc/&/stat|') 2>/dev/null | sed 's/.*) //' | awk '{n += $12 + $13} END {print n}')
  echo $((ticks * 1000000 / $(getconf CLK_TCK)))
}

# Rows that were inserted, changed or removed, and commits, so far. The server tells its numbers with some delay.
pg_written() {
  sleep 1.5
  pg_sql "SELECT (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables), xact_commit FROM pg_stat_database WHERE datname = 'fleet'" | tr '|' ' '
}

# measure_cells N: a fleet through N cells; one line of JSON
measure_cells() {
  local count=$1 cell cell_ports=() cpu_of=() cell_pids=() before after outcome wal_before wal_after size rows_before commits_before rows_after commits_after
  find_ports $((count * 2 + 1))
  cell_ports=("${ports[@]}")
  psql -XAtqc 'DROP DATABASE IF EXISTS fleet' -c 'CREATE DATABASE fleet' "postgresql:///postgres?user=fleet&host=$pg_dir" || give_up "createdb"
  rm -rf "$dir"/cell-* "$dir/CELLS$count.csv"
  "$bin/provisioner" init --data "$dir/cell-1" --host localhost --host 127.0.0.1 >"$dir/init.log" 2>&1 || give_up "provisioner init"
  printf 'global\n  maxconn 6000\ndefaults\n  mode tcp\n  timeout connect 3s\n  timeout client 10m\n  timeout server 10m\nfrontend f\n  bind 127.0.0.1:%s\n  default_backend b\nbackend b\n  balance leastconn\n' \
    "${cell_ports[0]}" >"$dir/haproxy.cfg"
  for ((cell = 1; cell <= count; cell++)); do
    [[ $cell == 1 ]] || cp -r "$dir/cell-1" "$dir/cell-$cell"
  done
  for ((cell = 1; cell <= count; cell++)); do
    printf 'store: "%s"\ncell: c%s\nbroker: {listen: "127.0.0.1:%s"}\npackages: {listen: "127.0.0.1:%s"}\n' \
      "$pg_url" "$cell" "${cell_ports[cell * 2 - 1]}" "${cell_ports[cell * 2]}" >"$dir/cell-$cell/provisioner.yaml"
    printf '  server c%s 127.0.0.1:%s\n' "$cell" "${cell_ports[cell * 2 - 1]}" >>"$dir/haproxy.cfg"
    "$bin/provisioner" serve --data "$dir/cell-$cell" >"$dir/cell-$cell.log" 2>&1 &
    pids+=($!)
    cell_pids+=($!)
    wait_for 20 grep -q 'devices are admitted' "$dir/cell-$cell.log" || give_up "cell $cell did not start"
    cpu_of+=(--cpu-of "provisioner$cell=$!" --cpu-of "broker$cell=$(pgrep -P $! -x mosquitto)")
  done
  /usr/sbin/haproxy -db -f "$dir/haproxy.cfg" >"$dir/haproxy.log" 2>&1 &
  pids+=($!)
  cell_pids+=($!)
  cpu_of+=(--cpu-of "haproxy=$!")
  PROVISIONER_DATA=$dir/cell-1 "$bin/provisioner" apply -f "$dir/manifests/base.yaml" >"$dir/apply.log" 2>&1 || give_up "provisioner apply"
  PROVISIONER_DATA=$dir/cell-1 roster "CELLS$count" "$devices"
  pg_sql 'VACUUM ANALYZE' >/dev/null
  read -r rows_before commits_before < <(pg_written)
  before=$(pg_cpu)
  wal_before=$(pg_sql "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
  outcome=$("$bin/fleet-sim" run --quiet -o json --roster "$dir/CELLS$count.csv" --broker-url "mqtts://localhost:${cell_ports[0]}" \
    --platform-root-file "$dir/cell-1/pki/root.crt" --no-owner --concurrency $((per_cell * count)) --time-limit 5m "${cpu_of[@]}" 2>"$dir/fleet-sim.log") || give_up "fleet-sim run"
  after=$(pg_cpu)
  wal_after=$(pg_sql "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")
  read -r rows_after commits_after < <(pg_written)
  size=$(pg_sql "SELECT pg_database_size('fleet')")
  line "cells_$count" "$outcome" "{postgresCpuMicros: (($after - $before) / .provisioned | round), rowsWrittenPerDevice: (($rows_after - $rows_before) / .provisioned * 10 | round / 10), commitsPerDevice: (($commits_after - $commits_before) / .provisioned * 100 | round / 100), walBytesPerDevice: (($wal_after - $wal_before) / .provisioned | round), databaseBytesPerDevice: ($size / .provisioned | round), brokersCpuMicros: ([.cpuMicrosPerDevice | to_entries[] | select(.key | startswith(\"broker\")) | .value] | add | round), provisionersCpuMicros: ([.cpuMicrosPerDevice | to_entries[] | select(.key | startswith(\"provisioner\")) | .value] | add | round), cpuMicrosOfAll: ([.cpuMicrosPerDevice | to_entries[] | select(.key != \"simulator\") | .value] | add + ($after - $before) / $devices | round)}"
  for ((i = ${#cell_pids[@]} - 1; i >= 0; i--)); do
    kill "${cell_pids[i]}" 2>/dev/null || :
    wait "${cell_pids[i]}" 2>/dev/null || :
  done
}

# measure_bare_brokers N: what of it is nobody's work: the same devices through so many brokers without plugin, provisioner and
# database, each with a simulator of its own that answers; one line of JSON
measure_bare_brokers() {
  local count=$1 broker simulators=() cpu=()
  for ((broker = 1; broker <= count; broker++)); do
    "$bin/fleet-sim" floor --quiet -o json --broker-url "mqtts://localhost:${bare_ports[broker - 1]}" --platform-url "unix:$dir/bare-$broker.sock" \
      --broker-ca-file "$root" --devices $((devices / count)) --concurrency "$per_cell" --threads $((2 / count)) --trace "$dir/trace.json" \
      --cpu-of "broker=${bare_pids[broker - 1]}" >"$dir/bare-$broker.json" 2>"$dir/fleet-sim.log" &
    simulators+=($!)
  done
  for broker in "${simulators[@]}"; do wait "$broker" || give_up "fleet-sim floor"; done
  jq -cs --arg name "cells_${count}_bare" --argjson n "$devices" '{bench: $name, devices: $n, brokersCpuMicros: (map(.cpuMicrosPerDevice.broker) | add / length | round)}' "$dir"/bare-[0-9].json | print
  rm -f "$dir"/bare-[0-9].json
}

start_postgres
find_ports 2
bare_ports=("${ports[@]}") bare_pids=()
for broker in 1 2; do
  bare_broker "bare-$broker" "${bare_ports[broker - 1]}"
  bare_pids+=("$bare_pid")
done
for ((round = 1; round <= rounds; ++round)); do
  for count in 1 2; do
    say "$count cell(s) over PostgreSQL: $devices devices, round $round"
    measure_cells "$count"
    measure_bare_brokers "$count"
  done
done
for count in 1 2; do
  medians "cells_${count}_bare" 'path(.brokersCpuMicros)'
  medians "cells_$count" 'path(.perSecond, .cpuMicrosOfAll, .cpuMicrosPerDevice.simulator, .brokersCpuMicros, .provisionersCpuMicros, .postgresCpuMicros, .commitsPerDevice)'
done
