#!/usr/bin/env bash
# The main job on real processes: a provisioner with its broker, an owner's broker, and 20 gateways that find their way
# from the one to the other. Ends with a table and exit code 0 if every gateway arrived.
#   ./scripts/demo.sh [--keep]      --keep leaves everything running to play with, until Ctrl-C
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,4s/^# \{0,1\}//p' scripts/demo.sh; }
keep=0
case $#:${1:-} in
  0:) ;;
  1:--keep) keep=1 ;;
  1:-h | 1:--help) usage; exit 0 ;;
  *) usage >&2; exit 64 ;;
esac

./scripts/install-packages.sh
echo "building …"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
./scripts/build.sh --programs >"$log" 2>&1 || { tail -n 40 "$log" >&2; exit 1; }
rm -f "$log"
bin=$PWD/build/bin

dir=$(mktemp -d /tmp/fleet-demo.XXXXXX)
chmod 755 "$dir" # the provisioner's broker runs as another user when this is root
pids=()
clean_up() {
  trap - EXIT
  # agents first, so that nothing reconnects to brokers that go away
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null || :; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || :; done
  rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

give_up() {
  echo "error: $1" >&2
  for log in "$dir"/*.log; do
    [[ -s $log ]] && { echo "--- last lines of ${log##*/}" >&2; tail -n 8 "$log" >&2; }
  done
  exit 1
}
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}
wait_for() { # SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

provision_port=$(free_port)
owner_port=$(free_port)
while [[ $owner_port == "$provision_port" ]]; do owner_port=$(free_port); done
export PROVISIONER_DATA=$dir/provisioner

echo "making the platform's PKI and the owner's PKI"
"$bin/provisioner" init --host localhost --host 127.0.0.1 --listen "127.0.0.1:$provision_port" >"$dir/init.log" 2>&1 || give_up "provisioner init"
./certs/make-dev-pki.sh "$dir/owner" localhost 127.0.0.1 >"$dir/owner-pki.log" 2>&1 || give_up "make-dev-pki.sh"
root=$PROVISIONER_DATA/pki/root.crt

echo "starting the owner account's broker (mutual TLS) on port $owner_port"
cat "$PROVISIONER_DATA/pki/device-ca.crt" "$root" >"$dir/owner/device-cas.crt"
cat >"$dir/owner/mosquitto.conf" <<CONF
user $(id -un)
log_type error
log_type warning
listener $owner_port 127.0.0.1
certfile $dir/owner/server.crt
keyfile $dir/owner/server.key
cafile $dir/owner/device-cas.crt
require_certificate true
set_tcp_nodelay true
listener 0 $dir/owner/mqtt.sock
plugin $PWD/build/lib/provisioner_auth.so
plugin_opt_mode owner
plugin_opt_account acme
plugin_opt_credentials strict
plugin_opt_local_socket $dir/owner/mqtt.sock
CONF
PATH=$PATH:/usr/sbin mosquitto -c "$dir/owner/mosquitto.conf" >"$dir/owner-broker.log" 2>&1 &
pids+=($!)
wait_for 10 test -S "$dir/owner/mqtt.sock" || give_up "the owner's broker did not start"
mosquitto_sub --unix "$dir/owner/mqtt.sock" -i watcher -q 1 -t '$EDC/acme/+/MQTT/BIRTH' -F '%t' >"$dir/births" 2>"$dir/watcher.log" &
pids+=($!)

echo "starting the provisioner and its broker (TLS) on port $provision_port"
"$bin/provisioner" serve >"$dir/provisioner.log" 2>&1 &
pids+=($!)
wait_for 15 "$bin/provisioner" status || give_up "the provisioner did not start"

echo "applying configs/demo: 20 gateways at two sites"
cp -r configs/demo "$dir/manifests"
cp "$dir/owner/owner-root.crt" "$dir/manifests/owner-ca.pem"
sed -i "s|mqtts://localhost:[0-9]*|mqtts://localhost:$owner_port|" "$dir/manifests/account.yaml"
"$bin/provisioner" apply -f "$dir/manifests" --secrets-out "$dir/secrets.csv" >"$dir/apply.log" 2>&1 || give_up "provisioner apply"

started=$(date +%s%N)
gateways=()
while IFS=, read -r name client_id username password _; do
  [[ $name != name ]] || continue
  gateways+=("$name $client_id")
  mkdir -p -m 700 "$dir/gateways/$name"
  (umask 077; printf '%s\n' "$password" >"$dir/gateways/$name/password")
  cat >"$dir/gateways/$name/agent.yaml" <<YAML
broker-url: mqtts://localhost:$provision_port
client-id: "$client_id"
username: "$username"
password-file: $dir/gateways/$name/password
broker-ca-file: $root
platform-root-file: $root
state-dir: $dir/gateways/$name/state
retry-interval: 5
YAML
  "$bin/provision-agent" run --config "$dir/gateways/$name/agent.yaml" >"$dir/gateways/$name/agent.log" 2>&1 &
  pids+=($!)
done <"$dir/secrets.csv"
total=${#gateways[@]}
echo "started $total agents"

born() { sort -u "$dir/births" | wc -l; }
completed() { "$bin/provisioner" get requests --status COMPLETED -o json | grep -c '"name"' || :; }
end=$((SECONDS + 60))
while :; do
  done_here=$(completed) arrived=$(born)
  [[ -t 1 ]] && printf '\r  COMPLETED %2d/%d   on the owner'"'"'s broker %2d/%d ' "$done_here" "$total" "$arrived" "$total"
  [[ $total -gt 0 && $done_here -eq $total && $arrived -eq $total ]] && break
  ((SECONDS < end)) || break
  sleep 0.2
done
took=$(( ($(date +%s%N) - started) / 1000000 ))
[[ -t 1 ]] && echo

failed=0
printf '\n%-16s %-16s %-12s %s\n' REQUEST "CLIENT ID" STATUS "BIRTH ON THE OWNER'S BROKER"
states=$("$bin/provisioner" get requests)
for gateway in "${gateways[@]}"; do
  read -r name client_id <<<"$gateway"
  status=$(awk -v name="$name" '$1 == name {for (i = 2; i <= NF; i++) if ($i ~ /^(CREATED|STARTED|RUNNING|CONF_UPDATING|CONF_UPDATED|COMPLETED|FAILED|ABANDONED|STOPPED)$/) print $i}' <<<"$states")
  seen=no
  grep -qxF "\$EDC/acme/$client_id/MQTT/BIRTH" "$dir/births" && seen=yes
  [[ $status == COMPLETED && $seen == yes ]] || failed=$((failed + 1))
  printf '%-16s %-16s %-12s %s\n' "$name" "$client_id" "$status" "$seen"
done
if [[ $failed -gt 0 || $total -ne 20 ]]; then
  give_up "$failed of $total gateways did not arrive"
fi
printf '\nall %d gateways provisioned in %d.%01d s, each with a certificate of its own\n' "$total" $((took / 1000)) $((took % 1000 / 100))

if [[ $keep == 1 ]]; then
  cat <<TEXT

Everything keeps running until Ctrl-C. In another terminal:
  export PROVISIONER_DATA=$PROVISIONER_DATA
  $bin/provisioner get requests
  $bin/provisioner describe request north-gw-01
  $bin/provision-agent status --config $dir/gateways/north-gw-01/agent.yaml
TEXT
  sleep infinity &
  pids+=($!)
  wait $! || :
fi
