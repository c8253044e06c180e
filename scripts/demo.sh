#!/usr/bin/env bash
# The main job on real processes: a provisioner with its broker, the brokers of two owners, and 20 gateways that find their
# way from the one to the others. Ends with a table and exit code 0 if every gateway arrived with all that it should have.
#   north   ten gateways of acme, which log in to their owner's broker with their certificates
#   south   ten gateways of southwind, which log in with passwords, and get an application by HTTPS and one within a message
#   ./scripts/demo.sh [--keep]      --keep leaves everything running to play with, until Ctrl-C
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,6s/^# \{0,1\}//p' scripts/demo.sh; }
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
. scripts/processes.sh
find_ports 4
read -r provision_port packages_port north_port south_port <<<"${ports[*]}"
export PROVISIONER_DATA=$dir/provisioner

echo "making the platform's PKI and the owner's PKI"
"$bin/provisioner" init --host localhost --host 127.0.0.1 --listen "127.0.0.1:$provision_port" >"$dir/init.log" 2>&1 || give_up "provisioner init"
./certs/make-dev-pki.sh "$dir/owner" localhost 127.0.0.1 >"$dir/owner-pki.log" 2>&1 || give_up "make-dev-pki.sh"
root=$PROVISIONER_DATA/pki/root.crt

cat "$PROVISIONER_DATA/pki/device-ca.crt" "$root" >"$dir/owner/device-cas.crt"

# The broker of an owner: PLACE ACCOUNT PORT, and on stdin what else its listener and plugin need.
start_owner_broker() {
  local place=$1 account=$2 port=$3 conf=$dir/owner/$1.conf
  cat >"$conf" <<CONF
user $(id -un)
log_type error
log_type warning
listener $port 127.0.0.1
certfile $dir/owner/server.crt
keyfile $dir/owner/server.key
set_tcp_nodelay true
$(</dev/stdin)
plugin_opt_mode owner
plugin_opt_account $account
plugin_opt_credentials strict
plugin_opt_local_socket $dir/owner/$place.sock
CONF
  PATH=$PATH:/usr/sbin mosquitto -c "$conf" >"$dir/$place-broker.log" 2>&1 &
  pids+=($!)
  wait_for 10 test -S "$dir/owner/$place.sock" || give_up "the broker of $account did not start"
  mosquitto_sub --unix "$dir/owner/$place.sock" -i watcher -q 1 -t "\$EDC/$account/+/MQTT/BIRTH" -F '%t' >"$dir/$place-births" 2>"$dir/$place-watcher.log" &
  pids+=($!)
}

echo "starting the broker of acme (certificates) on port $north_port, that of southwind (passwords) on port $south_port"
start_owner_broker north acme "$north_port" <<CONF
cafile $dir/owner/device-cas.crt
require_certificate true
listener 0 $dir/owner/north.sock
plugin $PWD/build/lib/provisioner_auth.so
CONF
start_owner_broker south southwind "$south_port" <<CONF
listener 0 $dir/owner/south.sock
plugin $PWD/build/lib/provisioner_auth.so
plugin_opt_password_db $dir/owner/passwords.db
CONF

echo "starting the provisioner, with its broker (TLS) on port $provision_port"
printf 'packages: {listen: "127.0.0.1:%s"}\n' "$packages_port" >>"$PROVISIONER_DATA/provisioner.yaml"
"$bin/provisioner" serve >"$dir/provisioner.log" 2>&1 &
pids+=($!)
wait_for 15 "$bin/provisioner" status || give_up "the provisioner did not start"

echo "applying configs/demo: 20 gateways at two sites"
cp -r configs/demo "$dir/manifests"
cp "$dir/owner/owner-root.crt" "$dir/manifests/owner-ca.pem"
sed -i "s|mqtts://localhost:[0-9]*|mqtts://localhost:$north_port|" "$dir/manifests/account.yaml"
sed -i "s|mqtts://localhost:[0-9]*|mqtts://localhost:$south_port|; s|/srv/southwind|$dir/owner|" "$dir/manifests/account-south.yaml"
tar -C configs/demo/meter -czf "$dir/manifests/meter-1.2.0.tar.gz" .
"$bin/provisioner" apply -f "$dir/manifests" --secrets-out "$dir/secrets.csv" >"$dir/apply.log" 2>&1 || give_up "provisioner apply"

started=$(date +%s%N)
gateways=()
while IFS=, read -r name client_id username password key; do
  [[ $name != name ]] || continue
  gateways+=("$name $client_id")
  mkdir -p -m 700 "$dir/gateways/$name"
  (umask 077; echo "$password" >"$dir/gateways/$name/password"; echo "$key" >"$dir/gateways/$name/activation-key")
  cat >"$dir/gateways/$name/agent.yaml" <<YAML
broker-url: mqtts://localhost:$provision_port
client-id: "$client_id"
username: "$username"
password-file: password
activation-key-file: activation-key
broker-ca-file: $root
platform-root-file: $root
state-dir: state
retry-interval: 5
YAML
  "$bin/provision-agent" run --config "$dir/gateways/$name/agent.yaml" >"$dir/gateways/$name/agent.log" 2>&1 &
  pids+=($!)
done <"$dir/secrets.csv"
total=${#gateways[@]}
echo "started $total agents"

born() { sort -u "$dir/north-births" "$dir/south-births" | wc -l; }
# The applications that a gateway has in force, as NAME-VERSION…; what they hold is as it was sent.
applications() {
  local packages=$dir/gateways/$1/state/current/packages names=()
  [[ -x $packages/meter/1.2.0/bin/read-meter ]] && names+=(meter-1.2.0)
  cmp -s configs/demo/site-rules_3.txt "$packages/site-rules/3/site-rules_3.txt" && names+=(site-rules-3)
  echo "${names[*]:--}"
}
completed() { "$bin/provisioner" get requests --status COMPLETED -o json | grep -c '"name"' || :; }
end=$((SECONDS + 60))
while :; do
  done_here=$(completed) arrived=$(born)
  [[ -t 1 ]] && printf '\r  COMPLETED %2d/%d   on the owners'"'"' brokers %2d/%d ' "$done_here" "$total" "$arrived" "$total"
  [[ $total -gt 0 && $done_here -eq $total && $arrived -eq $total ]] && break
  ((SECONDS < end)) || break
  sleep 0.2
done
took=$(( ($(date +%s%N) - started) / 1000000 ))
[[ -t 1 ]] && echo

failed=0
printf '\n%-16s %-16s %-12s %-27s %s\n' REQUEST "CLIENT ID" STATUS "BIRTH AT THE OWNER'S BROKER" APPLICATIONS
states=$("$bin/provisioner" get requests)
for gateway in "${gateways[@]}"; do
  read -r name client_id <<<"$gateway"
  status=$(awk -v name="$name" '$1 == name {for (i = 2; i <= NF; i++) if ($i ~ /^(CREATED|STARTED|RUNNING|APPS_INSTALLING|APPS_INSTALLED|CONF_UPDATING|CONF_UPDATED|COMPLETED|FAILED|ABANDONED|STOPPED)$/) print $i}' <<<"$states")
  case $name in
    north-*) place=north account=acme expected=- ;;
    *) place=south account=southwind expected="meter-1.2.0 site-rules-3" ;;
  esac
  seen=no
  grep -qxF "\$EDC/$account/$client_id/MQTT/BIRTH" "$dir/$place-births" && seen="$account"
  installed=$(applications "$name")
  [[ $status == COMPLETED && $seen == "$account" && $installed == "$expected" ]] || failed=$((failed + 1))
  printf '%-16s %-16s %-12s %-27s %s\n' "$name" "$client_id" "$status" "$seen" "$installed"
done
if [[ $failed -gt 0 || $total -ne 20 ]]; then
  give_up "$failed of $total gateways did not arrive"
fi
printf '\nall %d gateways provisioned in %d.%01d s: each with credentials of its own, its activation key used up\n' "$total" $((took / 1000)) $((took % 1000 / 100))

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
