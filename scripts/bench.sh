#!/usr/bin/env bash
# Measures on real processes, everything on this machine; prints one JSON object a line to stdout, what it does to stderr.
#   ./scripts/bench.sh [--devices N] [--rounds N] [--requests N] [NAME…]
#     floor       the broker alone, without the plugin: the same connections and messages, answered by the simulator
#     provision   devices a second through TLS and plain TCP, as a ratio to the floor before and after; latency; CPU a device;
#                 and what sqlite3 takes to write as many rows with nobody to decide anything
#     owner       the same through TLS, and on to the owner's broker with the new certificate
#     storm       20,000 devices at once, retrying as agents do
#     cells       1 and 2 cells over PostgreSQL, behind HAProxy: rate and CPU a device of all that takes part
#     agent       memory, size, start to accepted hello, wake-ups when idle
#     import      apply of a table and of YAML of 1,000,000 requests (--requests), each into a fresh service
#     population  provisioning with 1,000, 100,000 and 1,000,000 (--requests) open requests in the store; start to ready
#   Default: all of them, 10,000 devices a measurement. provision, cells and population are measured in so many rounds (3), of which
#   the median counts: who else is on the machine comes and goes. At last each number is held against what is aimed at; one that is
#   missed comes with what was measured of the reason.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,15s/^# \{0,1\}//p' scripts/bench.sh; }
devices=10000
# Fewer than Mosquitto lets wait to be accepted (100): the others' first packet would be lost, and sent again after a second.
at_a_time=90
rounds=3
requests=1000000
names=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --devices) devices=${2:?a number}; shift 2 ;;
    --rounds) rounds=${2:?a number}; shift 2 ;;
    --requests) requests=${2:?a number}; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    floor | provision | owner | storm | cells | agent | import | population) names+=("$1"); shift ;;
    *) usage >&2; exit 64 ;;
  esac
done
[[ ${#names[@]} -gt 0 ]] || names=(floor provision owner storm cells agent import population)
wants() { [[ " ${names[*]} " == *" $1 "* ]]; }

say() { echo "$*" >&2; }
./scripts/install-packages.sh --bench >&2
say "building …"
log=$(mktemp)
./scripts/build.sh --programs >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }
rm -f "$log"
bin=$PWD/build/bin
# connections, four files each, on both sides
ulimit -n "$(ulimit -Hn)"

dir=$(mktemp -d /tmp/fleet-bench.XXXXXX)
chmod 755 "$dir"
. scripts/processes.sh
find_ports 6
read -r tls_port plain_port packages_port owner_port floor_tls_port floor_plain_port <<<"${ports[*]}"
export PROVISIONER_DATA=$dir/provisioner

# --- the platform, and an owner's broker
"$bin/provisioner" init --host localhost --host 127.0.0.1 --listen "127.0.0.1:$tls_port" >"$dir/init.log" 2>&1 || give_up "provisioner init"
./certs/make-dev-pki.sh "$dir/owner" localhost 127.0.0.1 >"$dir/owner-pki.log" 2>&1 || give_up "make-dev-pki.sh"
root=$PROVISIONER_DATA/pki/root.crt
cat "$PROVISIONER_DATA/pki/device-ca.crt" "$root" >"$dir/owner/device-cas.crt"
sed -i "s|^broker:|broker:\n  plainListen: \"127.0.0.1:$plain_port\"|" "$PROVISIONER_DATA/provisioner.yaml"
printf 'packages: {listen: "127.0.0.1:%s"}\n' "$packages_port" >>"$PROVISIONER_DATA/provisioner.yaml"
"$bin/provisioner" serve >"$dir/provisioner.log" 2>&1 &
pids+=($!)
provisioner_pid=$!
wait_for 15 "$bin/provisioner" status || give_up "the provisioner did not start"
broker_pid=$(pgrep -P "$provisioner_pid" -x mosquitto) || give_up "no broker below the provisioner"

cat >"$dir/owner/owner.conf" <<CONF
user $(id -un)
log_type error
listener $owner_port 127.0.0.1
certfile $dir/owner/server.crt
keyfile $dir/owner/server.key
cafile $dir/owner/device-cas.crt
require_certificate true
set_tcp_nodelay true
max_queued_messages 0
plugin $PWD/build/lib/provisioner_auth.so
plugin_opt_mode owner
plugin_opt_account acme
plugin_opt_credentials strict
CONF
PATH=$PATH:/usr/sbin mosquitto -c "$dir/owner/owner.conf" >"$dir/owner.log" 2>&1 &
pids+=($!)
owner_pid=$!

mkdir "$dir/manifests"
cp "$dir/owner/owner-root.crt" "$dir/manifests/owner-ca.pem"
cat >"$dir/manifests/base.yaml" <<YAML
apiVersion: provisioner/v1
kind: Account
metadata: {name: acme}
spec:
  broker: {url: "mqtts://localhost:$owner_port", caFile: owner-ca.pem}
  credentials: x509
---
apiVersion: provisioner/v1
kind: Profile
metadata: {name: gateway}
spec: {account: acme, attemptTimeout: 120s, retryMaxAttempts: -1}
YAML
"$bin/provisioner" apply -f "$dir/manifests/base.yaml" >"$dir/apply.log" 2>&1 || give_up "provisioner apply"

# roster PREFIX N: that many requests; their secrets in DIR/PREFIX.csv
roster() {
  awk -v prefix="$1" -v n="$2" 'BEGIN {
    for (i = 1; i <= n; i++)
      printf "---\napiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: %s-%d}\nspec: {profile: gateway, clientId: %s%d, provisionUserUsername: %s%d-SN}\n", prefix, i, prefix, i, prefix, i
  }' >"$dir/manifests/$1.yaml"
  "$bin/provisioner" apply -f "$dir/manifests/$1.yaml" --secrets-out "$dir/$1.csv" >"$dir/apply.log" 2>&1 || give_up "provisioner apply"
}
# simulate PREFIX URL OPTIONS…: the outcome as JSON on stdout
simulate() {
  local prefix=$1 url=$2
  shift 2
  "$bin/fleet-sim" run --quiet -o json --roster "$dir/$prefix.csv" --broker-url "$url" --platform-root-file "$root" \
    --cpu-of "provisioner=$provisioner_pid" --cpu-of "broker=$broker_pid" --time-limit 5m "$@" 2>"$dir/fleet-sim.log" || give_up "fleet-sim run"
}
# print: lines of JSON to stdout, kept for the bars at the end
print() { tee -a "$dir/lines"; }
# line NAME OUTCOME [EXTRA]: what everybody looks at, as one line of JSON; EXTRA: a jq object over the outcome
line() {
  jq -c --arg name "$1" "{bench: \$name, devices: .provisioned, perSecond: .devicesPerSecond, p50ms: .latencyMs.total.p50, p99ms: .latencyMs.total.p99, cpuMicrosPerDevice} + ({attemptsFailed, reasons, setbacks} | with_entries(select(.value | . != 0 and . != {}))) + (${3:-{\}})" <<<"$2" | print
}
# medians NAME FIELDS: of the lines called NAME, one line NAME_median with the median of each of FIELDS, paths in jq
medians() {
  jq -cs --arg name "$1" "map(select(.bench == \$name)) as \$rounds | reduce (null | $2) as \$field
    ({bench: \"\(\$name)_median\", rounds: (\$rounds | length)}; setpath(\$field; \$rounds | map(getpath(\$field)) | sort | .[length / 2 | floor]))" "$dir/lines" | print
}
# floor KIND URL: the rate and the broker's CPU in floor_rate and floor_cpu
floor() {
  local kind=$1 url=$2 outcome
  say "floor over $kind: $devices devices"
  outcome=$("$bin/fleet-sim" floor --quiet -o json --broker-url "$url" --platform-url "unix:$dir/floor.sock" \
    --broker-ca-file "$root" --devices "$devices" --concurrency "$at_a_time" --trace "$dir/trace.json" \
    --cpu-of "broker=$floor_pid" 2>"$dir/fleet-sim.log") || give_up "fleet-sim floor"
  floor_rate=$(jq .devicesPerSecond <<<"$outcome")
  floor_cpu=$(jq .cpuMicrosPerDevice.broker <<<"$outcome")
  line "floor_$kind" "$outcome"
}

# How fast the machine is at what nobody can leave out, alone and with all its processors busy as they are below: a line each time,
# since it does not stay the same.
measure_machine() {
  local processors signatures=() checks=() count
  processors=$(nproc)
  for count in 1 "$processors"; do
    read -r sign verify < <(openssl speed -seconds 1 -multi "$count" -mr ecdsap256 2>/dev/null | awk -F: '/^\+F4/ && $3 == 256 {print $4, $5}')
    signatures+=("$sign") checks+=("$verify")
  done
  jq -cn --argjson n "$processors" --argjson sign "[$(IFS=,; echo "${signatures[*]}")]" --argjson verify "[$(IFS=,; echo "${checks[*]}")]" \
    'def us: . * 10 | round / 10; {bench: "machine", signMicros: (1e6 / $sign[0] | us), verifyMicros: (1e6 / $verify[0] | us),
      busySignMicros: ($n * 1e6 / $sign[1] | us), busyVerifyMicros: ($n * 1e6 / $verify[1] | us)}' | print
}
measure_machine

# The sizes of a device's messages, for the floor; also warms everything up.
roster WARM 200
simulate WARM "mqtts://localhost:$tls_port" --no-owner --concurrency 50 --trace "$dir/trace.json" >/dev/null

# bare_broker NAME PORT [LINE]: a broker without the plugin on that port and the socket $dir/NAME.sock; its process in bare_pid
bare_broker() {
  # the provision broker's own certificate: a chain of the same length is sent, read and checked
  cat >"$dir/$1.conf" <<CONF
user $(id -un)
log_type error
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 0
listener $2 127.0.0.1
certfile $PROVISIONER_DATA/pki/broker.crt
keyfile $PROVISIONER_DATA/pki/broker.key
${3:-}
listener 0 $dir/$1.sock
CONF
  PATH=$PATH:/usr/sbin mosquitto -c "$dir/$1.conf" >"$dir/$1.log" 2>&1 &
  pids+=($!)
  bare_pid=$!
  wait_for 10 test -S "$dir/$1.sock" || give_up "the broker without the plugin did not start"
}
if wants floor || wants provision; then
  bare_broker floor "$floor_tls_port" "listener $floor_plain_port 127.0.0.1"
  floor_pid=$bare_pid
fi
if wants floor && ! wants provision; then
  floor tls "mqtts://localhost:$floor_tls_port"
  floor plain "mqtt://localhost:$floor_plain_port"
fi
if wants provision; then
  for kind in tls plain; do
    [[ $kind == tls ]] && scheme=mqtts port=$tls_port floor_port=$floor_tls_port || scheme=mqtt port=$plain_port floor_port=$floor_plain_port
    floor "$kind" "$scheme://localhost:$floor_port"
    for ((round = 1; round <= rounds; ++round)); do
      say "provisioning over $kind: $devices devices, round $round"
      roster "P$kind$round" "$devices"
      outcome=$(simulate "P$kind$round" "$scheme://localhost:$port" --no-owner --concurrency "$at_a_time")
      rate_before=$floor_rate cpu_before=$floor_cpu
      measure_machine
      floor "$kind" "$scheme://localhost:$floor_port"
      line "provision_$kind" "$outcome" "{ratioToFloor: (.devicesPerSecond * 2 / ($rate_before + $floor_rate) * 1000 | round / 1000), brokerCpuToFloor: (.cpuMicrosPerDevice.broker * 2 / ($cpu_before + $floor_cpu) * 1000 | round / 1000), p99ToP50: (.latencyMs.total.p99 / .latencyMs.total.p50 * 100 | round / 100)}"
    done
    if [[ $kind == tls ]]; then
      say "the rows of $devices devices, written by sqlite3"
      . scripts/bench-rows.sh
      measure_rows "Ptls$rounds" 16
    fi
    medians "provision_$kind" 'path(.perSecond, .ratioToFloor, .brokerCpuToFloor, .p99ToP50, .cpuMicrosPerDevice[("simulator", "provisioner", "broker")])'
  done
fi
if wants owner; then
  say "provisioning over TLS, and on to the owner's broker: $devices devices"
  roster OWNER "$devices"
  outcome=$(simulate OWNER "mqtts://localhost:$tls_port" --concurrency "$at_a_time" --cpu-of "owner=$owner_pid")
  line provision_owner "$outcome"
fi
if wants storm; then
  say "storm: 20000 devices at once"
  roster STORM 20000
  # as many at a time as there are files for: eight a device
  at_once=$((($(ulimit -n) - 200) / 8))
  ((at_once < 4000)) || at_once=4000
  outcome=$(simulate STORM "mqtts://localhost:$tls_port" --no-owner --concurrency "$at_once" --retry-interval 10s)
  line storm "$outcome" "{connectedAtOnce: $at_once, attemptsFailed, lastHalfToFirst: (.lastHalfPerSecond / .firstHalfPerSecond * 1000 | round / 1000)}"
fi
if wants cells; then
  . scripts/bench-cells.sh
fi
if wants agent; then
  say "agent"
  roster AGENT 1
  IFS=, read -r _ client_id username password _ < <(tail -n 1 "$dir/AGENT.csv")
  mkdir -m 700 "$dir/agent"
  (umask 077; echo "$password" >"$dir/agent/password")
  cat >"$dir/agent/agent.yaml" <<YAML
broker-url: mqtts://localhost:$tls_port
client-id: "$client_id"
username: "$username"
password-file: password
broker-ca-file: $root
platform-root-file: $root
state-dir: state
YAML
  begun=$(date +%s%N)
  "$bin/provision-agent" run --config "$dir/agent/agent.yaml" >"$dir/agent.log" 2>&1 &
  pids+=($!)
  agent_pid=$!
  until grep -q "has accepted our hello" "$dir/agent.log" 2>/dev/null; do
    (( $(date +%s%N) - begun < 10000000000 )) || give_up "the agent did not say hello"
  done
  accepted=$(( ($(date +%s%N) - begun) / 1000000 ))
  wait_for 20 "$bin/provision-agent" status --config "$dir/agent/agent.yaml" || give_up "the agent was not provisioned"
  sleep 2
  switches() { cat /proc/$agent_pid/task/*/status | awk '/^voluntary_ctxt_switches/ {n += $2} END {print n}'; }
  before=$(switches)
  sleep 20
  after=$(switches)
  rss=$(awk '/^VmRSS/ {print $2}' /proc/$agent_pid/status)
  strip -o "$dir/stripped" "$bin/provision-agent"
  jq -cn --argjson accepted "$accepted" --argjson rss "$rss" --argjson size "$(stat -c %s "$dir/stripped")" --argjson wakes $((after - before)) \
    '{bench: "agent", startToAcceptedMs: $accepted, rssMiB: ($rss / 102.4 | round / 10), strippedMiB: ($size / 104857.6 | round / 10), wakeUpsPerSecond: ($wakes / 20)}' | print
fi

# For import and population: services of their own, with the same account, profile and ports.
fleet_table() { # PREFIX N: a table of so many requests
  awk -v prefix="$1" -v n="$2" 'BEGIN {
    print "name,clientId,username,profile,labels.site"
    for (i = 1; i <= n; i++) printf "%s-%07d,02%010X,%s%d-SN,gateway,S%d\n", prefix, i, i, prefix, i, i % 100
  }'
}
fleet_yaml() { # PREFIX N: the same as documents
  awk -v prefix="$1" -v n="$2" 'BEGIN {
    for (i = 1; i <= n; i++)
      printf "---\napiVersion: provisioner/v1\nkind: ProvisionRequest\nmetadata: {name: %s-%07d, labels: {site: S%d}}\nspec: {profile: gateway, clientId: 02%010X, provisionUserUsername: %s%d-SN}\n", prefix, i, i % 100, i, prefix, i
  }'
}
end_service() {
  kill "$provisioner_pid" && wait "$provisioner_pid" || :
}
begin_service() { # starts the service of $PROVISIONER_DATA and waits until devices are admitted
  : >"$dir/provisioner.log"
  "$bin/provisioner" serve >>"$dir/provisioner.log" 2>&1 &
  provisioner_pid=$!
  pids+=("$provisioner_pid")
  until grep -q "ready: devices are admitted" "$dir/provisioner.log"; do
    kill -0 "$provisioner_pid" 2>/dev/null || give_up "the provisioner did not start"
    sleep 0.02
  done
  broker_pid=$(pgrep -P "$provisioner_pid" -x mosquitto) || give_up "no broker below the provisioner"
}
fresh_service() {
  end_service
  rm -f "$PROVISIONER_DATA"/provisioner.db* "$PROVISIONER_DATA"/broker/admission.db*
  begin_service
  "$bin/provisioner" apply -f "$dir/manifests/base.yaml" >"$dir/apply.log" 2>&1 || give_up "provisioner apply"
}
peak_rss() { awk '/^VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
rss() { awk '/^VmRSS/ {printf "%.1f", $2 / 1024}' "/proc/$1/status"; }
cpu_ms() { awk -v tick="$(getconf CLK_TCK)" '{print int(($14 + $15) * 1000 / tick)}' "/proc/$1/stat"; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
import_file() { # FILE SECRETS: applies it; sets took_ms, cli_cpu_ms, cli_rss_mib, service_cpu_ms
  local begun cpu_before
  begun=$(now_ms)
  cpu_before=$(cpu_ms "$provisioner_pid")
  /usr/bin/time -f '%U %S %M' -o "$dir/time" "$bin/provisioner" apply -f "$1" --secrets-out "$2" >"$dir/apply.log" 2>&1 || give_up "provisioner apply"
  took_ms=$(($(now_ms) - begun))
  service_cpu_ms=$(($(cpu_ms "$provisioner_pid") - cpu_before))
  read -r cli_cpu_ms cli_rss_mib < <(awk '{printf "%d %.1f\n", ($1 + $2) * 1000, $3 / 1024}' "$dir/time")
}
if wants import; then
  for kind in csv yaml; do
    say "import: $requests requests, $kind"
    fresh_service
    if [[ $kind == csv ]]; then fleet_table I "$requests"; else fleet_yaml I "$requests"; fi >"$dir/import.$kind"
    base=$(rss "$provisioner_pid")
    import_file "$dir/import.$kind" "$dir/import-secrets.csv"
    jq -cn --arg kind "$kind" --argjson n "$requests" --argjson ms "$took_ms" --argjson cli "$cli_cpu_ms" --argjson service "$service_cpu_ms" \
      --argjson cliRss "$cli_rss_mib" --argjson base "$base" --argjson peak "$(peak_rss "$provisioner_pid")" \
      '{bench: "import_\($kind)", requests: $n, seconds: ($ms / 100 | round / 10), perSecond: ($n * 1000 / $ms | round),
        cpuMicrosPerRequest: {cli: ($cli * 1000 / $n | round), service: ($service * 1000 / $n | round)},
        peakRssMiB: {cli: $cliRss, service: $peak}, serviceRssBeforeMiB: $base}' | print
    rm -f "$dir/import.$kind" "$dir/import-secrets.csv"
  done
fi
if wants population; then
  fresh_service
  population=0
  for target in 1000 $((requests / 10)) "$requests"; do
    say "population: $target open requests"
    fleet_table "O$target" $((target - population)) | awk -F, -v OFS=, -v from="$population" 'NR > 1 {$2 = sprintf("03%010X", NR - 1 + from)} {print}' >"$dir/population.csv"
    import_file "$dir/population.csv" "$dir/population-secrets.csv"
    rm -f "$dir/population.csv" "$dir/population-secrets.csv"
    population=$target
    end_service
    begun=$(now_ms)
    begin_service
    ready_ms=$(($(now_ms) - begun))
    for ((round = 1; round <= rounds; ++round)); do
      roster "N$target-$round-" "$devices"
      outcome=$(simulate "N$target-$round-" "mqtts://localhost:$tls_port" --no-owner --concurrency "$at_a_time")
      line "population_$target" "$outcome" "{openRequests: $target, connectP50ms: .latencyMs.connect.p50, startToReadyMs: $ready_ms, rssMiB: $(rss "$provisioner_pid"), peakRssMiB: $(peak_rss "$provisioner_pid")}"
    done
    medians "population_$target" 'path(.perSecond, .openRequests, .connectP50ms, .startToReadyMs, .cpuMicrosPerDevice.provisioner)'
  done
fi
say "held against what is aimed at:"
jq -cs -f scripts/bench-bars.jq "$dir/lines"
